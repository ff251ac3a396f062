"""The helpers under `util` that are made of actors."""

from __future__ import annotations

import asyncio

import pytest

from manta.util import ActorPool
from manta.util.queue import Empty, Full, Queue

SOON = 30


@pytest.fixture(scope="module")
def doublers(ray):
    @ray.remote(num_cpus=0)
    class Doubler:
        def double(self, x):
            return 2 * x

    return [Doubler.remote() for _ in range(2)]


def double(actor, value):
    return actor.double.remote(value)


def test_a_pool_maps_in_order_and_out_of_order(doublers):
    pool = ActorPool(doublers)
    assert list(pool.map(double, range(10))) == [2 * i for i in range(10)]
    assert sorted(pool.map_unordered(double, range(10))) == [2 * i for i in range(10)]
    assert pool.has_free() and not pool.has_next()


def test_a_pool_takes_work_piece_by_piece(doublers):
    pool = ActorPool(doublers[:1])
    for value in (1, 2, 3):
        pool.submit(double, value)
    assert not pool.has_free() and pool.pop_idle() is None
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(doublers[0])
    pool.push(doublers[1])
    assert [pool.get_next(timeout=SOON) for _ in range(3)] == [2, 4, 6]
    with pytest.raises(StopIteration):
        pool.get_next()
    assert pool.pop_idle() in doublers


def test_a_queue_is_shared_by_tasks(ray):
    queue = Queue()

    @ray.remote(num_cpus=0.5)
    def produce(queue):
        for i in range(5):
            queue.put(i)

    @ray.remote(num_cpus=0.5)
    def consume(queue):
        return [queue.get(timeout=SOON) for _ in range(5)]

    taken = consume.remote(queue)
    ray.get(produce.remote(queue), timeout=SOON)
    assert ray.get(taken, timeout=SOON) == list(range(5))
    assert queue.empty() and len(queue) == 0
    queue.shutdown()


def test_a_queue_without_room_or_items(ray):
    queue = Queue(maxsize=2)
    with pytest.raises(Empty):
        queue.get(block=False)
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    queue.put_nowait_batch([1, 2])
    assert queue.full()
    with pytest.raises(Full):
        queue.put(3, timeout=0.01)
    with pytest.raises(Full):
        queue.put_nowait(3)
    with pytest.raises(ValueError, match="non-negative"):
        queue.get(timeout=-1)
    assert queue.get_nowait_batch(2) == [1, 2]

    async def both():
        await queue.put_async("async")
        return await queue.get_async()

    assert asyncio.run(both()) == "async"
    queue.shutdown(force=True)
