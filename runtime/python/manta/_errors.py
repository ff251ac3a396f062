"""How a task's exception travels: packed in the worker, unpacked where `get` raises it."""

from __future__ import annotations

import os
import pickle
import traceback
from types import TracebackType
from typing import Any

from manta import _manta, exceptions

PACKAGE_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
TRACEBACK_CHARS_MAX = 256 * 1024


def pack(error: BaseException, function_name: str, node_name: str) -> bytes:
    """The bytes that `unpack` turns into an exception in another process."""
    text = remote_traceback(error)
    place = (os.getpid(), node_name)
    return _dumps((function_name, text, _portable(error), *place))


def pack_for(task: _manta.Task, error: BaseException, node_name: str) -> bytes:
    """The bytes for the task's owner, which may be of another language: then its text alone."""
    if not task.cross_language:
        return pack(error, task.name, node_name)
    described = {
        "task": task.name,
        "kind": "Exception",
        "message": in_one_line(error),
        "location": None,
        "backtrace": remote_traceback(error),
    }
    return _manta.msgpack_dumps(described)


def pack_as_is(error: exceptions.RayError) -> bytes:
    """The bytes that `unpack` turns into this very exception."""
    return _dumps(error)


def end_cancelled(task: _manta.Task, interruption: BaseException, node_name: str) -> None:
    """Ends a task that was cancelled while it ran. As in Ray, it fails with `TaskCancelledError` as any task with its exception."""
    if task.cross_language:
        return task.end_cancelled()
    error = exceptions.TaskCancelledError(f"the task '{task.name}' was cancelled while it ran")
    error = error.with_traceback(interruption.__traceback__)
    task.fail(pack(error, task.name, node_name), in_one_line(error), True)


class FailedInPart(Exception):
    """A generator with a number of values failed when some of them were there."""

    def __init__(self, values: tuple[Any, ...], cause: BaseException) -> None:
        super().__init__(values, cause)
        self.values = values
        self.cause = cause


def end_failed(
    task: _manta.Task,
    error: BaseException,
    node_name: str,
    retried: tuple[type[BaseException], ...] | None,
) -> None:
    """Ends a task that failed. `retried` are the exceptions for which it is to be tried again; None for all of them, if any."""
    if isinstance(error, FailedInPart):
        values, error = error.values, error.cause
        if not task.cross_language and not (retried and isinstance(error, retried)):
            return task.succeed_in_part(values, pack(error, task.name, node_name))
    is_final = retried is not None and not isinstance(error, retried)
    task.fail(pack_for(task, error, node_name), in_one_line(error), is_final)


def in_one_line(error: BaseException) -> str:
    """What lists of tasks show of a failure."""
    try:
        lines = str(error).splitlines()
    except Exception:  # Its own `__str__`, which may raise anything: the failure itself is what counts.
        lines = ["its text cannot be made"]
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def unpack(data: Any) -> BaseException:
    """The exception to raise for a failed task."""
    try:
        loaded = pickle.loads(data)
        if isinstance(loaded, exceptions.RayError):
            return loaded
        function_name, text, cause, pid, node_name = loaded
    except Exception as error:
        return exceptions.RaySystemError(
            "a task failed, and its exception cannot be read in this process "
            f"({type(error).__name__}: {error}); its class must be importable here too"
        )
    return exceptions.RayTaskError(function_name, text, cause, pid, node_name).as_instanceof_cause()


_SYSTEM_ERRORS: dict[str, type[exceptions.RayError]] = {
    "worker_died": exceptions.WorkerCrashedError,
    "node_died": exceptions.NodeDiedError,
    "unschedulable": exceptions.TaskUnschedulableError,
    "object_lost": exceptions.ObjectLostError,
    "forgotten": exceptions.ReferenceCountingAssertionError,
    "owner_died": exceptions.OwnerDiedError,
    "reconstruction_failed": exceptions.ObjectReconstructionFailedError,
    "reconstruction_attempts": exceptions.ObjectReconstructionFailedMaxAttemptsExceededError,
    "reconstruction_evicted": exceptions.ObjectReconstructionFailedLineageEvictedError,
    "store_full": exceptions.ObjectStoreFullError,
    "disk_full": exceptions.OutOfDiskError,
    "cancelled": exceptions.TaskCancelledError,
    "actor_died": exceptions.ActorDiedError,
    "actor_unavailable": exceptions.ActorUnavailableError,
    "actor_unschedulable": exceptions.ActorUnschedulableError,
    "group_removed": exceptions.TaskPlacementGroupRemoved,
    "actor_group_removed": exceptions.ActorPlacementGroupRemoved,
    "environment_failed": exceptions.RuntimeEnvSetupError,
    "out_of_memory": exceptions.OutOfMemoryError,
    "internal": exceptions.RaySystemError,
}


