"""Runtime environments as values, under Ray's names."""

from __future__ import annotations

from typing import Any

from manta import _runtime_env

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]

_Plain = dict[str, Any]


class RuntimeEnvConfig(_Plain):
    """How an environment is made."""

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ) -> None:
        if log_files:
            raise ValueError(
                "'log_files' is not supported; what installers say is in 'manta logs runtime_env-*'"
            )
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install)
        _runtime_env.checked({"config": self})


class RuntimeEnv(_Plain):
    """An environment for tasks, actors and jobs, checked when it is made."""

    def __init__(self, *, _validate: bool = True, **fields: Any) -> None:
        super().__init__({name: value for name, value in fields.items() if value is not None})
        if _validate:
            _runtime_env.checked(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self),)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"this runtime_env has no '{name}'")

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self)


def _rebuild(fields: dict[str, Any]) -> RuntimeEnv:
    return RuntimeEnv(_validate=False, **fields)
