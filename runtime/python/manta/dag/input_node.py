"""The inputs of graphs, where Ray has them."""

from manta.dag import InputAttributeNode, InputNode

__all__ = ["InputAttributeNode", "InputNode"]