def system_error(kind: str, sentence: str, actor_id: str | None = None) -> exceptions.RayError:
    """The exception for a failure that is the cluster's and not the task's."""
    error = _SYSTEM_ERRORS[kind](sentence)
    if isinstance(error, exceptions.RayActorError):
        error._actor_id = actor_id
    return error


def rust_error(data: bytes) -> exceptions.RayError:
    """The exception for a failed Rust task."""
    try:
        failure = _manta.msgpack_loads(data)
        task, kind, message = failure["task"], failure["kind"], failure["message"]
        location, backtrace = failure["location"], failure["backtrace"]
    except Exception as error:
        return exceptions.RaySystemError(
            f"a Rust task failed, and what it says cannot be read in this process ({type(error).__name__}: {error})"
        )
    inside = f"\n\nIn the worker:\n{backtrace}" if backtrace else ""
    if kind == "Panic":
        return exceptions.CrossLanguageError(
            f"the Rust task '{task}' panicked at {location or 'an unknown place'}: {message}{inside}"
        )
    if kind == "Exception":
        return exceptions.CrossLanguageError(
            f"the Python task '{task}', which Rust called, failed: {message}{inside}"
        )
    how = "could not be called" if kind == "Call" else "failed"
    return exceptions.CrossLanguageError(f"the Rust task '{task}' {how}: {message}")


def remote_traceback(error: BaseException) -> str:
    """The traceback without the worker's own frames."""
    formatted = traceback.TracebackException(type(error), error, _user_frames(error.__traceback__))
    text = "".join(formatted.format())
    if len(text) > TRACEBACK_CHARS_MAX:
        left_out = len(text) - TRACEBACK_CHARS_MAX
        text = f"[the first {left_out} characters of this traceback were cut]\n{text[-TRACEBACK_CHARS_MAX:]}"
    return text


def _user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Skips the frames from the worker's loop down to the task's function; all of them when there is nothing below."""
    user = trace
    while user is not None and user.tb_frame.f_code.co_filename.startswith(PACKAGE_DIR):
        user = user.tb_next
    return user or trace


def _dumps(value: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def _portable(error: BaseException) -> object:
    """What to pickle in the exception's place: itself, its parts where its class cannot be called again, or an equivalent."""
    reason = ""
    for candidate in (error, _Parts(error)):
        try:
            restored = pickle.loads(_dumps(candidate))
        except Exception as failure:
            reason = reason or f"{type(failure).__name__}: {failure}"
            continue
        if type(restored).__qualname__ == type(error).__qualname__:
            return candidate
    return _equivalent(error, reason)


class _Parts:
    """Pickles as the exception that it holds, without a call of the exception's own constructor."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_parts, (type(self._error), self._error.args, self._error.__dict__)


def _from_parts(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _equivalent(error: BaseException, reason: str) -> BaseException:
    """The nearest built-in exception with the same text, which says what became of the original."""
    try:
        text = str(error)
    except Exception as failure:
        text = f"<str() of it failed: {failure}>"
    kind = type(error)
    sentence = f"{kind.__module__}.{kind.__qualname__}: {text} (this exception cannot be sent between processes: {reason})"
    for base in kind.__mro__:
        if base.__module__ == "builtins" and issubclass(base, Exception):
            try:
                return base(sentence)
            except TypeError:
                continue  # UnicodeDecodeError and its kind need more than a text.
    return RuntimeError(sentence)
