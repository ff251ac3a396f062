"""The worker's side of an actor: its instance, and the threads or the event loop that run its calls."""

from __future__ import annotations

import atexit
import collections
import contextvars
import functools
import gc
import inspect
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from manta import (
    _actor_class,
    _actor_options,
    _debug_target,
    _errors,
    _function,
    _generator,
    _manta,
    exceptions,
)

if TYPE_CHECKING:
    import asyncio

# The call that a coroutine runs; threads have their own record.
running: contextvars.ContextVar[_manta.Task | None] = contextvars.ContextVar("manta_running", default=None)

# The argument under which a call's owner says for which exceptions it is retried.
RETRIED = "__manta_retried__"
Retried = tuple[type[BaseException], ...] | None
# Calls whose cancellation came before them, or after their end.
NOT_FOUND_MAX = 10_000
SHOWN_NAME_CHARS_MAX = 200

_EXITED = "it ended itself with exit_actor()"
_hosted: Host | None = None


class ActorExit(SystemExit):
    """Raised through an actor's method by `exit_actor`."""


def hosted() -> Host | None:
    """The actor that this worker hosts."""
    return _hosted


def shown_name() -> str | None:
    """What the hosted actor wants to be called before the lines that it prints; None for its methods' names."""
    return _hosted.shown_name if _hosted is not None else None


def exit_actor() -> NoReturn:
    """Ends the hosted actor."""
    if _hosted is None:
        raise TypeError("exit_actor() is for the methods of actors, and this worker hosts none")
    raise ActorExit


def running_call() -> _manta.Task | None:
    """The call that asks."""
    return task_of_thread(threading.get_ident())


def task_of_thread(ident: int) -> _manta.Task | None:
    """The call that a thread runs, when it is one of an actor that runs several at once."""
    if ident == threading.get_ident() and (task := running.get()) is not None:
        return task
    return _hosted.threads.get(ident) if _hosted is not None else None


