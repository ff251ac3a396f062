"""Cancelling tasks: before they start, while they run, by force, and with all that they have started."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

import pytest

from manta import exceptions

SOON = 30


@pytest.fixture
def started(tmp_path: Path) -> str:
    """A pipe by which a task says that it runs: opening it waits for the other side."""
    path = str(tmp_path / "started")
    os.mkfifo(path)
    return path


def say(path: str, text: str) -> None:
    with open(path, "w") as pipe:
        pipe.write(text)


def hear(path: str) -> str:
    with open(path) as pipe:
        return pipe.read()


def test_a_queued_task_never_runs(ray, gate, tmp_path):
    ran = tmp_path / "ran"

    @ray.remote(num_cpus=2)
    def hold():
        gate.wait()

    @ray.remote
    def mark():
        ran.touch()

    first = hold.remote()
    queued = [mark.remote() for _ in range(20)]
    for ref in queued:
        ray.cancel(ref)
    for ref in queued:
        with pytest.raises(exceptions.TaskCancelledError, match="'.*mark' was cancelled"):
            ray.get(ref, timeout=SOON)
    gate.open()
    assert ray.get(first, timeout=SOON) is None
    assert ray.get(ray.remote(lambda: 1).remote(), timeout=SOON) == 1
    assert not ran.exists()


def test_a_task_that_waits_for_its_arguments_is_cancelled_and_they_are_not(ray, gate):
    @ray.remote
    def value():
        gate.wait()
        return 5

    @ray.remote
    def double(x):
        return 2 * x

    argument = value.remote()
    dependent = double.remote(argument)
    later = double.remote(dependent)
    ray.cancel(dependent)
    for ref in (dependent, later):
        with pytest.raises(exceptions.TaskCancelledError):
            ray.get(ref, timeout=SOON)
    gate.open()
    assert ray.get(argument, timeout=SOON) == 5


def test_a_running_task_is_interrupted_wherever_it_is_and_may_clean_up(ray, started, tmp_path):
    @ray.remote
    def work():
        try:
            say(started, "runs")
            time.sleep(600)
        except KeyboardInterrupt:
            (tmp_path / "cleaned").write_text("yes")
            raise

    ref = work.remote()
    assert hear(started) == "runs"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)
    assert (tmp_path / "cleaned").read_text() == "yes"


def test_a_task_that_waits_for_another_is_interrupted_and_so_is_the_other(ray, started, tmp_path):
    @ray.remote
    def child():
        try:
            say(started, "runs")
            time.sleep(600)
        except KeyboardInterrupt:
            say(started, "the child was cancelled")
            raise

    @ray.remote
    def parent():
        return ray.get(child.remote())

    ref = parent.remote()
    assert hear(started) == "runs"
    ray.cancel(ref)
    assert hear(started) == "the child was cancelled"
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_without_recursive_children_run_on(ray, started, gate):
    @ray.remote
    def child():
        say(started, "runs")
        gate.wait()
        say(started, "done")

    @ray.remote
    def parent():
        return ray.get(child.remote())

    ref = parent.remote()
    assert hear(started) == "runs"
    ray.cancel(ref, recursive=False)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)
    gate.open()
    assert hear(started) == "done"


def test_force_ends_a_worker_that_does_not_listen(ray, started):
    @ray.remote
    def deaf():
        say(started, str(os.getpid()))
        while True:
            try:
                time.sleep(600)
            except BaseException:
                continue

    ref = deaf.remote()
    pid = os.pidfd_open(int(hear(started)))
    ray.cancel(ref, force=True)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)
    # The worker is no child of this process: its descriptor becomes readable at its end.

    assert select.select([pid], [], [], SOON)[0], "the worker lives on"
    os.close(pid)
    assert ray.get([ray.remote(lambda x: x).remote(i) for i in range(20)], timeout=SOON) == list(range(20))


def test_a_cancelled_task_is_not_retried(ray, started):
    @ray.remote(max_retries=-1, retry_exceptions=True)
    def work():
        say(started, "runs")
        time.sleep(600)

    ref = work.remote()
    assert hear(started) == "runs"
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_a_task_that_is_over_keeps_its_value(ray):
    ref = ray.remote(lambda: 3).remote()
    assert ray.get(ref) == 3
    ray.cancel(ref)
    ray.cancel(ray.put(1))
    assert ray.get(ref) == 3


def test_a_task_is_cancelled_by_another_process_than_its_owner(ray, started):
    @ray.remote
    def work():
        say(started, "runs")
        time.sleep(600)

    @ray.remote
    def canceller(refs):
        ray.cancel(refs[0])

    ref = work.remote()
    assert hear(started) == "runs"
    ray.get(canceller.remote([ref]), timeout=SOON)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_interrupts_meet_no_other_task(ray):
    @ray.remote
    def short(x):
        return x

    refs = [short.remote(i) for i in range(400)]
    for ref in refs[::2]:
        ray.cancel(ref)
    assert ray.get(refs[1::2], timeout=SOON) == list(range(1, 400, 2))
    for i, ref in enumerate(refs[::2]):
        with contextlib.suppress(exceptions.TaskCancelledError):
            assert ray.get(ref, timeout=SOON) == 2 * i


def test_cancel_takes_a_ref(ray):
    with pytest.raises(TypeError, match="takes an ObjectRef, not int"):
        ray.cancel(1)
