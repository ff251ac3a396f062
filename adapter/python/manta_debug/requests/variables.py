"""`variables`: the children of a scope or a value, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import limits
from ..errors import RequestError, text_of
from ..values import tree
from ..values.tree import Child, GroupNode, Node, PropertyNode, ScopeNode
from .base import Arguments, Body, OnStop, of_handle

if TYPE_CHECKING:
    from ..engine import Engine
    from ..stops import Stop


def variables_of(engine: Engine, stop: Stop, arguments: Arguments) -> Body:
    """The children of `variablesReference`."""
    node: Node = stop.nodes[int(arguments["variablesReference"])]
    if isinstance(node, PropertyNode):
        return {"variables": [_computed(stop, node)]}
    expression = "" if isinstance(node, ScopeNode) else None if isinstance(node, GroupNode) else node.name
    children = _page(node, arguments)
    described = [_described(stop, node, child, expression) for child in children]
    if len(children) == limits.CHILDREN_PAGE_MAX:
        cut = f"only {limits.CHILDREN_PAGE_MAX} are shown at once; evaluate a slice to see others"
        described.append({"name": "…", "value": cut, "variablesReference": 0})
    return {"variables": described}


def _described(stop: Stop, node: Node, child: Child, expression: str | None) -> Body:
    try:
        return tree.describe(stop, node.frame, child, expression, node)
    except Exception as error:
        # One value that defies being looked at must not hide the others.
        return {"name": child.name, "value": f"<cannot be shown: {text_of(error)}>", "variablesReference": 0}


def _page(node: Node, arguments: Arguments) -> list[Child]:
    start = max(0, int(arguments.get("start") or 0))
    count = int(arguments.get("count") or 0)
    which = arguments.get("filter")
    stop = start + min(count or limits.CHILDREN_PAGE_MAX, limits.CHILDREN_PAGE_MAX)
    if isinstance(node, ScopeNode):
        return [] if which == "indexed" else tree.scope_children(node)[start:stop]
    if isinstance(node, GroupNode):
        return [] if which == "indexed" else node.open()[start:stop]
    if isinstance(node, PropertyNode):
        return []
    if which == "named":
        return tree.named(node.value)[start:stop]
    elements = list(tree.indexed(node.value, start, stop)) if tree.indexed_count(node.value) else []
    if which == "indexed":
        return elements
    return (elements + (tree.named(node.value) if start == 0 else []))[: limits.CHILDREN_PAGE_MAX]


def _computed(stop: Stop, node: PropertyNode) -> Body:
    try:
        value = stop.bounded(node.compute, limits.WATCH_SECONDS_MAX)
    except RequestError as error:
        return {"name": node.attribute, "value": f"<{error}>", "variablesReference": 0}
    except Exception as error:
        return {"name": node.attribute, "value": f"<{text_of(error)}>", "variablesReference": 0}
    described = tree.describe_value(stop, node.frame, value, node.name)
    if node.name is not None:
        described["evaluateName"] = node.name
    return {"name": node.attribute, **described}


REQUESTS = {"variables": OnStop(of_handle, variables_of)}