class Host:
    """An actor and what runs its calls."""

    def __init__(
        self,
        creation: _manta.Task,
        end_output: Callable[[], None],
        node_name: str,
        values: Callable[..., Any],
    ) -> None:
        created = creation.creates
        assert created is not None, "only a creation task makes an actor"
        self.wire, self._limits = created
        self.attempt = creation.identity[1]
        self._is_foreign = creation.cross_language
        self.name: str | None = None
        self.description: Any = None
        # Where the actor's class was defined.
        self.module = ""
        self.shown_name: str | None = None
        # What runs on threads other than the main one.
        self.threads: dict[int, _manta.Task] = {}
        self._idle = [0] * len(self._limits)
        self._started = [0] * len(self._limits)
        self._lock = threading.Lock()
        self._end_output = end_output
        self._node_name = node_name
        self._values = values
        self._instance: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # What the event loop runs, by the ids of the calls, and the calls that were cancelled when it did not run them.
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._not_found: collections.deque[bytes] = collections.deque(maxlen=NOT_FOUND_MAX)

    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Makes the instance. In an async actor its constructor runs on the event loop, which runs the calls later."""
        global _hosted
        if self._is_foreign:
            # Its maker knows nothing of Python's classes.
            args = (None, _actor_class.describe(cls, _actor_options.ActorOptions()), *args)
        self.module = cls.__module__
        self.name, self.description, *args = args  # type: ignore[assignment]  # A list is as good from here on.
        _hosted, _function.captured = self, self.description.captured
        try:
            if self.description.is_async:
                import asyncio  # No other worker needs it, and it is most of what would be read at a start.

                self._loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self._loop)
                _manta.keep_interrupted_calls()
                self._instance = self._loop.run_until_complete(_call(functools.partial(cls, *args, **kwargs)))
            else:
                self._instance = cls(*args, **kwargs)
            self._end_output()
            self.shown_name = _own_name(self._instance)
        except BaseException:
            _hosted = None
            raise

    def serve(self) -> None:
        """Runs calls until the worker's time is over."""
        if self._loop is not None:
            self._serve_loop(self._loop)
        else:
            for group in range(1, len(self._limits)):
                self._start_thread(group)
            self._serve_thread(0, is_main=True)
        # Nobody can call it any more, or its node leaves.
        self._wind_up()

    def _serve_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        for group in range(len(self._limits)):
            name = f"manta-calls-{group}"
            threading.Thread(target=self._receive, args=(loop, group), name=name, daemon=True).start()
        loop.run_forever()

    def _receive(self, loop: asyncio.AbstractEventLoop, group: int) -> None:
        while (calls := _manta.next_calls(group, False)) is not None:
            loop.call_soon_threadsafe(self._start_calls, loop, calls)
        loop.call_soon_threadsafe(loop.stop)

    def _start_calls(self, loop: asyncio.AbstractEventLoop, calls: list[_manta.Task]) -> None:
        for call in calls:
            task = loop.create_task(self._run_async(call))
            self._tasks[call.id] = task
            task.add_done_callback(functools.partial(self._on_call_done, call))
            if call.id in self._not_found:
                task.cancel()

    def _on_call_done(self, call: _manta.Task, task: asyncio.Task[None]) -> None:
        self._tasks.pop(call.id, None)
        if task.cancelled():
            # Before its first step.
            call.end_cancelled()

    def on_interrupt(self) -> None:
        """Some calls were cancelled. Runs in a signal handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_calls)

    def _cancel_calls(self) -> None:
        for id in _manta.take_interrupted_calls():
            if (task := self._tasks.get(id)) is not None:
                task.cancel()
            else:
                self._not_found.append(id)

    async def _run_async(self, call: _manta.Task) -> None:
        running.set(call)
        _debug_target.on_task_start()
        retried: Retried = None
        try:
            args, kwargs = call.arguments()
            retried, owner = kwargs.pop(RETRIED, None), kwargs.pop(_generator.OWNER, None)
            result = self._method(call.method)(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            if call.streaming:
                result = await self._send_values(call, _generator.Values(result, owner) if owner else result)
            self._end_output()
            call.succeed(self._values(call, result))
        except BaseException as error:
            import asyncio

            if isinstance(error, asyncio.CancelledError):
                self._end_output()
                return _errors.end_cancelled(call, error, self._node_name)
            self._failed(call, error, retried)

    async def _send_values(self, call: _manta.Task, result: Any) -> Any:
        kept = result if isinstance(result, _generator.Values) else None
        values = kept.values if kept else result
        if not hasattr(values, "__aiter__"):
            return send_values(call, result, self._node_name)
        import asyncio

        loop, index = asyncio.get_running_loop(), 0
        try:
            async for value in values:
                call.yield_value(index, value)
                index += 1
                if call.has_backpressure:
                    await loop.run_in_executor(None, call.wait_for_room)
        except Exception as error:
            if kept is None:
                raise
            call.yield_error(index, _errors.pack(error, call.name, self._node_name))
            index += 1
        return kept.refs(call, index) if kept else None

    def _start_thread(self, group: int) -> None:
        self._started[group] += 1
        name = f"manta-calls-{group}-{self._started[group]}"
        threading.Thread(target=self._serve_thread, args=(group, False), name=name, daemon=True).start()

    def _serve_thread(self, group: int, is_main: bool) -> None:
        alone = self._limits == [1]
        ident = threading.get_ident()
        if is_main:
            self._started[group] += 1
        while True:
            self._idle[group] += 1
            calls = _manta.next_calls(group, True)
            if calls is None:
                return
            if not alone:
                with self._lock:
                    self._idle[group] -= 1
                    # Somebody has to be there for the next call.
                    if self._idle[group] == 0 and self._started[group] < self._limits[group]:
                        self._start_thread(group)
            for call in calls:
                self.threads[ident] = call
                _debug_target.on_task_start()
                self._run(call)
                self.threads.pop(ident, None)
            # The last call's arguments must not stay in memory.
            del calls, call

    def _run(self, call: _manta.Task) -> None:
        retried: Retried = None
        try:
            args, kwargs = call.arguments()
            retried, owner = kwargs.pop(RETRIED, None), kwargs.pop(_generator.OWNER, None)
            result = self._method(call.method)(*args, **kwargs)
            # The arguments must not outlive their use.
            del args, kwargs
            if call.streaming:
                values = _generator.Values(result, owner) if owner else result
                result = send_values(call, values, self._node_name)
            self._end_output()
            call.succeed(self._values(call, result))
        except BaseException as error:
            self._failed(call, error, retried)

    def _method(self, name: str) -> Callable[..., Any]:
        method = getattr(self._instance, name, None)
        return functools.partial(_BUILT_IN[name], self._instance) if method is None else method

    def _failed(self, call: _manta.Task, error: BaseException, retried: Retried) -> None:
        self._end_output()
        if isinstance(error, ActorExit):
            self._wind_up(error)
            _manta.exit_actor(_EXITED)
        elif isinstance(error, SystemExit):
            self._wind_up(error)
            _manta.exit_actor(f"its method '{call.name}' ended it with sys.exit({error.code!r})")
        else:
            _errors.end_failed(call, error, self._node_name, retried)

    def _wind_up(self, error: BaseException | None = None) -> None:
        """Does what the actor wants done at an orderly end; what fails is said, and ends nothing else."""
        wishes = [wish] if callable(wish := getattr(self._instance, "__ray_shutdown__", None)) else []
        for wish in [*wishes, atexit._run_exitfuncs, functools.partial(self._let_go, error)]:
            try:
                wish()
            except BaseException:
                traceback.print_exc()
        self._end_output()

    def _let_go(self, error: BaseException | None) -> None:
        """Has the instance's finalizer run, now and not when the process is ending: the method's frames let go of it too."""
        self._instance = None
        seen = error
        while seen is not None:
            traceback.clear_frames(seen.__traceback__)
            seen = seen.__context__
        gc.collect()


def send_values(task: _manta.Task, result: Any, node_name: str) -> Any:
    """Sends what a generator yields, value by value. Answers with the task's result."""
    if isinstance(result, _generator.Values):
        return _send_kept(task, result, node_name)
    if not isinstance(result, Iterator):
        raise ValueError(
            f"the task '{task.name}' has num_returns=\"streaming\", but returned a {type(result).__name__}; "
            "it must be a generator, or return an iterator"
        )
    for index, value in enumerate(result):
        task.yield_value(index, value)
        task.wait_for_room()
    return None


