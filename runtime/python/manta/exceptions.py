"""The exceptions that `get` and its relatives raise, under the names that programs written for Ray expect.

A failed task's exception arrives as its own type *and* as `RayTaskError`: `except ValueError` and
`except manta.exceptions.RayTaskError` both catch it.
"""

from __future__ import annotations

import functools
import types
from typing import Any

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectReconstructionFailedLineageEvictedError",
    "ObjectReconstructionFailedMaxAttemptsExceededError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]


class RayError(Exception):
    """The base of every exception that Manta itself defines."""


class CrossLanguageError(RayError):
    """A task written in another language failed."""


class TaskCancelledError(RayError):
    """The task was cancelled before it had a result."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        # A text alone is its message.
        text = task_id if isinstance(task_id, str) and error_message is None else error_message
        super().__init__(text or "This task or its dependency was cancelled")
        self.task_id = None if isinstance(task_id, str) else task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_id, str(self))


class GetTimeoutError(RayError, TimeoutError):
    """The objects were not there when the time given to `get` was over."""


class WorkerCrashedError(RayError):
    """The worker process ended while it ran the task, and no retry was left."""


class NodeDiedError(RayError):
    """The node that ran the task is gone, and no retry was left."""


class ObjectLostError(RayError):
    """The object's value is gone: the node that stored it, or its owner, has ended."""


class OwnerDiedError(ObjectLostError):
    """The process that owns the object has ended, and its objects with it."""


class ObjectFreedError(ObjectLostError):
    """The object was deleted by hand, which nobody can do here; for programs that name it."""


class ObjectFetchTimedOutError(ObjectLostError):
    """The object could not be fetched from its node in time; for programs that name it."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was let go while a ref of it was left; for programs that name it."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object's value is gone, and its task cannot run again to make it anew."""


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """The object's value is gone, and its task has run as often as it may."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """The object's value is gone, and its task was forgotten to save memory."""


class ObjectStoreFullError(RayError):
    """The object is larger than a node's whole object store."""


class OutOfDiskError(RayError):
    """The object store is full, and the disk has no room for what is spilled."""


class RayActorError(RayError):
    """A call of an actor has no result, because of what happened to the actor."""

    _actor_id: str | None = None
    _actor_init_failed = False

    @property
    def actor_id(self) -> str | None:
        """The actor, where it is known, in hexadecimal digits."""
        return self._actor_id

    @property
    def error_msg(self) -> str:
        """What happened, and why."""
        return str(self)

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor died because its constructor failed."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """Whether the actor's node was taken away, which nobody does here."""
        return False


class ActorDiedError(RayActorError):
    """The actor is dead, and stays so."""


class ActorUnavailableError(RayActorError):
    """The actor's worker ended under the call; the actor may be back in a moment. Nobody knows whether the call had its effect."""


class ActorAlreadyExistsError(ValueError, RayError):
    """Another actor of the namespace has the name."""


class ActorHandleNotFoundError(ValueError, RayError):
    """A handle of an actor of an earlier connection was used."""


class ActorPlacementGroupRemoved(RayError):
    """The placement group that the actor was to run in was removed."""


class TaskPlacementGroupRemoved(RayError):
    """The placement group that the task was to run in was removed."""


class LocalRayletDiedError(RayError):
    """The node of this program is gone; for programs that name it."""


class AuthenticationError(RayError):
    """The cluster's token is wrong; for programs that name it."""


class UserCodeException(RayError):
    """Code of the user failed where no task runs; for programs that name it."""


class UnserializableException(RayError):
    """A task raised what cannot be read in another process; for programs that name it."""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the store yet; for programs that name it."""


class OufOfBandObjectRefSerializationException(RayError):
    """A ref was pickled by hand where that is forbidden, which it never is here; for programs that name it."""


class ObjectRefStreamEndOfStreamError(RayError):
    """A generator has no further value; for programs that name it: here the iteration ends."""


class StreamingGeneratorReplayInconsistentError(RayError):
    """A generator gave other values when it ran again; for programs that name it."""


class RpcError(RayError):
    """A message between processes was lost; for programs that name it."""

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.rpc_code = rpc_code


class ActorUnschedulableError(RayError):
    """No node of the cluster can ever host the actor."""


class AsyncioActorExit(RayError):
    """What Ray raises inside an async actor that ends itself; here for programs that name it."""


class PendingCallsLimitExceeded(RayError):
    """More calls of the actor wait than its `max_pending_calls` allows."""


class OutOfMemoryError(RayError):
    """The task's worker was killed because its machine ran out of memory."""


