"""Runtime environments as values, under Ray's names."""

from __future__ import annotations

import copy
import json
from typing import Any

from manta import _runtime_env

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]

_Plain = dict[str, Any]


class RuntimeEnvConfig(_Plain):
    """How an environment is made."""

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ) -> None:
        if log_files:
            raise ValueError(
                "'log_files' is not supported; what installers say is in 'manta logs runtime_env-*'"
            )
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install)
        _runtime_env.checked({"config": self})

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """What holds when nothing is said."""
        return cls()

    @staticmethod
    def parse_and_validate_runtime_env_config(config: dict[str, Any]) -> RuntimeEnvConfig:
        """From a dict, or what is one already."""
        return config if isinstance(config, RuntimeEnvConfig) else RuntimeEnvConfig(**config)

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self)


class RuntimeEnv(_Plain):
    """An environment for tasks, actors and jobs, checked when it is made. It is a dict of its fields."""

    known_fields = frozenset(_runtime_env.FIELDS)

    def __init__(self, *, _validate: bool = True, **fields: Any) -> None:
        super().__init__({name: value for name, value in fields.items() if value is not None})
        if _validate:
            _runtime_env.check_folders(_runtime_env.checked(self))

    def __setitem__(self, name: str, value: Any) -> None:
        _runtime_env.checked({name: value})
        if value is not None:
            super().__setitem__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self),)

    def set(self, name: str, value: Any) -> None:
        """Gives a field a value, which is checked."""
        self[name] = value

    def get(self, name: str, default: Any = None, data_class: type | None = None) -> Any:
        """A field; with a class, as one of those made from the field's own fields."""
        if name not in self:
            return default
        return self[name] if data_class is None else data_class(**self[name])

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return copy.deepcopy(
            {
                name: dict(value) if isinstance(value, RuntimeEnvConfig) else value
                for name, value in self.items()
            }
        )

    def serialize(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """What `serialize` made into text."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def has_working_dir(self) -> bool:
        """Whether tasks have a working directory of their own."""
        return self.get("working_dir") is not None

    def working_dir(self) -> str:
        """The working directory; empty when it is the driver's."""
        return str(self.get("working_dir", ""))

    def working_dir_uri(self) -> str | None:
        """The working directory; None when it is the driver's."""
        return self.get("working_dir")  # type: ignore[no-any-return]

    def py_modules(self) -> list[str]:
        """What can be imported beside what is installed."""
        return list(self.get("py_modules", []))

    def py_modules_uris(self) -> list[str]:
        """The same."""
        return self.py_modules()

    def py_executable(self) -> str | None:
        """The command that workers are started with."""
        return self.get("py_executable")  # type: ignore[no-any-return]

    def env_vars(self) -> dict[str, str]:
        """Environment variables."""
        return dict(self.get("env_vars", {}))

    def has_pip(self) -> bool:
        """Whether pip installs something."""
        return bool(self.get("pip"))

    def pip_config(self) -> dict[str, Any]:
        """What pip installs, and how."""
        return self._installer("pip")

    def has_uv(self) -> bool:
        """Whether uv installs something."""
        return bool(self.get("uv"))

    def uv_config(self) -> dict[str, Any]:
        """What uv installs, and how."""
        return self._installer("uv")

    def _installer(self, name: str) -> dict[str, Any]:
        given = self.get(name)
        return dict(_runtime_env.checked({name: given})[name]) if given else {}

    def has_conda(self) -> bool:
        """Never: conda is not supported."""
        return False

    def has_py_container(self) -> bool:
        """Never: containers are not supported."""
        return False

    def plugins(self) -> list[tuple[str, Any]]:
        """Fields of plugins, of which there are none."""
        return []

    def plugin_uris(self) -> list[str]:
        """None, as there are no plugins."""
        return []


def _rebuild(fields: dict[str, Any]) -> RuntimeEnv:
    return RuntimeEnv(_validate=False, **fields)
