"""What programs written for Ray do that is seen least often: groups that capture, values in part, clusters for tests."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import until

import manta
from manta import cluster_utils, exceptions
from manta.util.placement_group import placement_group, remove_placement_group
from manta.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from manta.util.state import list_actors, list_tasks


@manta.remote(num_cpus=0)
def where() -> tuple[bool, bool]:
    """Whether it is in a placement group, and whether what it submits would be."""
    context = manta.get_runtime_context()
    return context.get_placement_group_id() is not None, context.should_capture_child_tasks_in_placement_group


@manta.remote(num_cpus=0)
def asks_children() -> list[Any]:
    """Where its children are: one without a strategy, one with the default one, and an actor's method."""

    @manta.remote(num_cpus=0)
    class Asks:
        def where(self) -> bool:
            return manta.util.get_current_placement_group() is not None

    outside = where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(None))
    return manta.get([where.remote(), outside.remote(), Asks.remote().where.remote()])


@pytest.mark.parametrize("captures", [True, False, None])
def test_a_group_captures_what_its_tasks_submit(ray: Any, captures: bool | None) -> None:
    group = placement_group([{"CPU": 1}])
    assert group.wait(30)
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=captures)
    child, outside, of_actor = ray.get(asks_children.options(scheduling_strategy=strategy).remote())
    assert child == ((True, True) if captures else (False, False))
    assert outside == (False, False)
    assert of_actor is bool(captures)
    # The worker that ran it captures nothing afterwards.
    assert ray.get([where.remote() for _ in range(4)]) == [(False, False)] * 4
    remove_placement_group(group)


def test_a_generator_that_fails_keeps_the_values_that_it_gave(ray: Any) -> None:
    @ray.remote(num_returns=3)
    def fails_late() -> Any:
        yield 1
        yield 2
        raise KeyError("third")

    first, second, third = fails_late.remote()
    assert ray.get([first, second]) == [1, 2]
    with pytest.raises(KeyError):
        ray.get(third)
    assert ray.get(fails_late.options(num_returns=2).remote()) == [1, 2]

    first, second, third, fourth = fails_late.options(num_returns=4, retry_exceptions=[ValueError]).remote()
    assert ray.get(first) == 1
    with pytest.raises(KeyError):
        ray.get(fourth)


def test_a_generator_that_is_retried_gives_all_of_its_values(ray: Any, tmp_path: Any) -> None:
    marker = str(tmp_path / "tried")

    @ray.remote(num_returns=2, retry_exceptions=True, max_retries=1)
    def fails_once() -> Any:
        yield 1
        with open(marker, "x"):
            pass
        raise OSError("the first time")

    with pytest.raises(FileExistsError):
        ray.get(fails_once.remote()[1])


def test_several_values_come_out_of_whatever_can_be_gone_through(ray: Any) -> None:
    @ray.remote(num_returns=2)
    def several(value: Any) -> Any:
        return value

    assert ray.get(several.remote("ab")) == ["a", "b"]
    assert ray.get(several.remote({1: 0, 2: 0})) == [1, 2]
    with pytest.raises(TypeError):
        ray.get(several.remote(5)[0])
    with pytest.raises(ValueError):
        ray.get(several.remote([1])[0])


def test_dynamic_values_are_refs_in_one_value(ray: Any) -> None:
    @ray.remote(num_returns="dynamic")
    def count(to: int, fails: bool) -> Any:
        yield from range(to)
        if fails:
            raise LookupError("after the last")

    @ray.remote
    def add_up(refs: Any) -> int:
        return sum(ray.get(list(refs)))

    one = count.remote(4, False)
    assert isinstance(ray.get(one), ray.DynamicObjectRefGenerator)
    assert ray.get(list(ray.get(one))) == [0, 1, 2, 3]
    assert ray.get(add_up.remote(one)) == ray.get(add_up.remote(ray.get(one))) == 6
    *good, bad = ray.get(count.remote(2, True))
    assert ray.get(good) == [0, 1]
    with pytest.raises(LookupError):
        ray.get(bad)

    @ray.remote
    class Counts:
        @ray.method(num_returns="dynamic")
        def to(self, to: int) -> Any:
            yield from range(to)

        @ray.method(num_returns="dynamic")
        async def slowly(self, to: int) -> Any:
            for number in range(to):
                yield number

    counts = Counts.remote()
    for method in (counts.to, counts.slowly):
        assert ray.get(list(ray.get(method.remote(3)))) == [0, 1, 2]


def test_a_task_that_is_cancelled_while_it_runs_fails_with_the_cancellation(ray: Any, tmp_path: Any) -> None:
    started = tmp_path / "started"

    @ray.remote
    def waits(path: str) -> None:
        open(path, "w").close()
        threading.Event().wait()

    running = waits.remote(str(started))
    while not started.exists():
        pass
    ray.cancel(running)
    with pytest.raises(exceptions.TaskCancelledError) as caught:
        ray.get(running, timeout=30)
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(caught.value.cause, exceptions.TaskCancelledError)


