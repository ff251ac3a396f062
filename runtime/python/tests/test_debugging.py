"""Python tasks and actors of every kind, stopped and looked at in a debug session of a real cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from conftest import SCRIPT_SECONDS_MAX, LocalCluster
from debugging import Session, Source


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node with room for the actors of a test, and tasks beside them."""
    made = LocalCluster(nodes=1, num_cpus=4)
    yield made
    made.close()


@pytest.fixture
def session(cluster: LocalCluster) -> Iterator[Session]:
    """A debug session, which ends with the test."""
    made = Session(cluster)
    yield made
    made.close()


Start = Callable[[Source], "subprocess.Popen[str]"]


@pytest.fixture
def start(cluster: LocalCluster) -> Iterator[Start]:
    """Starts a source as a driver of the cluster; it is killed if the test leaves it."""
    started: list[subprocess.Popen[str]] = []

    def run(source: Source, *arguments: str) -> subprocess.Popen[str]:
        import os

        environment = {**os.environ, "MANTA_ADDRESS": cluster.address, "MANTA_TOKEN": cluster.token}
        command = [sys.executable, str(source.path), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def printed(driver: subprocess.Popen[str]) -> str:
    """What the driver prints until its end."""
    text, _ = driver.communicate(timeout=SCRIPT_SECONDS_MAX)
    assert driver.returncode == 0
    return text.strip().splitlines()[-1]


def test_an_actor_stops_alone_in_its_constructor_and_its_methods(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import manta as ray

        @ray.remote
        class Account:
            def __init__(self, balance):
                self.balance = balance
                self.history = []  # made
            def pay(self, amount):
                self.balance -= amount
                self.history.append(amount)  # paid
                return self.balance

        ray.init()
        stopped, other = Account.remote(10), Account.remote(100)
        first = stopped.pay.remote(3)
        print("the other has", ray.get(other.pay.remote(1)), flush=True)
        print(ray.get([first, stopped.pay.remote(4)]))
        """,
    )
    session.break_at(source, "made", "paid", condition="self.balance < 50")
    session.go()
    driver = start(source)
    [thread] = session.paused(1)
    # The constructor of one waits; the other actor's was passed by, and its call is answered meanwhile.
    assert (session.top(thread)["line"], session.value(thread, "balance")) == (source.line("made"), "10")
    assert driver.stdout.readline() == "the other has 99\n"
    session.resume(thread)
    session.event("thread", lambda body: body["reason"] == "exited")
    [thread] = session.paused(1)
    assert thread["name"].startswith("Account.pay ")
    assert session.evaluate(thread["id"], "self.balance")["result"] == "7"
    assert session.step("next", thread)["line"] == source.line("paid") + 1
    assert session.evaluate(thread["id"], "self.history")["result"] == "[3]"
    session.evaluate(thread["id"], "self.balance = 20")
    session.resume(thread)
    session.event("thread", lambda body: body["reason"] == "exited")
    [thread] = session.paused(1)
    session.resume(thread)
    assert printed(driver) == "[20, 16]"


def test_calls_of_a_threaded_actor_stop_at_once_and_each_on_its_own(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import manta as ray

        @ray.remote(concurrency_groups={"side": 2})
        class Threads:
            @ray.method(concurrency_group="side")
            def work(self, number):
                doubled = number * 2  # stop
                return doubled + 1
            def plain(self):
                return "meanwhile"

        ray.init()
        actor = Threads.options(max_concurrency=2).remote()
        refs = [actor.work.remote(number) for number in (10, 20)]
        print(ray.get(actor.plain.remote()), flush=True)
        print(ray.get(refs))
        """,
    )
    session.break_at(source, "stop")
    session.go()
    driver = start(source)
    threads = session.paused(2)
    numbers = {session.value(thread, "number"): thread for thread in threads}
    assert set(numbers) == {"10", "20"}
    assert all(thread["name"].startswith("Threads.work ") for thread in threads)
    assert driver.stdout.readline() == "meanwhile\n"
    # One is stepped and goes on; the other's frame and variables stay as they are.
    kept = session.locals(numbers["20"]["id"])
    assert session.step("next", numbers["10"])["line"] == source.line("stop") + 1
    assert session.value(numbers["10"], "doubled") == "20"
    session.resume(numbers["10"])
    session.event("thread", lambda body: body["reason"] == "exited")
    assert session.locals(numbers["20"]["id"]).keys() == kept.keys()
    assert session.evaluate(numbers["20"]["id"], "number + 1")["result"] == "21"
    session.resume(numbers["20"])
    assert printed(driver) == "[21, 41]"


def test_an_async_actor_stops_with_its_loop_and_shows_who_else_waits_there(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import asyncio
        import manta as ray

        @ray.remote
        class Loop:
            def __init__(self):
                self.opened = asyncio.Event()
            async def wait(self):
                await self.opened.wait()  # waits
                return "opened"
            async def open(self, number):
                found = await self.look(number)
                self.opened.set()  # after
                return found
            async def look(self, number):
                await asyncio.sleep(0)
                found = number * 2  # stop
                return found

        @ray.remote
        def task(number):
            return number

        ray.init()
        actor = Loop.remote()
        waiting = actor.wait.remote()
        opening = [actor.open.remote(number) for number in (1, 2)]
        print("beside it", ray.get(task.remote(7)), flush=True)
        print(ray.get([waiting, *opening]))
        """,
    )
    session.break_at(source, "stop")
    session.go()
    driver = start(source)
    [thread] = session.paused(1)
    assert driver.stdout.readline() == "beside it 7\n"
    assert thread["name"].startswith("Loop.open ")
    frames = [frame for frame in session.stack(thread["id"]) if frame.get("presentationHint") is None]
    assert [frame["name"].rpartition(".")[2] for frame in frames[:2]] == ["look", "open"]
    scopes = session.request("scopes", frameId=frames[0]["id"])["scopes"]
    [others] = [scope for scope in scopes if scope["name"] == "Asyncio tasks"]
    listed = session.children(others["variablesReference"])
    assert any("wait" in entry["value"] for entry in listed.values()), listed
    first = session.value(thread, "number")
    # The step leaves the coroutine for the one that awaits it. The other call stops when the loop comes to it.
    assert session.step("stepOut", thread)["name"].rpartition(".")[2] == "open"
    session.resume(thread)
    session.event("stopped")
    [other] = [t for t in session.request("threads")["threads"] if t["id"] != thread["id"]]
    assert {first, session.value(other, "number")} == {"1", "2"}
    session.resume(other)
    assert printed(driver) == "['opened', 2, 4]"


def test_a_streaming_generator_stops_between_its_values(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import manta as ray

        @ray.remote(num_returns="streaming")
        def count(limit):
            for number in range(limit):
                square = number * number  # stop
                yield square

        ray.init()
        values = (ray.get(ref) for ref in count.remote(3))
        print("first", next(values), flush=True)
        print(list(values))
        """,
    )
    session.break_at(source, "stop", condition="number == 1")
    session.go()
    driver = start(source)
    [thread] = session.paused(1)
    assert driver.stdout.readline() == "first 0\n"
    assert session.step("next", thread)["line"] == source.line("stop") + 1
    assert session.value(thread, "square") == "1"
    # A step over `yield` comes back to the generator, not to the worker's own code.
    assert session.step("next", thread)["name"] == "count"
    session.resume(thread)
    assert printed(driver) == "[1, 4]"


def test_a_file_that_was_shipped_to_another_folder_stops_as_the_clients_own(session, start, tmp_path):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    work = Source(
        own / "work.py",
        """
        import beside

        def run(number):
            doubled = number * 2  # stop
            return beside.more(doubled)
        """,
    )
    beside = Source(
        own / "beside.py",
        """
        def more(number):
            return number + 1  # more
        """,
    )
    shutil.copytree(own, shipped)
    program = Source(
        tmp_path / "program.py",
        f"""
        import manta as ray

        @ray.remote
        def task(number):
            import sys
            sys.path.insert(0, {str(shipped)!r})
            import work
            return work.run(number)

        ray.init()
        print(ray.get(task.remote(20)))
        """,
    )
    session.break_at(work, "stop")
    session.go()
    driver = start(program)
    [thread] = session.paused(1)
    top = session.top(thread)
    assert (top["line"], top["source"]["path"]) == (work.line("stop"), str(work.path))
    # What one file has taught holds of the one beside it: where a step leads, and where a breakpoint is set now.
    assert session.step("next", thread)["line"] == work.line("stop") + 1
    entered = session.step("stepIn", thread)
    assert (entered["line"], entered["source"]["path"]) == (beside.line("more"), str(beside.path))
    [state] = session.break_at(beside, "more")
    assert state["line"] == beside.line("more")
    session.resume(thread)
    assert printed(driver) == "41"


def test_breakpoint_in_the_code_stops_where_a_session_is_attached(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import manta as ray

        @ray.remote
        def task(number):
            breakpoint()  # here
            return number

        ray.init()
        print(ray.get(task.remote(5)))
        """,
    )
    session.go()
    driver = start(source)
    [thread] = session.paused(1)
    assert session.top(thread)["line"] in (source.line("here"), source.line("here") + 1)
    session.evaluate(thread["id"], "number = 6")
    session.resume(thread)
    assert printed(driver) == "6"


def test_an_exception_that_a_task_does_not_catch_stops_at_its_line(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import manta as ray

        @ray.remote
        def fails(number):
            raise LookupError(f"no {number}")  # raised

        @ray.remote
        class Actor:
            async def fails(self, number):
                return {}[number]  # missing

        ray.init()
        actor = Actor.remote()
        for ref in (fails.remote(3), actor.fails.remote(4)):
            try:
                ray.get(ref)
            except LookupError:
                print("as it was", flush=True)
        """,
    )
    options = [{"filterId": "uncaught", "condition": "LookupError"}]
    session.request("setExceptionBreakpoints", filters=[], filterOptions=options)
    session.go()
    driver = start(source)
    threads = session.paused(2)
    lines = {}
    for thread in threads:
        kind = session.request("exceptionInfo", threadId=thread["id"])["exceptionId"]
        lines[kind] = session.top(thread)["line"]
        session.resume(thread)
    assert lines == {"LookupError": source.line("raised"), "KeyError": source.line("missing")}
    assert printed(driver) == "as it was"


def test_a_worker_that_is_killed_while_it_is_paused_takes_only_its_own_row(session, start, tmp_path):
    import os
    import signal

    source = Source(
        tmp_path / "program.py",
        """
        import os
        import manta as ray

        @ray.remote(max_retries=0)
        def task(number):
            pid = os.getpid()
            return number  # stop

        ray.init()
        first, second = task.remote(1), task.remote(2)
        done = []
        for ref in (first, second):
            try:
                done.append(ray.get(ref))
            except ray.exceptions.WorkerCrashedError:
                done.append("crashed")
        print(done)
        """,
    )
    session.break_at(source, "stop")
    session.go()
    driver = start(source)
    threads = session.paused(2)
    by_number = {session.value(thread, "number"): thread for thread in threads}
    os.kill(int(session.value(by_number["1"], "pid")), signal.SIGKILL)
    session.event(
        "thread", lambda body: body["reason"] == "exited" and body["threadId"] == by_number["1"]["id"]
    )
    assert session.value(by_number["2"], "number") == "2"
    session.resume(by_number["2"])
    assert printed(driver) == "['crashed', 2]"


def test_deadlines_stand_still_for_who_waits_for_a_paused_task_also_through_others(session, start, tmp_path):
    source = Source(
        tmp_path / "program.py",
        """
        import fcntl, sys, threading
        import manta as ray

        @ray.remote(num_cpus=0)
        def stops():
            return "result"  # stop

        @ray.remote(num_cpus=0)
        def needs(value):
            return value

        @ray.remote(num_cpus=0)
        def gets(refs):
            return ray.get(refs[0])

        @ray.remote(num_cpus=0)
        def gets_soon(refs):
            return ray.get(refs[0], timeout=1)

        @ray.remote(num_cpus=0)
        def never(path):
            with open(path) as file:
                fcntl.flock(file, fcntl.LOCK_SH)

        ray.init()
        path = __file__ + ".lock"
        lock = open(path, "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        stopped = stops.remote()
        refs = {"itself": stopped, "needs": needs.remote(stopped), "gets": gets.remote([stopped])}
        refs["gets gets"] = gets.remote([refs["gets"]])
        inside = gets_soon.remote([stopped])
        print("paused?", flush=True)
        input()
        found = {}

        def keep(name, function):
            try:
                found[name] = function()
            except Exception as error:
                found[name] = type(error).__name__

        waiters = []
        for name, ref in refs.items():
            waiters.append((f"get {name}", lambda ref=ref: ray.get(ref, timeout=1)))
            waiters.append((f"wait {name}", lambda ref=ref: len(ray.wait([ref], timeout=1)[0])))
        threads = [threading.Thread(target=keep, args=waiter) for waiter in waiters]
        for thread in threads:
            thread.start()
        # The deadlines of who waits for another task pass meanwhile.
        blocked = never.remote(path)
        for _ in range(3):
            keep("never", lambda: ray.get(blocked, timeout=1))
        print(sorted(found.items()), flush=True)
        input()
        for thread in threads:
            thread.join()
        print(sorted(found.items()), ray.get(inside))
        """,
    )
    session.break_at(source, "stop")
    session.go()
    driver = start(source)
    assert driver.stdout.readline() == "paused?\n"
    [thread] = session.paused(1)
    driver.stdin.write("\n")
    driver.stdin.flush()
    assert driver.stdout.readline() == "[('never', 'GetTimeoutError')]\n"
    session.resume(thread)
    names = ("itself", "needs", "gets", "gets gets")
    expected = [("never", "GetTimeoutError")]
    expected += [entry for name in names for entry in ((f"get {name}", "result"), (f"wait {name}", 1))]
    text, _ = driver.communicate("\n", timeout=SCRIPT_SECONDS_MAX)
    assert text == f"{sorted(expected)} result\n"
