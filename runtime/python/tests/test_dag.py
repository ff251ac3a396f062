"""Graphs of calls that are described first and run later."""

from __future__ import annotations

from typing import Any

import pytest

import manta
from manta.dag import InputNode, MultiOutputNode


@manta.remote
def add(left: int, right: int = 1) -> int:
    """A task."""
    return left + right


@manta.remote
class Sum:
    """An actor."""

    def __init__(self, start: int) -> None:
        self.value = start

    def more(self, amount: int) -> int:
        self.value += amount
        return self.value


def test_functions_are_called_once_each_in_an_execution(ray: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "calls")

    @ray.remote
    def counted(value: int) -> int:
        with open(path, "a") as file:
            file.write("x")
        return value

    with InputNode() as given:
        one = counted.bind(given)
        graph = add.bind(add.bind(one, right=2), one)
    assert ray.get(graph.execute(3)) == 8
    assert open(path).read() == "x"
    assert ray.get(graph.execute(4)) == 10
    with pytest.raises(ValueError, match="InputNode"):
        graph.execute()


def test_parts_of_the_input_and_several_outputs(ray: Any) -> None:
    with InputNode() as given:
        graph = MultiOutputNode([add.bind(given["x"]), add.bind(given["y"], 10)])
        by_place = add.bind(given[0], right=given.right)
    assert ray.get(graph.execute({"x": 1, "y": 2})) == [2, 12]
    assert ray.get(by_place.execute(1, right=5)) == 6


def test_actors_of_a_graph_are_made_anew_and_called_in_the_order_of_the_binding(ray: Any) -> None:
    first = Sum.bind(10)
    first.more.bind(2)
    graph = add.bind(first.more.bind(3), Sum.bind(100).more.bind(add.bind(0)))
    assert ray.get(graph.execute()) == 15 + 101
    assert ray.get(graph.execute()) == 15 + 101
    with pytest.raises(AttributeError, match="no method 'less'"):
        first.less  # noqa: B018


def test_an_actor_that_is_there_stays_the_same(ray: Any) -> None:
    actor = Sum.remote(0)
    with InputNode() as given:
        graph = actor.more.bind(given)
    assert [ray.get(graph.execute(amount)) for amount in (1, 2)] == [1, 3]


def test_compiled_graphs_are_refused(ray: Any) -> None:
    with pytest.raises(NotImplementedError, match="compiled"):
        add.bind(1).experimental_compile()