def _send_kept(task: _manta.Task, kept: _generator.Values, node_name: str) -> Any:
    """Sends what the task's result has refs of; the last one has the generator's exception, if it raised one."""
    kept.check(task)
    count = 0
    try:
        for value in kept.values:
            task.yield_value(count, value)
            count += 1
    except Exception as error:
        task.yield_error(count, _errors.pack(error, task.name, node_name))
        count += 1
    return kept.refs(task, count)


def _own_name(instance: Any) -> str | None:
    """The text of an actor whose class says how it reads, in one line."""
    if all("__repr__" not in vars(base) for base in type(instance).__mro__[:-1]):
        return None
    try:
        return " ".join(repr(instance).split())[:SHOWN_NAME_CHARS_MAX]
    except Exception:
        # It runs without a name of its own.
        return None


async def _call(function: Callable[[], Any]) -> Any:
    return function()


def _terminate(_instance: Any) -> NoReturn:
    exit_actor()


_BUILT_IN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": lambda _instance: True,
    "__ray_terminate__": _terminate,
    "__ray_call__": lambda instance, function, *args, **kwargs: function(instance, *args, **kwargs),
}


def fail_creation(task: _manta.Task, error: BaseException, class_name: str, node_name: str) -> None:
    """Ends the task that was to make an actor, whose constructor failed."""
    text = _errors.remote_traceback(error)
    sentence = f"the actor '{class_name}' died because its constructor failed on {node_name}:\n{text}"
    line = _errors.in_one_line(error)
    if task.cross_language:
        task.fail_creation(sentence, line)
    else:
        died = exceptions.ActorDiedError(sentence)
        died._actor_init_failed, died._actor_id = True, task.id.hex()
        task.fail(_errors.pack_as_is(died), line)
