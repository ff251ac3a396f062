"""The outputs of graphs, where Ray has them."""

from manta.dag import MultiOutputNode

__all__ = ["MultiOutputNode"]
