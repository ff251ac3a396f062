"""Writing a variable below a node of the tree."""

from __future__ import annotations

from array import array
from collections import deque
from itertools import islice
from typing import Any

from .. import awaiting, limits
from ..errors import RequestError
from ..evaluate import assign_local
from . import arrays, calls, static
from .render import render_key
from .tree import GroupNode, Node, ScopeNode, ValueNode


def assign(node: Node, name: str, value: Any) -> None:
    """Gives the child called `name` a new value."""
    if isinstance(node, ScopeNode):
        if any(name == pseudo for pseudo, _ in node.pseudo):
            raise RequestError(f"{name} is shown by the debugger; it is not a variable that can be set.")
        if name not in (node.frame.f_globals if node.is_globals else node.frame.f_locals):
            raise RequestError(
                f"There is no variable {name} here; assign it in the debug console to make one."
            )
        if node.is_globals:
            node.frame.f_globals[name] = value
        else:
            assign_local(node.frame, name, value)
    elif isinstance(node, ValueNode):
        if name.startswith("[") and name.endswith("]"):
            _assign_element(node.value, name, value)
        elif type(node.value) in calls.FUNCTIONS:
            calls.assign_in_function(node.value, name, value)
        elif type(node.value) in awaiting.SUSPENDABLE:
            calls.assign_in_call(node.value, name, value)
        else:
            setattr(node.value, name, value)
    elif isinstance(node, GroupNode):
        raise RequestError(f"{name} is shown by the debugger; it is not a variable that can be set.")
    else:
        raise RequestError("A property's computed value cannot be set; set the property itself.")


def _assign_element(owner: Any, name: str, value: Any) -> None:
    if static.is_a(owner, dict):
        for key in islice(dict.keys(owner), limits.FRAMES_COUNTED_MAX):
            if f"[{render_key(key)}]" == name:
                owner[key] = value
                return
        raise RequestError(f"The dictionary has no entry {name} any more.")
    if static.is_a(owner, (list, deque, array)) or arrays.is_numpy(owner) or arrays.is_torch(owner):
        owner[int(name[1:-1])] = value
        return
    raise RequestError(f"The elements of a {type(owner).__name__} cannot be set: it does not allow it.")
