"""Arrays of numpy and torch: shape, type and the first elements, never the whole."""

from __future__ import annotations

import sys
from typing import Any

from .. import limits


def is_array(value: Any) -> bool:
    """Whether `summary_of` knows the value."""
    return is_numpy(value) or is_torch(value)


def summary_of(value: Any) -> str:
    """One line for an array."""
    if is_numpy(value):
        name = "array" if type(value).__name__ == "ndarray" else type(value).__name__
        head = f"{name}{_dimensions(value.shape)} {value.dtype}"
        # The text of objects is made by their own code.
        return head if value.dtype.hasobject else head + _first(value.flat, value.size)
    head = f"{type(value).__name__}{_dimensions(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
    if value.device.type != "cpu" or value.layout is not sys.modules["torch"].strided:
        return head
    flat = value.detach().reshape(-1)[: limits.ARRAY_ITEMS_SHOWN_MAX].tolist()
    return head + _first(flat, value.numel())


def is_numpy(value: Any) -> bool:
    """Whether this is one of numpy's own arrays."""
    return any(_is_exactly(value, "numpy", name) for name in ("ndarray", "memmap", "recarray"))


def is_torch(value: Any) -> bool:
    """Whether this is torch's own tensor, or a parameter of a module."""
    return _is_exactly(value, "torch", "Tensor") or _is_exactly(value, "torch.nn.parameter", "Parameter")


def facts_of(value: Any) -> dict[str, Any]:
    """What to show of an array beside its elements."""
    if is_numpy(value):
        return {"shape": value.shape, "dtype": value.dtype, "nbytes": value.nbytes}
    return {
        "shape": tuple(value.shape),
        "dtype": value.dtype,
        "device": value.device,
        "requires_grad": value.requires_grad,
    }


def length_of(value: Any) -> int:
    """The number of elements along the first axis; 0 for a scalar."""
    return int(value.shape[0]) if len(value.shape) else 0


def _is_exactly(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and type(value) is loaded.__dict__.get(name)


def _dimensions(shape: Any) -> str:
    return f"[{' × '.join(str(int(n)) for n in shape)}]"


def _first(values: Any, count: int) -> str:
    shown = [str(values[i])[:40] for i in range(min(count, limits.ARRAY_ITEMS_SHOWN_MAX))]
    return f": {', '.join(shown)}{', …' if count > len(shown) else ''}" if shown else ""
