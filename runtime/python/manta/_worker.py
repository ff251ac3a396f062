"""A worker process: its node starts it as `python -m manta._worker`, and it runs one task at a time on its main thread."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import types
from collections.abc import Iterable
from typing import Any, NoReturn

from manta import (
    _actor_host,
    _debug_target,
    _errors,
    _function,
    _manta,
    _output,
    _runtime_env,
    _session,
    exceptions,
)

STDERR = 2
# Functions that this worker keeps loaded; a job with more loads some of them again.
FUNCTIONS_MAX = 10_000


def _unloaded(*_args: object) -> None:
    """Stands for a function whose code could not be loaded."""


_NOT_LOADED = _function.Described(_unloaded)


class Worker:
    """What a worker keeps between tasks."""

    def __init__(self, streams: tuple[_output.TaskStream, ...]) -> None:
        self._streams = streams
        self._functions: dict[bytes, _function.Described] = {}
        # How often each function with a limit has run.
        self._calls: dict[bytes, int] = {}
        # The task's own code runs: what cancels it may raise there.
        self._may_interrupt = False
        self._in_job = False
        # Why no task can run here: what its environment wants run first has failed.
        self._unusable: exceptions.RuntimeEnvSetupError | None = None
        self._node_name = str(_manta.context()["node_name"])

    def run(self) -> None:
        """Runs tasks until the node has no more use for this worker."""
        while (task := _manta.next_task()) is not None:
            if not self._in_job:
                self._enter_job()
            _debug_target.on_task_start()
            self._run_task(task)
            if (actor := _actor_host.hosted()) is not None:
                del task
                return actor.serve()
            # An idle worker must not keep the last task's arguments in memory.
            del task

    def _run_task(self, task: _manta.Task) -> None:
        described = _NOT_LOADED
        try:
            if self._unusable is not None:
                raise self._unusable
            described = self._functions.get(task.function_id) or self._load(task)
            args, kwargs = task.arguments()
            if task.creates is not None:
                return self._create_actor(task, described.function, args, kwargs)
            _function.running, _function.captured = described, described.captured
            _function.limit_threads(described.threads)
            self._may_interrupt = True
            if task.is_interrupted():
                raise KeyboardInterrupt
            result = described.function(*args, **kwargs)
            if task.streaming:
                result = _actor_host.send_values(task, result, self._node_name)
            values = _values(task, result)
            self._may_interrupt = False
            self._end_output()
            self._count_call(task, described)
            task.succeed(values)
        except BaseException as error:
            self._may_interrupt = False
            self._end_output()
            if isinstance(error, SystemExit):
                self._exit(error)
            self._count_call(task, described)
            if isinstance(error, KeyboardInterrupt):
                return _errors.end_cancelled(task, error, self._node_name)
            _errors.end_failed(task, error, self._node_name, described.retry_exceptions)

    def _exit(self, error: SystemExit) -> NoReturn:
        """Ends this process as the task wants it, which the node tells the task's owner."""
        code = error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
        for stream in self._streams:
            stream.flush()
        os._exit(0 if code is None else code if isinstance(code, int) else 1)

    def on_interrupt(self, _signal: int, _frame: object) -> None:
        """Raises where the task is, when it is the one that was cancelled. Anybody may send the signal."""
        if (actor := _actor_host.hosted()) is not None:
            return actor.on_interrupt()
        if self._may_interrupt and _manta.is_interrupted():
            raise KeyboardInterrupt("the task was cancelled")

    def _count_call(self, task: _manta.Task, described: _function.Described) -> None:
        if described.max_calls > 0:
            calls = self._calls[task.function_id] = self._calls.get(task.function_id, 0) + 1
            if calls >= described.max_calls:
                task.retire()

    def _create_actor(
        self, task: _manta.Task, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        host = _actor_host.Host(task, self._end_output, self._node_name, _values)
        try:
            host.create(cls, args, kwargs)
        except BaseException as error:
            self._end_output()
            _actor_host.fail_creation(task, error, cls.__name__, self._node_name)
        else:
            self._end_output()
            task.succeed(())

    def _load(self, task: _manta.Task) -> _function.Described:
        if (path := task.function_name) is not None:
            return _function.named(path)
        name, code = _manta.function_code(task.function_id)
        try:
            function = pickle.loads(code)
        except Exception as error:
            error.add_note(
                f"The function '{name}' could not be loaded in the worker (Python {_session.LANGUAGE_VERSION}, {sys.executable}). "
                "What it imports must be installed there too."
            )
            raise
        if len(self._functions) >= FUNCTIONS_MAX:
            self._functions.clear()
        described = function if isinstance(function, _function.Described) else _function.Described(function)
        self._functions[task.function_id] = described
        return described

    def _enter_job(self) -> None:
        """Takes over the driver's search path and working directory, so that imports and relative paths mean the same."""
        job = _manta.job()
        if job is None:
            raise RuntimeError(
                "a task came before the job that it belongs to; this worker's node did not send it"
            )
        sys.path[:] = [*job["sys_path"], *(folder for folder in sys.path if folder not in job["sys_path"])]
        if os.path.isdir(job["working_dir"]):
            os.chdir(job["working_dir"])
        self._in_job = True
        if _session.LOGGING_VARIABLE in os.environ:
            # Few jobs have a configuration, and the others start sooner without it.
            from manta import _logging

            _logging.apply_of_job()
        try:
            _runtime_env.run_hook(job["runtime_env"])
        except Exception as error:
            self._unusable = exceptions.RuntimeEnvSetupError(
                "Failed to execute the setup hook method: the worker_process_setup_hook of the runtime_env raised "
                f"{_errors.in_one_line(error)}\n{_errors.remote_traceback(error)}"
            )

    def _end_output(self) -> None:
        for stream in self._streams:
            stream.end_line()


def _values(task: _manta.Task, result: Any) -> tuple[Any, ...]:
    """What the function returned, as a tuple of `num_returns` values."""
    expected = task.num_returns
    if isinstance(result, types.GeneratorType) and expected > 0:
        return _yielded(task.name, expected, result)
    if expected == 1:
        return (result,)
    if expected == 0:
        return ()
    if not isinstance(result, Iterable):
        raise TypeError(
            f"the task '{task.name}' has num_returns={expected}, but returned one {type(result).__name__}, which has no values"
        )
    values = tuple(result)
    if len(values) != expected:
        raise ValueError(
            f"the task '{task.name}' has num_returns={expected}, but returned {len(values)} values"
        )
    return values


def _yielded(name: str, expected: int, generator: types.GeneratorType[Any, Any, Any]) -> tuple[Any, ...]:
    """The first values of a generator. It runs on to its end, and what it yields or raises then is said and otherwise let go, as in Ray."""
    values: list[Any] = []
    try:
        for value in generator:
            if len(values) < expected:
                values.append(value)
            else:
                print(
                    f"the task '{name}' has num_returns={expected}, and yielded more; they are dropped",
                    file=sys.stderr,
                )
                break
    except Exception as error:
        if len(values) < expected:
            raise _errors.FailedInPart(tuple(values), error) from error
        print(f"the task '{name}' failed when all its values were there: {error!r}", file=sys.stderr)
    if len(values) < expected:
        short = ValueError(f"the task '{name}' has num_returns={expected}, but yielded {len(values)} values")
        raise _errors.FailedInPart(tuple(values), short)
    return tuple(values)


def main() -> None:
    """Runs this process as a worker until its node ends it."""
    # Ctrl+C in a terminal goes to the driver, which decides; a worker must not die of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(file=STDERR)
    _function.own_threads()
    _manta.connect_worker(_session.LANGUAGE_VERSION)
    streams = _output.catch()
    _debug_target.install()
    worker = Worker(streams)
    # Tasks that are cancelled while they run are told by this signal.
    signal.signal(signal.SIGINT, worker.on_interrupt)
    worker.run()
    for stream in streams:
        stream.flush()
    # Nothing of the job outlives it: threads that tasks left behind would hold up an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
