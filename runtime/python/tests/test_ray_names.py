"""Names, types and errors that programs written for Ray rely on, and that no other test speaks of."""

from __future__ import annotations

import asyncio
import threading

import pytest

import manta
from manta import exceptions

SOON = 30


def test_ids_are_objects_where_ray_has_objects(ray):
    ref = ray.put(1)
    assert isinstance(ref.task_id(), ray.TaskID)
    assert isinstance(ref.job_id(), ray.JobID)
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()
    assert (ref.is_nil(), ray.ObjectRef.size(), len(ref.binary())) == (False, 20, 20)
    context = ray.get_runtime_context()
    assert isinstance(context.job_id, ray.JobID) and isinstance(context.node_id, ray.NodeID)
    assert context.actor_id.is_nil() and context.task_id.is_nil()

    @ray.remote(num_cpus=0)
    class Actor:
        def ids(self):
            inside = manta.get_runtime_context()
            return inside.actor_id, inside.get_task_function_name(), inside.get_assigned_resources()

    actor = Actor.remote()
    found, function, held = ray.get(actor.ids.remote())
    assert found == actor._actor_id
    assert function.endswith(".Actor.ids")
    assert held == {}


def test_assigned_resources_of_an_actor_are_what_it_asked_for(ray):
    @ray.remote(num_cpus=1)
    class Actor:
        def held(self):
            return manta.get_runtime_context().get_assigned_resources()

    assert ray.get(Actor.remote().held.remote()) == {"CPU": 1.0}


def test_a_ref_is_awaited_as_an_asyncio_future(ray):
    async def both():
        return await asyncio.wait_for(ray.put(3).as_future(), SOON)

    assert asyncio.run(both()) == 3


def test_a_name_that_is_taken_has_its_own_exception(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        pass

    kept = Actor.options(name="taken").remote()
    ray.get(kept.__ray_ready__.remote())
    with pytest.raises(exceptions.ActorAlreadyExistsError) as caught:
        Actor.options(name="taken").remote()
    assert isinstance(caught.value, ValueError)


def test_a_failed_constructor_is_told_apart(ray):
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self):
            raise ValueError("no")

        def method(self):
            pass

    actor = Broken.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.method.remote(), timeout=SOON)
    assert caught.value.actor_init_failed
    assert caught.value.actor_id == actor._actor_id.hex()


def test_no_class_inherits_from_an_actor_class(ray):
    @ray.remote
    class Base:
        pass

    with pytest.raises(manta.actor.ActorClassInheritanceException):

        class Derived(Base):
            pass


def test_a_task_that_exits_ends_its_worker(ray):
    @ray.remote(max_retries=0)
    def leave(code):
        raise SystemExit(code)

    for code in (0, 3):
        with pytest.raises(exceptions.WorkerCrashedError, match=f"exited with code {code}"):
            ray.get(leave.remote(code), timeout=SOON)


def test_wrong_uses_of_decorators_are_assertions(ray):
    for wrong in (
        lambda: ray.remote(),
        lambda: ray.remote(1),
        lambda: ray.method(foo=1),
    ):
        with pytest.raises(AssertionError):
            wrong()

    class Actor:
        @ray.method
        def plain(self):
            return 1

    assert ray.get(ray.remote(num_cpus=0)(Actor).remote().plain.remote()) == 1


def test_a_negative_timeout_of_get_is_none(ray):
    assert ray.get(ray.put(1), timeout=-1) == 1


class Handmade:
    def __init__(self, lock):
        self.lock = lock


def test_a_registered_serializer_is_used_until_it_is_forgotten(ray):
    @ray.remote
    def is_lock(thing):
        return hasattr(thing.lock, "acquire")

    with pytest.raises(TypeError):
        ray.put(Handmade(threading.Lock()))
    ray.util.register_serializer(
        Handmade, serializer=lambda _thing: None, deserializer=lambda _data: Handmade(threading.Lock())
    )
    try:
        assert ray.get(is_lock.remote(Handmade(threading.Lock())))
    finally:
        ray.util.deregister_serializer(Handmade)
    with pytest.raises(TypeError):
        ray.put(Handmade(threading.Lock()))


def test_values_as_they_come(ray):
    @ray.remote
    def same(x):
        return x

    refs = [same.remote(i) for i in range(25)]
    assert sorted(ray.util.as_completed(refs, chunk_size=4)) == list(range(25))
    assert sorted(ray.util.map_unordered(same, range(25), backpressure_size=3)) == list(range(25))
    with pytest.raises(ValueError, match="chunk_size"):
        next(ray.util.as_completed(refs, chunk_size=0))


def test_a_message_is_logged_once():
    assert manta.util.log_once("a message of this test")
    assert not manta.util.log_once("a message of this test")


def test_init_answers_with_rays_context(ray):
    context = ray.init(ignore_reinit_error=True)
    assert type(context).__name__ == "RayContext"
    assert context.address_info["node_id"] == context["node_id"]
    assert context.dashboard_url is None and context.ray_version == ray.__version__
    with pytest.raises(RuntimeError, match="Unknown keyword argument"):
        ray.init(foo=1)


def test_a_placement_group_has_an_id(ray):
    group = ray.util.placement_group([{"CPU": 1}])
    ray.get(group.ready(), timeout=SOON)
    assert isinstance(group.id, ray.PlacementGroupID)
    assert ray.util.placement_group_table(group)["placement_group_id"] == group.id.hex()
    assert ray.util.placement_group_table()[group.id.hex()]["strategy"] == "PACK"
    ray.util.remove_placement_group(group)


def test_a_node_that_is_not_there_is_passed_over_when_soft(ray):
    from manta.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote
    def one():
        return 1

    somewhere = NodeAffinitySchedulingStrategy("0" * 56, soft=True)
    assert ray.get(one.options(scheduling_strategy=somewhere).remote(), timeout=SOON) == 1
    nowhere = NodeAffinitySchedulingStrategy("0" * 56, soft=False, _spill_on_unavailable=False)
    with pytest.raises(exceptions.TaskUnschedulableError):
        ray.get(one.options(scheduling_strategy=nowhere).remote(), timeout=SOON)
