"""What programs use beside tasks and objects, under the names that Ray's `util` has."""

from manta.util import scheduling_strategies

__all__ = ["scheduling_strategies"]
