"""Methods of actors that are generators, and calls of async actors that are cancelled while they run."""

from __future__ import annotations

import asyncio
import threading

import pytest

from manta import exceptions

SOON = 30


@pytest.fixture(scope="module")
def counter(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.begun = 0

        def count(self, n):
            self.begun += 1
            yield from range(n)

        def fails(self):
            yield 1
            raise KeyError("after the first")

        @ray.method(num_returns=3)
        def three(self):
            yield from "abc"

        def plain(self):
            return 5

    return Counter.remote()


def test_a_generator_method_gives_its_values_one_by_one(ray, counter):
    refs = counter.count.remote(100)
    assert isinstance(refs, ray.ObjectRefGenerator)
    assert [ray.get(ref) for ref in refs] == list(range(100))
    assert refs.is_finished()


def test_several_streams_of_one_actor_do_not_mix(ray, counter):
    streams = [counter.count.remote(20) for _ in range(5)]
    assert [[ray.get(ref) for ref in refs] for refs in streams] == [list(range(20))] * 5


def test_an_error_in_a_method_is_the_last_value(ray, counter):
    refs = counter.fails.remote()
    assert ray.get(next(refs)) == 1
    with pytest.raises(KeyError, match="after the first"):
        ray.get(next(refs))
    with pytest.raises(StopIteration):
        next(refs)


def test_a_number_of_returns_gives_refs_in_place_of_a_stream(ray, counter):
    assert ray.get(counter.three.remote()) == ["a", "b", "c"]
    assert len(counter.count.options(num_returns=2).remote(2)) == 2


def test_what_is_no_generator_cannot_stream(ray, counter):
    refs = counter.plain.options(num_returns="streaming").remote()
    with pytest.raises(ValueError, match="it must be a generator"):
        ray.get(next(refs))


def test_a_stream_of_a_dead_actor_ends_with_the_actors_error(ray):
    @ray.remote(num_cpus=0)
    class Endless:
        def run(self):
            while True:
                yield threading.get_ident()

    actor = Endless.remote()
    refs = actor.run.options(_generator_backpressure_num_objects=2).remote()
    ray.get(next(refs))
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        for ref in refs:
            ray.get(ref, timeout=SOON)


def test_an_async_actor_streams_beside_its_other_calls(ray):
    @ray.remote(num_cpus=0)
    class Feed:
        def __init__(self):
            self.more = asyncio.Event()

        async def items(self):
            yield "first"
            await self.more.wait()
            yield "second"

        async def release(self):
            self.more.set()

        def plain(self):
            yield from range(3)

    feed = Feed.remote()
    refs = feed.items.remote()
    assert ray.get(next(refs), timeout=SOON) == "first"
    ray.get(feed.release.remote(), timeout=SOON)
    assert ray.get(next(refs), timeout=SOON) == "second"
    with pytest.raises(StopIteration):
        next(refs)
    assert [ray.get(ref) for ref in feed.plain.remote()] == [0, 1, 2]


def test_backpressure_holds_a_methods_stream_up(ray):
    @ray.remote(num_cpus=0)
    class Ahead:
        def __init__(self):
            self.made = 0

        @ray.method(_generator_backpressure_num_objects=3)
        async def run(self):
            for i in range(50):
                self.made = i + 1
                yield i

        async def how_far(self):
            return self.made

    ahead = Ahead.remote()
    refs = ahead.run.remote()
    taken = [ray.get(next(refs)) for _ in range(2)]
    assert taken == [0, 1]
    assert ray.get(ahead.how_far.remote()) <= 2 + 3 + 1
    assert [ray.get(ref) for ref in refs] == list(range(2, 50))


def test_a_running_async_call_is_cancelled_and_the_actor_lives(ray):
    @ray.remote(num_cpus=0)
    class Sleeper:
        def __init__(self):
            self.cleaned = 0
            self.running = 0

        async def sleep(self):
            self.running += 1
            try:
                await asyncio.sleep(3600)
            finally:
                self.cleaned += 1

        async def counts(self):
            return self.running, self.cleaned

    sleeper = Sleeper.remote()
    calls = [sleeper.sleep.remote() for _ in range(20)]
    while ray.get(sleeper.counts.remote())[0] < 20:
        pass
    for call in calls:
        ray.cancel(call)
    for call in calls:
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(call, timeout=SOON)
    assert ray.get(sleeper.counts.remote(), timeout=SOON) == (20, 20)


def test_a_call_of_an_actor_is_not_cancelled_by_force(ray, counter):
    with pytest.raises(ValueError, match="use kill|kill\\(\\)"):
        ray.cancel(counter.count.remote(10_000), force=True)


def test_a_method_is_retried_for_the_exceptions_that_are_listed(ray):
    @ray.remote(num_cpus=0, max_task_retries=3)
    class Flaky:
        def __init__(self):
            self.tries = 0

        @ray.method(retry_exceptions=[OSError])
        def third_time(self):
            self.tries += 1
            if self.tries < 3:
                raise ConnectionError("not yet")
            return self.tries

        @ray.method(retry_exceptions=[OSError])
        def other(self):
            self.tries += 1
            raise KeyError("never retried")

        def count(self):
            return self.tries

    flaky = Flaky.remote()
    assert ray.get(flaky.third_time.remote()) == 3
    with pytest.raises(KeyError):
        ray.get(flaky.other.remote())
    assert ray.get(flaky.count.remote()) == 4
    with pytest.raises(KeyError):
        ray.get(flaky.other.options(retry_exceptions=[KeyError], max_task_retries=1).remote())
    assert ray.get(flaky.count.remote()) == 6
