"""Functions and actors that are written in Rust, called from Python.

    resize = manta.rust_function("images::resize", binary="target/release/images")
    small = manta.get(resize.remote(data, 64))

The binary is a Rust program whose `main` calls `manta::init()` first thing, on every node under the same path. Values go there and
come back as MessagePack: None, booleans, numbers, text, bytes, lists, dicts, object refs and handles of actors. An Arrow table goes
as the bytes of an IPC stream.
"""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any, NoReturn

from manta import _manta, _session, actor
from manta._actor_options import ActorOptions, MethodOptions
from manta._options import TaskOptions

__all__ = ["rust_actor_class", "rust_function"]


def rust_function(path: str, binary: str | os.PathLike[str] | None = None) -> RustFunction:
    """A task written in Rust: `crate::module::name`, a function with `#[manta::task]`.

    Args:
        path: The function's path.
        binary: The program that has it: a path, or a name on PATH. A job that has one already need not name it.
    """
    return RustFunction(_checked_path(path), _checked_binary(binary), TaskOptions())


def rust_actor_class(path: str, binary: str | os.PathLike[str] | None = None) -> RustActorClass:
    """An actor written in Rust: `crate::module::Name`, a type with `#[manta::actor]`. The arguments are those of `rust_function`."""
    return RustActorClass(_checked_path(path), _checked_binary(binary), ActorOptions())


class RustFunction:
    """A function of a Rust program: `f.remote(...)` runs it as a task."""

    def __init__(self, path: str, binary: str | None, options: TaskOptions) -> None:
        self._path = path
        self._binary = binary
        self._options = options
        self._prepared: _manta.PreparedTask | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"'{self._path}' is a remote function: call .remote(...) of it")

    def __repr__(self) -> str:
        return f"<RustFunction {self._path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return RustFunction, (self._path, self._binary, self._options)

    def options(self, **options: Any) -> RustFunction:
        """The same function with other options; this one keeps its own."""
        return RustFunction(self._path, self._binary, self._options.updated(options))

    def remote(self, *args: Any) -> Any:
        """Submits one task: answers with an `ObjectRef`."""
        prepared = self._prepared
        if prepared is None or not prepared.is_current():
            prepared = self._prepared = self._prepare()
        return prepared.submit(args, {})

    def _prepare(self) -> _manta.PreparedTask:
        options = self._options
        if options.num_returns not in (None, 1):
            raise ValueError(
                f"'{self._path}' is a Rust function, which returns one value; return a tuple from it"
            )
        _session.ensure_initialized()
        return _manta.PreparedTask.foreign(
            self._path,
            self._binary or _binary_of_job(self._path),
            options.name or self._path,
            options.demand(),
            1,
            options.max_retries,
            options.retry_exceptions is not False,
            options.placement(),
        )


class RustActorClass:
    """A type of a Rust program: `C.remote(...)` starts an actor and answers with its handle."""

    def __init__(self, path: str, binary: str | None, options: ActorOptions) -> None:
        self._path = path
        self._binary = binary
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"'{self._path}' is an actor class: call .remote(...) of it")

    def __repr__(self) -> str:
        return f"<RustActorClass {self._path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return RustActorClass, (self._path, self._binary, self._options)

    def options(self, **options: Any) -> RustActorClass:
        """The same class with other options; this one keeps its own."""
        return RustActorClass(self._path, self._binary, self._options.updated(options))

    def remote(self, *args: Any) -> CrossLanguageActorHandle:
        """Starts an actor. The handle is there at once; its calls wait until the actor is."""
        _session.ensure_initialized()
        options, name = self._options, self._path.rpartition("::")[2]
        prepared = _manta.PreparedTask.foreign(
            self._path,
            self._binary or _binary_of_job(self._path),
            f"{name}::new",
            options.demand(),
            0,
            0,
            False,
            options.placement(),
        )
        described = actor.describe_foreign("rust", name, options.max_task_retries, options.max_pending_calls)
        limits = [options.max_concurrency] if options.max_concurrency else []
        made, found = _manta.new_actor(
            prepared,
            args,
            {},
            {
                "class_name": name,
                "max_restarts": options.max_restarts,
                # Without any, those of the type itself count.
                "group_limits": [*limits, *(limit for _, limit in options.concurrency_groups)],
                "held": options.held(),
                "detached": options.lifetime == "detached",
                "name": options.name,
                "namespace": options.namespace,
                "handle": described,
                "get_if_exists": options.get_if_exists,
            },
        )
        return foreign_handle(made, described if found is None else found)


