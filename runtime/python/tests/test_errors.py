"""Failures: exceptions of tasks, workers that die, values that cannot travel."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import threading

import pytest

from manta import exceptions


class Rejected(ValueError):
    """A user's exception whose constructor takes something else than what it keeps as `args`."""

    def __init__(self, code, reason):
        super().__init__(f"{reason} ({code})")
        self.code = code


class Unsendable(KeyError):
    def __init__(self):
        super().__init__("key")
        self.lock = threading.Lock()


def test_an_exception_arrives_as_its_own_type_and_as_a_task_error(ray):
    @ray.remote
    def fails():
        raise ValueError("boom")

    with pytest.raises(ValueError) as raised:
        ray.get(fails.remote())
    error = raised.value
    assert isinstance(error, exceptions.RayTaskError) and isinstance(error, exceptions.RayError)
    assert type(error.cause) is ValueError and error.cause.args == ("boom",)
    text = str(error)
    assert "ValueError: boom" in text and 'raise ValueError("boom")' in text and "in fails" in text
    assert "_worker.py" not in text, "the worker's own frames are of no use to anybody"
    assert f"pid={error.pid}" in text and error.pid != os.getpid()


def test_a_users_exception_keeps_its_attributes(ray):
    @ray.remote
    def fails():
        raise Rejected(404, "not here")

    with pytest.raises(Rejected, match="not here") as raised:
        ray.get(fails.remote())
    assert raised.value.code == 404


def test_built_in_attributes_arrive(ray):
    with pytest.raises(FileNotFoundError) as raised:
        ray.get(ray.remote(lambda: open("/no/such/file")).remote())
    assert raised.value.errno == 2 and raised.value.filename == "/no/such/file"


def test_an_exception_that_cannot_be_pickled_is_replaced_by_its_built_in_kind(ray):
    @ray.remote
    def fails():
        raise Unsendable()

    with pytest.raises(KeyError) as raised:
        ray.get(fails.remote())
    assert "Unsendable" in str(raised.value.cause) and "cannot be sent between processes" in str(
        raised.value.cause
    )


def test_a_failure_passes_through_the_tasks_that_wait_for_it(ray):
    inner = ray.remote(lambda: {}["missing"])

    @ray.remote
    def outer():
        return ray.get(inner.remote())

    @ray.remote
    def takes(value):
        return value

    for ref in (outer.remote(), takes.remote(inner.remote())):
        with pytest.raises(KeyError, match="missing") as raised:
            ray.get(ref)
        assert isinstance(raised.value, exceptions.RayTaskError)


def test_chained_exceptions_show_both(ray):
    @ray.remote
    def fails():
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("wrapped") from error

    with pytest.raises(RuntimeError, match="(?s)invalid literal.*direct cause.*wrapped"):
        ray.get(fails.remote())


def test_get_raises_the_first_failure_of_a_list(ray):
    fine = ray.put(1)
    with pytest.raises(ZeroDivisionError):
        ray.get([fine, ray.remote(lambda: 1 / 0).remote(), fine])


def test_exceptions_are_retried_when_asked(ray, tmp_path):
    @ray.remote(retry_exceptions=True, max_retries=5)
    def third_time(path):
        with open(path, "a") as file:
            file.write("x")
        if len(pathlib.Path(path).read_text()) < 3:
            raise OSError("not yet")
        return "done"

    assert ray.get(third_time.remote(str(tmp_path / "tries"))) == "done"
    once = tmp_path / "once"
    with pytest.raises(OSError, match="not yet"):
        ray.get(third_time.options(retry_exceptions=False).remote(str(once)))
    assert once.read_text() == "x"


def test_a_killed_worker_says_how_it_ended(ray):
    @ray.remote(max_retries=0)
    def dies():
        print("the last words", file=sys.__stderr__, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(exceptions.WorkerCrashedError) as raised:
        ray.get(dies.remote(), timeout=60)
    text = str(raised.value)
    assert "killed by signal 9 (SIGKILL)" in text, text
    assert "node-1" in text and "the last words" in text, text


def test_a_worker_that_exits_says_its_code(ray):
    with pytest.raises(exceptions.WorkerCrashedError, match="code 7"):
        ray.get(ray.remote(max_retries=0)(lambda: os._exit(7)).remote(), timeout=60)


def test_a_killed_task_is_tried_again(ray, tmp_path):
    @ray.remote(max_retries=2)
    def dies_twice(path):
        with open(path, "a") as file:
            file.write("x")
        tries = len(pathlib.Path(path).read_text())
        if tries < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return tries

    assert ray.get(dies_twice.remote(str(tmp_path / "tries")), timeout=60) == 3


def test_other_tasks_survive_a_killed_worker(ray):
    @ray.remote
    def same(x):
        return x

    @ray.remote(max_retries=0)
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    before = [same.remote(i) for i in range(100)]
    lost = dies.remote()
    after = [same.remote(i) for i in range(100)]
    assert ray.get(before + after, timeout=60) == [*range(100), *range(100)]
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(lost, timeout=60)


def test_a_function_that_cannot_be_pickled_names_the_variable(ray):
    lock = threading.Lock()

    @ray.remote
    def uses_lock():
        with lock:
            return 1

    with pytest.raises(
        TypeError,
        match=r"'.*uses_lock' cannot be sent to a worker: its captured variable 'lock' is a _thread\.lock",
    ):
        uses_lock.remote()

    holder = {"deep": [lock]}

    @ray.remote
    def uses_holder():
        return holder

    with pytest.raises(TypeError, match=r"'holder\['deep'\]\[0\]'"):
        uses_holder.remote()


def test_an_argument_that_cannot_be_pickled_is_named(ray):
    @ray.remote
    def takes(a, b=None):
        return a

    with pytest.raises(TypeError, match="argument 1 of the task .*lock"):
        takes.remote(threading.Lock())
    with pytest.raises(TypeError, match=r"the argument 'b' of the task .*at \['x'\]"):
        takes.remote(1, b={"x": threading.Lock()})
    with pytest.raises(TypeError, match=r"put\(\)"):
        ray.put(threading.Lock())


def test_a_result_that_cannot_be_pickled_fails_the_task(ray):
    with pytest.raises(TypeError, match="returned"):
        ray.get(ray.remote(lambda: threading.Lock()).remote())


def test_a_module_that_a_worker_lacks_is_named(ray):
    @ray.remote
    def imports():
        import no_such_module_anywhere

        return no_such_module_anywhere

    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere") as raised:
        ray.get(imports.remote())
    assert raised.value.name == "no_such_module_anywhere"


def test_the_traceback_of_a_function_of_the_program_itself_names_its_file_and_line(run_script, tmp_path):
    ended = run_script(
        """
        import manta as ray

        @ray.remote
        class Actor:
            def fails(self):
                return [][1]

        @ray.remote
        def fails():
            return {}["missing"]

        for ref in (Actor.remote().fails.remote(), fails.remote()):
            try:
                ray.get(ref)
            except Exception as error:
                print(error)
        """
    )
    for line in (7, 11):
        assert f'File "{tmp_path}/program.py", line {line}, in fails' in ended.stdout, (
            ended.stdout + ended.stderr
        )
