"""Object refs of the task runtime, which open to their objects. The runtime is not imported for it: it is there, or none is."""

from __future__ import annotations

import sys
from typing import Any

from .. import limits
from ..errors import RequestError
from . import static


def is_object_ref(value: Any) -> bool:
    """Whether this is the task runtime's own class."""
    runtime = sys.modules.get("manta")
    return runtime is not None and type(value) is static.fields(runtime).get("ObjectRef")


def value_of(value: Any) -> Any:
    """The object behind a ref. Does not wait for a task that still computes it."""
    runtime: Any = sys.modules["manta"]
    ready, _ = runtime.wait([value], num_returns=1, timeout=0)
    if not ready:
        raise RequestError("not computed yet; open it again later")
    return runtime.get(value, timeout=limits.OBJECT_SECONDS_MAX)
