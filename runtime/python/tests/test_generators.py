"""Generators as tasks: refs of their values as soon as each is made."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle

import pytest

import manta
from manta import exceptions

SOON = 30


def test_values_come_in_their_order_and_then_it_is_over(ray):
    @ray.remote
    def count(n):
        yield from range(n)

    for n in (0, 1, 500):
        refs = count.remote(n)
        assert isinstance(refs, ray.ObjectRefGenerator)
        assert [ray.get(ref) for ref in refs] == list(range(n))
        with pytest.raises(StopIteration):
            next(refs)
        assert refs.is_finished()
        assert ray.get(refs.completed(), timeout=SOON) is None


def test_a_value_is_there_while_the_task_runs_on(ray, gate):
    @ray.remote
    def two():
        yield "first"
        gate.wait()
        yield "second"

    refs = two.remote()
    assert ray.get(next(refs), timeout=SOON) == "first"
    assert not refs.is_finished()
    gate.open()
    assert ray.get(next(refs), timeout=SOON) == "second"


def test_an_error_in_the_middle_is_the_last_ref(ray):
    @ray.remote
    def fails():
        yield 1
        raise ValueError("after the first")

    refs = fails.remote()
    assert ray.get(next(refs)) == 1
    last = next(refs)
    with pytest.raises(ValueError, match="after the first"):
        ray.get(last)
    with pytest.raises(StopIteration):
        next(refs)
    with pytest.raises(ValueError):
        ray.get(refs.completed())


def test_async_iteration(ray):
    @ray.remote
    def count(n):
        yield from range(n)

    async def collect():
        return [await ref async for ref in count.remote(50)]

    async def both():
        return await asyncio.gather(collect(), collect())

    assert asyncio.run(both()) == [list(range(50))] * 2


def test_large_values(ray):
    @ray.remote
    def blocks():
        for i in range(4):
            yield bytes([i]) * 2_000_000

    assert [ray.get(ref)[:1] for ref in blocks.remote()] == [b"\0", b"\1", b"\2", b"\3"]


def test_backpressure_holds_the_generator_up(ray, tmp_path):
    @ray.remote(_generator_backpressure_num_objects=2)
    def count():
        for i in range(8):
            (tmp_path / str(i)).touch()
            yield i

    refs = count.remote()
    made = []
    for i, ref in enumerate(refs):
        assert ray.get(ref) == i
        made.append(len(os.listdir(tmp_path)))
    # The loop had asked for i + 1 values when it counted, and two more may wait.
    assert len(made) == 8
    assert all(count <= i + 1 + 2 for i, count in enumerate(made)), made


def test_values_that_nobody_takes_do_not_stop_the_task(ray, tmp_path):
    done = tmp_path / "done"
    os.mkfifo(done)

    @ray.remote(_generator_backpressure_num_objects=1)
    def count():
        yield from range(10)
        done.write_text("done")

    refs = count.remote()
    assert ray.get(next(refs)) == 0
    del refs
    gc.collect()
    assert done.read_text() == "done"


def test_arguments_from_a_generator(ray):
    @ray.remote
    def count(n):
        yield from range(n)

    double = ray.remote(lambda x: 2 * x)
    assert ray.get([double.remote(ref) for ref in count.remote(5)]) == [0, 2, 4, 6, 8]


def test_a_generator_may_give_a_number_of_values(ray):
    @ray.remote(num_returns=3)
    def three():
        yield 1
        yield 2
        yield 3

    assert ray.get(three.remote()) == [1, 2, 3]
    # As in Ray, what is too much is dropped, and said in the worker's output.
    assert ray.get(three.options(num_returns=2).remote()) == [1, 2]
    with pytest.raises(ValueError, match="num_returns=4, but yielded 3 values"):
        ray.get(three.options(num_returns=4).remote()[3])


def test_streaming_functions_return_iterators(ray):
    @ray.remote(num_returns="streaming")
    def numbers():
        return iter([1, 2])

    assert [ray.get(ref) for ref in numbers.remote()] == [1, 2]

    (only,) = ray.remote(num_returns="streaming")(lambda: 5).remote()
    with pytest.raises(ValueError, match="must be a generator"):
        ray.get(only)


def test_a_generator_whose_worker_dies_runs_again(ray, tmp_path):
    @ray.remote
    def count():
        for i in range(5):
            if i == 3 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                os._exit(1)
            yield i

    assert [ray.get(ref) for ref in count.remote()] == list(range(5))


def test_a_running_generator_is_cancelled(ray, gate):
    @ray.remote
    def forever():
        yield 0
        gate.wait()

    refs = forever.remote()
    assert ray.get(next(refs)) == 0
    ray.cancel(refs)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(next(refs), timeout=SOON)
    with pytest.raises(StopIteration):
        next(refs)


def test_generators_wait_with_refs(ray, gate):
    @ray.remote
    def two():
        yield 1
        gate.wait()
        yield 2

    refs = two.remote()
    other = ray.remote(lambda: 3).remote()
    ready, rest = ray.wait([refs, other], num_returns=2, timeout=SOON)
    assert ready == [refs, other] and rest == []
    next(refs)
    assert ray.wait([refs], timeout=0) == ([], [refs])
    gate.open()
    assert ray.wait([refs], timeout=SOON) == ([refs], [])


def test_what_cannot_be_done_says_so(ray):
    @ray.remote
    def count():
        yield 1

    refs = count.remote()
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        pickle.dumps(refs)
    with pytest.raises(ValueError, match="async def"):

        @manta.remote
        async def asynchronous():
            yield 1