class TaskUnschedulableError(RayError):
    """No node of the cluster can ever run the task."""


class RuntimeEnvSetupError(RayError):
    """The environment that a task asked for could not be made."""


class RaySystemError(RayError):
    """Something in the cluster failed, and not the user's code."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed. There are none here; for programs that name it."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph had nothing in time; for programs that name it."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has too many runs under way; for programs that name it."""


class RayDirectTransportError(RaySystemError):
    """Tensors could not be sent past the object store; for programs that name it."""


class RayTaskError(RayError):
    """A task raised an exception. `cause` is that exception; `str()` shows the traceback of the worker."""

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        pid: int | None = None,
        node_name: str | None = None,
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        # As in Ray, that which started it; the traceback has the whole way.
        self.cause = _original(cause)
        self.pid = pid
        self.node_name = node_name
        self.args = (self.cause,)

    def as_instanceof_cause(self) -> RayTaskError:
        """The same error as an instance of its cause's class too, where that class can be inherited from."""
        cause = self.original_cause()
        if isinstance(self, type(cause)) or isinstance(cause, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            return self
        dual = _dual_class(type(cause))  # type: ignore[arg-type]  # Classes can be hashed.
        if dual is None:
            return self
        try:
            return dual(self.function_name, self.traceback_str, self.cause, self.pid, self.node_name)
        except Exception:  # A class that cannot be made this way: the plain error says the same.
            return self

    def original_cause(self) -> BaseException:
        """The exception that started it, when tasks waited for tasks that failed."""
        cause = self.cause
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        return cause

    def __str__(self) -> str:
        where = [f"pid={self.pid}"] if self.pid is not None else []
        if self.node_name:
            where.append(self.node_name)
        place = f" ({', '.join(where)})" if where else ""
        return f"task {self.function_name}{place} failed:\n{self.traceback_str.rstrip()}"

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.function_name, self.traceback_str, self.cause, self.pid, self.node_name)
        return _rebuild, (arguments, type(self) is not RayTaskError)


def _rebuild(arguments: tuple[Any, ...], dual: bool) -> RayTaskError:
    error = RayTaskError(*arguments)
    return error.as_instanceof_cause() if dual else error


@functools.lru_cache(maxsize=256)
def _dual_class(cause_class: type[BaseException]) -> type[RayTaskError] | None:
    """A class that is a `RayTaskError` and a `cause_class`, or None where Python does not allow one."""
    # What the interpreter needs to allocate the instance is the constructor of the nearest built-in base.
    builtin = next(base for base in cause_class.__mro__ if base.__module__ == "builtins")

    def __new__(cls: type, function_name: str, traceback_str: str, cause: Any, *place: Any) -> Any:
        return builtin.__new__(cls, *_original(cause).args)

    def __init__(self: Any, function_name: str, traceback_str: str, cause: Any, *place: Any) -> None:
        RayTaskError.__init__(self, function_name, traceback_str, cause, *place)
        _copy_members(_original(cause), self)

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith("__") or "cause" not in self.__dict__:
            raise AttributeError(name)
        return getattr(_original(self.__dict__["cause"]), name)

    body = {
        "__new__": __new__,
        "__init__": __init__,
        "__getattr__": __getattr__,
        "__str__": RayTaskError.__str__,
        "__reduce__": RayTaskError.__reduce__,
        "__module__": RayTaskError.__module__,
        "__doc__": f"A task raised {cause_class.__qualname__}.",
    }
    name = f"RayTaskError({cause_class.__name__})"
    try:
        return types.new_class(name, (RayTaskError, cause_class), exec_body=lambda space: space.update(body))
    except Exception:  # A final class, a metaclass conflict, an `__init_subclass__` that refuses.
        return None


def _original(cause: BaseException) -> BaseException:
    return cause.original_cause() if isinstance(cause, RayTaskError) else cause


def _copy_members(source: BaseException, target: BaseException) -> None:
    """Copies what built-in exceptions keep outside `__dict__`, such as `OSError.errno` and `KeyError.args`' relatives."""
    for klass in type(source).__mro__:
        if klass in (BaseException, Exception, object) or klass.__module__ != "builtins":
            continue
        for name, member in vars(klass).items():
            if isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                try:
                    setattr(target, name, getattr(source, name))
                except (AttributeError, TypeError, ValueError):
                    continue  # Read-only, or never set.