class CrossLanguageActorHandle(actor.ActorHandle):
    """A running actor whose class this program does not know: every public name is taken for a method of it."""

    def __init__(
        self, made: _manta.ActorRef, language: str, name: str, retries: int, pending: int | None
    ) -> None:
        self._ray_actor = made
        self._language = language
        self._name = name
        self._retries = retries
        self._pending = pending

    def __getattr__(self, name: str) -> CrossLanguageActorMethod:  # type: ignore[override]
        if name.startswith("_") and name not in ("__ray_ready__", "__ray_terminate__"):
            raise AttributeError(f"handles of actors have no attribute '{name}'")
        return CrossLanguageActorMethod(self, name, MethodOptions())

    def __dir__(self) -> list[str]:
        return list(object.__dir__(self))

    def __repr__(self) -> str:
        return f"Actor({self._name}, {self._ray_actor.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle_from_wire, (self._manta_foreign_wire(),)

    def _manta_foreign_wire(self) -> bytes:
        described = actor.describe_foreign(self._language, self._name, self._retries, self._pending)
        return self._ray_actor.to_wire() + described


class CrossLanguageActorMethod:
    """A method of an actor: `.remote(...)` calls it, `.options(...)` changes how."""

    def __init__(self, handle: CrossLanguageActorHandle, name: str, options: MethodOptions) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"Actor methods cannot be called directly: in place of 'object.{self._name}()', use 'object.{self._name}.remote()'"
        )

    def options(self, **options: Any) -> CrossLanguageActorMethod:
        """The same method with other options."""
        return CrossLanguageActorMethod(self._handle, self._name, self._options.updated(options))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the method: answers with an `ObjectRef`."""
        if self._options.num_returns not in (None, 1) or isinstance(self._options.retry_exceptions, tuple):
            raise ValueError(
                f"'{self._name}' is of another language: its calls answer with one value, and are retried for all errors or none"
            )
        handle, options = self._handle, self._options
        is_rust = handle._language == "rust"
        if is_rust and kwargs:
            raise TypeError(f"'{self._name}' is a Rust method, which takes no arguments by name")
        prepared = handle._ray_actor.prepare(
            self._name,
            options.name or f"{handle._name}{'::' if is_rust else '.'}{self._name}",
            1,
            handle._retries if options.max_task_retries is None else options.max_task_retries,
            options.retry_exceptions is True,
            0,
            handle._pending,
            is_rust,
        )
        return prepared.submit(args, kwargs)


def foreign_handle(made: _manta.ActorRef, description: bytes) -> CrossLanguageActorHandle:
    """The handle with this description."""
    if not description.startswith(_manta.DESCRIPTION_PREFIX):
        raise ValueError("the actor of this name is written in Python; use its own class")
    of = _manta.msgpack_loads(description[len(_manta.DESCRIPTION_PREFIX) :])
    return CrossLanguageActorHandle(
        made, of["language"], of["class"], of["max_task_retries"], of["max_pending_calls"]
    )


def _handle_from_wire(wire: bytes) -> CrossLanguageActorHandle:
    _session.ensure_initialized()
    length = _manta.ACTOR_WIRE_BYTES
    return foreign_handle(_manta.actor_from_wire(wire[:length]), wire[length:])


def _checked_path(path: str) -> str:
    if not isinstance(path, str):
        raise TypeError(f"a Rust path is text such as 'crate::module::name', not {type(path).__name__}")
    if "::" not in path:
        raise ValueError(
            f"'{path}' is no Rust path: write the crate before it, as in 'crate::{path or 'name'}'"
        )
    return path


def _checked_binary(binary: str | os.PathLike[str] | None) -> str | None:
    if binary is None:
        return None
    given = os.fspath(binary)
    found = os.path.abspath(given) if os.sep in given else shutil.which(given)
    if found is None or not os.access(found, os.X_OK) or os.path.isdir(found):
        raise FileNotFoundError(
            f"there is no program '{given}' that this process may run; build it, and give its path"
        )
    return found


def _binary_of_job(path: str) -> str:
    job = _manta.job()
    for language, executable in job["programs"] if job else ():
        if language == "rust":
            return str(executable)
    raise ValueError(
        f"the program of '{path}' is not known: give rust_function or rust_actor_class its binary=..."
    )


def _arrow_stream(table: Any) -> bytes:
    """The bytes of an Arrow IPC stream."""
    pyarrow: Any = importlib.import_module("pyarrow")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
