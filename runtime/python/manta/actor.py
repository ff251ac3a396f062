"""Actors: classes whose instances live in a worker of their own and are called from anywhere."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from manta import _actor_host, _function, _generator, _manta, _placement, _session
from manta._actor_class import ClassDescription, MethodDescription, describe
from manta._actor_options import METHOD_OPTIONS, ActorOptions, MethodOptions
from manta._generator import ObjectRefGenerator
from manta._ids import ActorID
from manta.exceptions import ActorHandleNotFoundError

if TYPE_CHECKING:
    from manta import dag

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "method"]


def method(*target: Any, **options: Any) -> Any:
    """Gives a method of an actor its own options: `@method(num_returns=2)`."""
    if target and not options and len(target) == 1 and callable(target[0]):
        return target[0]
    if target:
        raise AssertionError("write @method with options, such as @method(num_returns=2)")
    if unknown := sorted(set(options) - METHOD_OPTIONS):
        raise AssertionError(
            f"'{unknown[0]}' is not an option of actor methods; they are {', '.join(sorted(METHOD_OPTIONS))}"
        )
    MethodOptions().updated(options)

    def annotate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__manta_method__ = options  # type: ignore[attr-defined]  # Functions take attributes.
        return function

    return annotate


def exit_actor() -> NoReturn:
    """Ends the actor that runs this, for good, whatever its `max_restarts`. The call fails with `ActorDiedError`."""
    _actor_host.exit_actor()


class ActorClassInheritanceException(TypeError):
    """A class was to inherit from an actor class."""


class _Metadata(NamedTuple):
    modified_class: type
    class_name: str


class ActorClass:
    """What `@remote` makes of a class: `C.remote(...)` starts an actor and answers with its handle."""

    def __init__(self, cls: type, options: ActorOptions) -> None:
        self.__doc__ = cls.__doc__
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self._class = self.__manta_wrapped__ = cls
        self._options = options
        self._description = describe(cls, options)
        self._prepared: _manta.PreparedTask | None = None

    @property
    def __ray_metadata__(self) -> _Metadata:
        """What libraries read in Ray to have the plain class back."""
        return _Metadata(self._class, self.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self.__name__
        raise TypeError(
            f"Actors cannot be instantiated directly: in place of '{name}()', use '{name}.remote()'"
        )

    def __getattr__(self, name: str) -> Any:
        # What belongs to the class is had of it as before: constants, static methods and class methods.
        if name.startswith("__") or "_class" not in self.__dict__:
            raise AttributeError(name)
        try:
            return getattr(self._class, name)
        except AttributeError:
            raise AttributeError(f"the actor class '{self.__name__}' has no attribute '{name}'") from None

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise ActorClassInheritanceException(
            f"'{self.__name__}' is an actor class, which no class can inherit from; make the plain class the base, and both remote"
        )

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorClass, (self._class, self._options)

    def options(self, **options: Any) -> ActorClass:
        """The same class with other options; this one keeps its own."""
        return ActorClass(self._class, self._options.updated(options))

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Starts an actor. The handle is there at once; its calls wait until the actor is."""
        if (captured := _function.captured) is not None and self._options.scheduling_strategy is None:
            strategy = _placement.in_captured(captured)
            options = dataclasses.replace(self._options, scheduling_strategy=strategy)
            return ActorClass(self._class, options).remote(*args, **kwargs)
        if inspect.isabstract(self._class):
            missing = ", ".join(sorted(vars(self._class)["__abstractmethods__"]))
            raise TypeError(
                f"Can't instantiate abstract class {self.__name__}: it has no implementation of {missing}"
            )
        self._description.check_groups()
        self._description.constructor.check(f"{self.__name__}.remote()", args, kwargs)
        _session.ensure_initialized()
        prepared = self._prepared
        if prepared is None or not prepared.is_current():
            prepared = self._prepare()
        options, description = self._options, self._description
        actor, found = _manta.new_actor(
            prepared,
            (options.name, description, *args),
            kwargs,
            {
                "class_name": self.__name__,
                "max_restarts": options.max_restarts,
                "group_limits": description.group_limits,
                "held": options.held(),
                "detached": options.lifetime == "detached",
                "name": options.name,
                "namespace": options.namespace,
                "handle": pickle.dumps(description) if options.is_registered() else b"",
                "get_if_exists": options.get_if_exists,
            },
        )
        return ActorHandle(actor, description if found is None else pickle.loads(found))

    def _remote(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> ActorHandle:
        """Ray's older way to write `.options(...).remote(...)`."""
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> dag.ClassNode:
        """An actor of it in a graph that is run later."""
        from manta import dag

        return dag.ClassNode(self, args, kwargs)

    def _described(self) -> type | _function.Described:
        """The class as it travels to its worker."""
        held = tuple(self._options.held())
        return (
            _function.Described(self._class, resources=held)
            if _function.threads_of(held) > 1
            else self._class
        )

    def _prepare(self) -> _manta.PreparedTask:
        options = self._options
        self._prepared = _manta.PreparedTask(
            _manta.register_function(self.__qualname__, self._described()),
            f"{self.__name__}.__init__",
            options.demand(),
            0,
            0,
            False,
            options.placement(),
            options.environment(),
        )
        return self._prepared


class ActorHandle:
    """A running actor: `handle.method.remote(...)` calls it. Handles can be passed to tasks and actors and be stored in values."""

    def __init__(self, actor: _manta.ActorRef, description: ClassDescription) -> None:
        self._ray_actor = actor
        self._ray_description = description
        self._ray_prepared: dict[str, _manta.PreparedTask] = {}

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(bytes.fromhex(self._ray_actor.hex()))

    @property
    def _ray_actor_id(self) -> ActorID:
        return self._actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        description = self.__dict__.get("_ray_description")
        if description is None or name not in description.methods:
            owner = f"the actor class '{description.name}'" if description else "this handle"
            raise AttributeError(f"{owner} has no method '{name}'")
        return ActorMethod(self, name, None)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._ray_description.methods]

    def __repr__(self) -> str:
        return f"Actor({self._ray_description.name}, {self._ray_actor.hex()})"

    def __hash__(self) -> int:
        return hash(self._ray_actor.hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._ray_actor.hex() == other._ray_actor.hex()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._ray_actor.to_wire(), self._ray_description)

    def _manta_foreign_wire(self) -> bytes:
        """What other languages make a handle from."""
        of = self._ray_description
        described = describe_foreign("python", of.name, of.max_task_retries, of.max_pending_calls)
        return self._ray_actor.to_wire() + described


