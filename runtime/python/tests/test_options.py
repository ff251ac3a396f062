"""The options of tasks: retries by kind of error, workers that are recycled, and what is no option."""

from __future__ import annotations

import os
import threading

import pytest

import manta
from manta import exceptions


def attempts(path) -> int:
    """Counts a task's attempts, this one included."""
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


def test_only_the_listed_exceptions_are_retried(ray, tmp_path):
    @ray.remote(retry_exceptions=[KeyError, OSError], max_retries=5)
    def work(path, error):
        if attempts(path) < 3:
            raise error

    assert ray.get(work.remote(tmp_path / "a", KeyError("listed"))) is None
    assert ray.get(work.remote(tmp_path / "b", FileNotFoundError("a subclass"))) is None
    with pytest.raises(ValueError, match="not listed"):
        ray.get(work.remote(tmp_path / "c", ValueError("not listed")))
    assert os.path.getsize(tmp_path / "c") == 1


def test_retries_of_exceptions_are_counted(ray, tmp_path):
    @ray.remote(retry_exceptions=[ValueError], max_retries=2)
    def work(path):
        raise ValueError(attempts(path))

    with pytest.raises(ValueError) as raised:
        ray.get(work.remote(tmp_path / "count"))
    assert raised.value.cause.args == (3,)


def test_retries_without_a_limit(ray, tmp_path):
    @ray.remote(retry_exceptions=True, max_retries=-1)
    def work(path):
        if attempts(path) < 20:
            raise ValueError
        return ray.get_runtime_context().get_task_attempt()

    assert ray.get(work.remote(tmp_path / "count")) == 19


def test_a_worker_is_recycled_after_max_calls(ray):
    @ray.remote(max_calls=2)
    def pid():
        return os.getpid()

    pids = [ray.get(pid.remote()) for _ in range(6)]
    assert pids[::2] == pids[1::2]
    assert len(set(pids)) == 3
    at_once = ray.get([pid.remote() for _ in range(11)])
    assert max(at_once.count(one) for one in at_once) <= 2


def test_max_calls_costs_no_retries(ray):
    @ray.remote(max_calls=1, max_retries=0)
    def fails(i):
        if i % 2:
            raise KeyError(i)
        return i

    refs = [fails.remote(i) for i in range(8)]
    for i, ref in enumerate(refs):
        if i % 2:
            with pytest.raises(KeyError):
                ray.get(ref)
        else:
            assert ray.get(ref) == i


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"retry_exceptions": [1]}, ValueError, "1 is none"),
        ({"retry_exceptions": "all"}, TypeError, "list of exception classes"),
        ({"max_calls": -1}, ValueError, "0 .no limit. or more"),
        ({"max_calls": 1.5}, TypeError, "a whole number"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "from 1"),
        ({"num_gpus": -1}, ValueError, "0 or more"),
        ({"resources": {"a": -1}}, ValueError, "0 or more"),
        ({"resources": ["a"]}, TypeError, "a dict"),
        ({"name": 1}, TypeError, "must be text"),
        ({"num_returns": -1}, ValueError, "from 0"),
        ({"enable_task_events": 1}, TypeError, "True or False"),
        ({"max_restarts": 1}, ValueError, "not an option of remote functions"),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        manta.remote(**options)(lambda: None)
    with pytest.raises(error, match=words):
        manta.remote(lambda: None).options(**options)


def test_options_without_effect_are_taken(ray):
    silent = ray.remote(enable_task_events=False, _metadata={"a": 1})(lambda: 1)
    assert ray.get(silent.remote()) == 1
    with pytest.raises(exceptions.RayError):
        ray.get(ray.remote(resources={"none": 1})(lambda: 1).remote(), timeout=30)


def test_a_task_knows_what_it_is(ray):
    @ray.remote
    def who():
        context = ray.get_runtime_context()
        return context.get_task_function_name(), context.get_assigned_resources(), context.get()

    name, resources, ids = ray.get(who.remote())
    assert name == f"{__name__}.who"
    assert resources == {"CPU": 1}
    assert ids["job_id"] == ray.get_runtime_context().get_job_id() and "task_id" in ids
    assert ray.get(who.options(num_cpus=0.5, memory=1024).remote())[1] == {"CPU": 0.5, "memory": 1024}
    with pytest.raises(RuntimeError, match="is for tasks"):
        ray.get_runtime_context().get_assigned_resources()
    assert ray.get_runtime_context().get_task_function_name() is None


def test_what_cannot_be_sent_is_found(capsys):
    lock = threading.Lock()

    def captures():
        return lock

    fits, failures = manta.util.inspect_serializability(captures, name="f")
    assert not fits
    (failure,) = failures
    assert failure.obj is lock and failure.name == "lock" and failure.parent is captures
    assert "'f' cannot be sent to other processes: 'lock', a lock" in capsys.readouterr().out
    assert manta.util.inspect_serializability([1, 2]) == (True, set())
    fits, failures = manta.util.inspect_serializability({"a": [lock]})
    assert not fits and {failure.name for failure in failures} == {"['a'][0]"}
