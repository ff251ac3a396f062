"""Actors: their calls and their order, concurrency, names, ends and restarts."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import threading

import pytest
from conftest import until

import manta
from manta import exceptions

DEADLINE_SECONDS = 30


@manta.remote
class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, amount=1):
        self.value += amount
        return self.value

    def pid(self):
        return os.getpid()

    def fail(self):
        raise ValueError("no")

    def exit(self):
        manta.actor.exit_actor()

    def wait(self, gate):
        gate.wait()
        return self.value

    @manta.method(num_returns=2)
    def two(self):
        return self.value, -self.value


def test_calls_run_in_their_order_on_one_instance(ray):
    counter = Counter.remote(10)
    assert ray.get([counter.add.remote() for _ in range(500)]) == list(range(11, 511))
    assert ray.get(counter.add.remote(amount=-510)) == 0
    assert ray.get(counter.two.remote()) == [0, 0]
    assert ray.get(counter.pid.remote()) != os.getpid()


def test_a_call_waits_for_its_arguments_and_holds_back_those_behind_it(ray, gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return 5

    counter = Counter.remote()
    refs = [counter.add.remote(slow.remote(gate)), counter.add.remote()]
    assert ray.wait(refs, timeout=0.2)[0] == []
    gate.open()
    assert ray.get(refs) == [5, 6]


def test_a_failed_argument_fails_its_call_alone(ray):
    @ray.remote
    def bad():
        raise KeyError("bad")

    counter = Counter.remote()
    failed, fine = counter.add.remote(bad.remote()), counter.add.remote()
    with pytest.raises(KeyError):
        ray.get(failed)
    assert ray.get(fine) == 1


def test_an_exception_is_the_calls_result_and_the_actor_lives_on(ray):
    counter = Counter.remote()
    with pytest.raises(ValueError, match="no") as caught:
        ray.get(counter.fail.remote())
    assert "Counter.fail" in str(caught.value)
    assert ray.get(counter.add.remote()) == 1


def test_handles_go_anywhere(ray):
    @ray.remote
    def use(counter):
        return ray.get(counter.add.remote(2))

    @ray.remote
    class User:
        def __init__(self, counter):
            self.counter = counter

        def use(self):
            return ray.get(self.counter.add.remote(3))

    counter = Counter.remote()
    assert ray.get(use.remote(counter)) == 2
    assert ray.get(User.remote(counter).use.remote()) == 5
    assert ray.get([use.remote([counter][0])]) == [7]
    assert ray.get(counter.add.remote()) == 8


def test_misuse_is_an_error_at_once(ray):
    with pytest.raises(TypeError, match="Counter.remote()"):
        Counter()
    counter = Counter.remote()
    with pytest.raises(TypeError, match="object.add.remote()"):
        counter.add()
    with pytest.raises(AttributeError, match="no method 'nothing'"):
        _ = counter.nothing
    with pytest.raises(TypeError, match="too many positional"):
        counter.add.remote(1, 2)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Counter.remote(stop=3)
    with pytest.raises(ValueError, match="not an option of actor classes"):
        Counter.options(colour="red")
    with pytest.raises(ValueError, match="max_concurrency"):
        Counter.options(max_concurrency=0)
    with pytest.raises(ValueError, match="get_if_exists"):
        Counter.options(get_if_exists=True)
    with pytest.raises(ValueError, match="kill"):
        ray.kill("counter")
    with pytest.raises(TypeError, match="hosts none"):
        ray.actor.exit_actor()
    with pytest.raises(TypeError, match="no class can inherit"):

        class Child(Counter):
            pass


def test_a_constructor_that_fails_kills_the_actor_with_its_words(ray):
    @ray.remote
    class Broken:
        def __init__(self):
            raise OSError("no such device")

        def use(self):
            return 1

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(exceptions.ActorDiedError, match="no such device"):
            ray.get(broken.use.remote())


def test_an_actor_that_no_node_can_host(ray):
    actor = Counter.options(num_cpus=1000).remote()
    with pytest.raises(exceptions.ActorUnschedulableError, match="CPU 1000"):
        ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS)


def test_more_actors_than_cpus(ray):
    actors = [Counter.remote(index) for index in range(5)]
    assert ray.get([actor.add.remote(0) for actor in actors], timeout=60) == list(range(5))


def test_an_actor_holds_the_cpus_that_it_asked_for(ray, gate):
    actor = Counter.options(num_cpus=2).remote()
    assert ray.get(actor.add.remote()) == 1
    task = ray.remote(lambda: 1).remote()
    assert ray.wait([task], timeout=0.3)[0] == []
    ray.kill(actor)
    assert ray.get(task, timeout=DEADLINE_SECONDS) == 1


def test_kill_fails_what_is_pending(ray, gate):
    actor = Counter.remote()
    pid = ray.get(actor.pid.remote())
    refs = [actor.wait.remote(gate), actor.add.remote()]
    ray.kill(actor)
    for ref in refs:
        with pytest.raises(exceptions.ActorDiedError, match="killed by kill"):
            ray.get(ref, timeout=DEADLINE_SECONDS)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote())
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_worker_that_is_killed_takes_its_actor_along_and_says_how(ray):
    actor = Counter.remote()
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError, match=rf"worker {pid} .*signal 9"):
        ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS)


def test_a_restarted_actor_begins_anew(ray):
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote(100)
    assert ray.get(actor.add.remote()) == 101
    first = ray.get(actor.pid.remote())
    os.kill(first, signal.SIGKILL)
    assert ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS) == 101
    second = ray.get(actor.pid.remote())
    assert second != first
    os.kill(second, signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError, match="signal 9"):
        ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS)


def test_a_call_under_way_in_a_restart_is_unavailable_or_tried_again(ray, gate, tmp_path):
    @ray.remote(max_restarts=-1)
    class Waiter:
        def pid(self):
            return os.getpid()

        def wait(self, gate, path):
            open(path, "w").close()
            gate.wait()
            return "done"

    waiter = Waiter.remote()
    pid = ray.get(waiter.pid.remote())
    once = waiter.wait.remote(gate, str(tmp_path / "once"))
    until((tmp_path / "once").exists)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(exceptions.ActorUnavailableError, match="signal 9"):
        ray.get(once, timeout=DEADLINE_SECONDS)

    def alive():
        try:
            return ray.get(waiter.pid.remote(), timeout=DEADLINE_SECONDS)
        except exceptions.ActorUnavailableError:
            return None

    until(alive)
    pid = alive()
    again = waiter.wait.options(max_task_retries=1).remote(gate, str(tmp_path / "again"))
    until((tmp_path / "again").exists)
    os.kill(pid, signal.SIGKILL)
    gate.open()
    assert ray.get(again, timeout=DEADLINE_SECONDS) == "done"


def test_kill_with_restart(ray):
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get([actor.add.remote(), actor.add.remote()]) == [1, 2]
    pid = ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS) == 1


def test_exit_actor_ends_it_for_good(ray):
    actor = Counter.options(max_restarts=5).remote()
    with pytest.raises(exceptions.ActorDiedError, match="exit_actor"):
        ray.get(actor.exit.remote(), timeout=DEADLINE_SECONDS)
    with pytest.raises(exceptions.ActorDiedError, match="exit_actor"):
        ray.get(actor.add.remote(), timeout=DEADLINE_SECONDS)


def test_an_actor_without_handles_ends_after_its_calls(ray):
    pid = ray.get(Counter.remote().pid.remote())
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_callers_in_other_processes_see_a_restart(ray):
    @ray.remote
    class Caller:
        def __init__(self, counter):
            self.counter = counter

        def call(self):
            return ray.get(self.counter.pid.options(max_task_retries=-1).remote())

    counter = Counter.options(max_restarts=-1, max_task_retries=-1).remote()
    caller = Caller.remote(counter)
    first = ray.get(caller.call.remote())
    os.kill(first, signal.SIGKILL)
    assert ray.get(caller.call.remote(), timeout=DEADLINE_SECONDS) != first
    ray.kill(counter)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(caller.call.remote(), timeout=DEADLINE_SECONDS)


def test_retried_exceptions(ray):
    @ray.remote
    class Flaky:
        def __init__(self):
            self.calls = 0

        @manta.method(max_task_retries=3, retry_exceptions=True)
        def call(self):
            self.calls += 1
            if self.calls < 3:
                raise ValueError("again")
            return self.calls

    assert ray.get(Flaky.remote().call.remote()) == 3


def test_names(ray):
    first = Counter.options(name="counter").remote(1)
    assert ray.get(ray.get_actor("counter").add.remote()) == 2
    with pytest.raises(ValueError, match="'counter' is taken"):
        Counter.options(name="counter").remote()
    same = Counter.options(name="counter", get_if_exists=True).remote(50)
    assert same == first
    assert ray.get(same.add.remote()) == 3
    other = Counter.options(name="counter", namespace="elsewhere").remote(70)
    assert ray.get(ray.get_actor("counter", namespace="elsewhere").add.remote()) == 71
    ray.kill(first)
    ray.kill(other)
    with pytest.raises(ValueError, match="Failed to look up actor with name 'counter'"):
        ray.get_actor("counter")
    assert ray.get(Counter.options(name="counter").remote(5).add.remote()) == 6


def test_max_pending_calls(ray, gate):
    actor = Counter.options(max_pending_calls=2).remote()
    refs = [actor.wait.remote(gate), actor.wait.remote(gate)]
    with pytest.raises(exceptions.PendingCallsLimitExceeded, match="max_pending_calls"):
        actor.add.remote()
    gate.open()
    assert ray.get(refs) == [0, 0]
    assert ray.get(actor.add.remote()) == 1


def test_an_async_actor_runs_its_calls_side_by_side(ray):
    @ray.remote
    class Meeting:
        def __init__(self):
            self.all_here = asyncio.Event()
            self.count = 0

        async def join(self, size):
            self.count += 1
            if self.count == size:
                self.all_here.set()
            await self.all_here.wait()
            context = ray.get_runtime_context()
            return context.get_task_name(), context.get_actor_id()

        def plain(self):
            return asyncio.get_running_loop().is_running()

    meeting = Meeting.remote()
    results = ray.get([meeting.join.remote(50) for _ in range(50)], timeout=DEADLINE_SECONDS)
    assert set(results) == {("Meeting.join", meeting._actor_id.hex())}
    assert ray.get(meeting.plain.remote()) is True


def test_an_async_actor_awaits_refs_and_ends_itself(ray):
    @ray.remote
    class Async:
        async def double(self, refs):
            return 2 * await refs[0]

        async def fail(self):
            raise ValueError("no")

        async def exit(self):
            ray.actor.exit_actor()

    actor = Async.remote()
    assert ray.get(actor.double.remote([ray.put(21)])) == 42
    with pytest.raises(ValueError, match="no"):
        ray.get(actor.fail.remote())
    with pytest.raises(exceptions.ActorDiedError, match="exit_actor"):
        ray.get(actor.exit.remote(), timeout=DEADLINE_SECONDS)


def test_max_concurrency_bounds_an_async_actor(ray):
    @ray.remote(max_concurrency=2)
    class Narrow:
        def __init__(self):
            self.now = self.most = 0

        async def enter(self):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return self.most

    narrow = Narrow.remote()
    assert max(ray.get([narrow.enter.remote() for _ in range(100)])) <= 2


def test_a_threaded_actor(ray):
    @ray.remote(max_concurrency=3)
    class Threaded:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def meet(self):
            self.barrier.wait(DEADLINE_SECONDS)
            return threading.get_ident(), ray.get_runtime_context().get_task_name()

    actor = Threaded.remote()
    results = ray.get([actor.meet.remote() for _ in range(3)], timeout=DEADLINE_SECONDS)
    assert len({thread for thread, _ in results}) == 3
    assert {name for _, name in results} == {"Threaded.meet"}


def test_concurrency_groups(ray, gate):
    @ray.remote(concurrency_groups={"io": 1})
    class Grouped:
        @manta.method(concurrency_group="io")
        def read(self, gate):
            gate.wait()
            return "read"

        def compute(self):
            return "computed"

    actor = Grouped.remote()
    read = actor.read.remote(gate)
    assert ray.get(actor.compute.remote(), timeout=DEADLINE_SECONDS) == "computed"
    with pytest.raises(ValueError, match="no concurrency group 'disk'"):
        actor.compute.options(concurrency_group="disk").remote()
    gate.open()
    assert ray.get(read) == "read"


def test_the_built_in_methods(ray):
    actor = Counter.remote(4)
    assert ray.get(actor.__ray_ready__.remote()) is True
    assert ray.get(actor.__ray_call__.remote(lambda self, more: self.value + more, 3)) == 7
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.__ray_terminate__.remote(), timeout=DEADLINE_SECONDS)


def test_the_context_inside_an_actor(ray):
    @ray.remote
    class Inside:
        def look(self):
            context = ray.get_runtime_context()
            return (
                context.get_actor_id(),
                context.get_actor_name(),
                context.current_actor,
                context.get_task_name(),
            )

    actor = Inside.options(name="inside").remote()
    assert ray.get(actor.look.remote()) == (actor._actor_id.hex(), "inside", actor, "Inside.look")
    assert ray.get_runtime_context().get_actor_id() is None


def test_large_arguments_and_results(ray):
    @ray.remote
    class Echo:
        def echo(self, data):
            return data

    data = os.urandom(1_000_000)
    assert ray.get(Echo.remote().echo.remote(data)) == data


def test_an_actor_ends_with_the_task_that_made_it_if_that_worker_is_killed(ray):
    @ray.remote
    class Owner:
        def make(self):
            self.counter = Counter.remote()
            return os.getpid(), self.counter, ray.get(self.counter.pid.remote())

    owner = Owner.remote()
    pid, counter, hosted = ray.get(owner.make.remote())
    assert ray.get(counter.add.remote()) == 1
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{hosted}"))
    with pytest.raises(exceptions.ActorDiedError, match="process that made it ended"):
        ray.get(counter.add.remote(), timeout=DEADLINE_SECONDS)


class Tidy:
    """Leaves marks when it ends itself."""

    def __init__(self, folder):
        self.folder = folder
        atexit.register(lambda: open(os.path.join(folder, "atexit"), "w").close())

    def __ray_shutdown__(self):
        open(os.path.join(self.folder, "shutdown"), "w").close()
        raise ValueError("what fails here keeps nobody from ending")

    def leave(self):
        manta.actor.exit_actor()


@pytest.mark.parametrize("method", ["leave", "__ray_terminate__"])
def test_an_actor_that_ends_itself_tidies_up(ray, tmp_path, method):
    tidy = ray.remote(num_cpus=0)(Tidy).remote(str(tmp_path))
    with pytest.raises(exceptions.ActorDiedError, match="ended itself"):
        ray.get(getattr(tidy, method).remote(), timeout=60)
    assert sorted(os.listdir(tmp_path)) == ["atexit", "shutdown"]


def test_a_call_after_a_kill_that_restarts_reaches_the_new_instance(ray):
    @ray.remote(num_cpus=0, max_restarts=3, max_task_retries=-1)
    class Counter:
        def pid(self):
            return os.getpid()

    counter = Counter.remote()
    pids = [ray.get(counter.pid.remote())]
    for _ in range(3):
        ray.kill(counter, no_restart=False)
        pids.append(ray.get(counter.pid.remote(), timeout=60))
    assert len(set(pids)) == 4