def test_an_exception_that_is_no_exception_class_arrives_as_itself(ray: Any) -> None:
    class Odd(BaseException):
        pass

    @ray.remote(max_retries=0)
    def odd() -> None:
        raise Odd("x")

    with pytest.raises(BaseException) as caught:
        ray.get(odd.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert type(caught.value.cause).__name__ == "Odd"


def test_what_is_no_ref_is_a_type_error_in_a_list_and_a_value_error_alone(ray: Any) -> None:
    with pytest.raises(TypeError):
        ray.get([1])
    for wrong in (1, "a", {}, (ray.put(1),)):
        with pytest.raises(ValueError):
            ray.get(wrong)
    with pytest.raises(ValueError):
        ray.put(1, _owner=object())


def test_a_task_is_called_by_its_functions_own_name(ray: Any) -> None:
    @ray.remote
    def name() -> Any:
        return ray.get_runtime_context().get_task_name()

    assert ray.get(name.remote()) == "name"


def test_nodes_can_be_asked_for_by_their_address(ray: Any) -> None:
    resources = ray.cluster_resources()
    assert resources["node:127.0.0.1"] == resources["node:__internal_head__"] == 1
    assert resources["object_store_memory"] > 0

    @ray.remote(resources={"node:__internal_head__": 0.01})
    def there() -> int:
        return 5

    assert ray.get(there.remote(), timeout=30) == 5


def test_a_cluster_for_tests_gets_and_loses_nodes(run_script: Any) -> None:
    done = run_script(
        """
        import manta as ray
        from manta.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
        other = cluster.add_node(num_cpus=2, resources={"other": 1}, labels={"kind": "b"})
        cluster.wait_for_nodes()
        assert ray.cluster_resources()["CPU"] == 3

        @ray.remote(resources={"other": 1})
        def there():
            return ray.get_runtime_context().get_node_id()

        assert ray.get(there.remote(), timeout=30) == other.node_id
        cluster.remove_node(other, allow_graceful=False)
        cluster.wait_for_nodes()
        assert ray.cluster_resources()["CPU"] == 1
        try:
            cluster.remove_node(cluster.head_node)
        except ValueError:
            pass
        else:
            raise AssertionError("the node of this program cannot be removed")
        assert not ray.is_initialized()
        cluster.shutdown()
        print("done")
        """
    )
    assert done.stdout == "done\n", done.stderr


def test_a_cluster_without_a_head_cannot_be_connected_to() -> None:
    with pytest.raises(RuntimeError):
        cluster_utils.Cluster(connect=True)


def test_rows_of_tasks_and_actors_say_what_they_are(ray: Any) -> None:
    @ray.remote
    class Named:
        def method(self) -> None: ...

    actor = Named.options(name="of-rows").remote()
    ray.get([actor.method.remote(), where.remote()])

    def types() -> dict[str, str]:
        return {row["name"]: row["type"] for row in list_tasks(limit=1000)}

    wanted = {
        "Named.__init__": "ACTOR_CREATION_TASK",
        "Named.method": "ACTOR_TASK",
        "where": "NORMAL_TASK",
    }
    until(lambda: wanted.items() <= types().items())
    [call] = list_tasks(filters=[("name", "=", "Named.method"), ("type", "=", "ACTOR_TASK")])
    assert call["actor_id"] == actor._actor_id.hex()
    [row] = list_actors(filters=[("name", "=", "of-rows")])
    assert row["class_name"] == "Named"


class Base:
    INHERITED = 6


def test_a_class_is_still_had_through_its_actor_class(ray: Any) -> None:
    @ray.remote
    class Actor(Base):
        OWN = 3

        @staticmethod
        def static() -> int:
            return Actor.OWN  # type: ignore[attr-defined,no-any-return]

        @classmethod
        def of_class(cls) -> int:
            return cls.OWN

        def seen(self) -> tuple[int, ...]:
            return Actor.OWN, Actor.INHERITED, Actor.static(), Actor.of_class()  # type: ignore[attr-defined]

    assert (Actor.OWN, Actor.INHERITED, Actor.static()) == (3, 6, 3)
    assert ray.get(Actor.remote().seen.remote()) == (3, 6, 3, 3)
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        Actor.absent  # noqa: B018


def test_the_older_way_to_give_options_with_a_call(ray: Any) -> None:
    @ray.remote
    def add(a: int, b: int = 1) -> int:
        return a + b

    @ray.remote
    class Adds:
        def __init__(self, a: int) -> None:
            self.a = a

        def to(self, b: int) -> int:
            return self.a + b

    assert ray.get([add._remote(args=[1], kwargs={"b": 2}), add._remote((1,), num_cpus=0)]) == [3, 2]
    adds = Adds._remote(args=[1], num_cpus=0)
    assert ray.get(adds.to._remote(args=[2])) == 3