def describe_foreign(language: str, name: str, max_task_retries: int, max_pending_calls: int | None) -> bytes:
    """What a handle knows that every language can read."""
    described = {
        "language": language,
        "class": name,
        "max_task_retries": max_task_retries,
        "max_pending_calls": max_pending_calls,
    }
    return _manta.DESCRIPTION_PREFIX + _manta.msgpack_dumps(described)


def _rebuild(wire: bytes, description: ClassDescription) -> ActorHandle:
    _session.ensure_initialized()
    return ActorHandle(_manta.actor_from_wire(wire), description)


class ActorMethod:
    """A method of an actor: `.remote(...)` calls it, `.options(...)` changes how."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: ActorHandle, name: str, options: MethodOptions | None) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"Actor methods cannot be called directly: in place of 'object.{self._name}()', use 'object.{self._name}.remote()'"
        )

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options."""
        base = self._options or self._description().options
        return ActorMethod(self._handle, self._name, base.updated(options))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the method: answers with an `ObjectRef`, a list of them for `num_returns` above 1, None for 0.

        A method that is a generator answers with an `ObjectRefGenerator`, unless its `num_returns` is a number.
        """
        description = self._description()
        if kwargs or not description.fewest <= len(args) <= description.most:
            description.check(f"{self._name}.remote()", args, kwargs)
        kept = self._handle._ray_prepared
        prepared = kept.get(self._name) if self._options is None else None
        options = self._options or description.options
        if prepared is None:
            prepared = self._prepare(options)
            if self._options is None:
                kept[self._name] = prepared
        if isinstance(options.retry_exceptions, tuple):
            # The worker tells which failures the call is to be retried for.
            kwargs = {**kwargs, _actor_host.RETRIED: options.retry_exceptions}
        if options.num_returns == "dynamic":
            return prepared.submit_dynamic(args, {**kwargs, _generator.OWNER: _generator.own_address()})
        if description.is_streaming(options):
            return ObjectRefGenerator(prepared.submit_stream(args, kwargs, options.backpressure))
        return prepared.submit(args, kwargs)

    def _remote(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Ray's older way to write `.options(...).remote(...)`."""
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> dag.ClassMethodNode:
        """A call of it in a graph that is run later."""
        from manta import dag

        method = dag.ClassMethodNode(self._handle, self._name, {}, args, kwargs)
        if self._options is not None:
            raise NotImplementedError(
                "options of a method in a graph are given with @method, where it is defined"
            )
        return method

    def _description(self) -> MethodDescription:
        return self._handle._ray_description.methods[self._name]

    def _prepare(self, options: MethodOptions) -> _manta.PreparedTask:
        handle = self._handle
        description = handle._ray_description
        retries = options.max_task_retries
        return handle._ray_actor.prepare(
            self._name,
            options.name or f"{description.name}.{self._name}",
            options.num_returns if isinstance(options.num_returns, int) else 1,
            description.max_task_retries if retries is None else retries,
            options.retry_exceptions is not False,
            description.group(options.concurrency_group),
            description.max_pending_calls,
            False,
        )


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of a named actor; `ValueError` when there is none of that name in the namespace."""
    if not name:
        raise ValueError("get_actor() needs the actor's name")
    _session.ensure_initialized()
    found = _manta.find_actor(namespace, name)
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}': no living actor has it in the namespace "
            f"'{namespace or _manta.namespace()}'. Actors of other namespaces are found with get_actor(name, namespace=...)"
        )
    actor, description = found
    if description.startswith(_manta.DESCRIPTION_PREFIX):
        return cross_language.foreign_handle(actor, description)
    return ActorHandle(actor, pickle.loads(description))


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """Ends an actor at once; its pending calls fail. With `no_restart=False` it starts anew if it has restarts left."""
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            f"kill() is for actors, and this is a {type(actor).__name__}; tasks cannot be killed so"
        )
    _session.ensure_initialized()
    try:
        _manta.kill_actor(actor._ray_actor, no_restart)
    except ValueError as error:
        raise ActorHandleNotFoundError(str(error)) from None


def make_actor_class(cls: type, options: dict[str, Any]) -> ActorClass:
    """What the decorator `remote` answers with for a class."""
    return ActorClass(cls, ActorOptions().updated(options))


def current_actor() -> ActorHandle | None:
    """A handle of the actor that this worker hosts."""
    hosted = _actor_host.hosted()
    if hosted is None:
        return None
    return ActorHandle(_manta.actor_from_wire(hosted.wire), cast(ClassDescription, hosted.description))


from manta import cross_language  # noqa: E402  # It needs what stands above.
