"""A job's settings as one value, in Ray's older form; `init` takes them one by one too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manta import _runtime_env

__all__ = ["JobConfig"]


class JobConfig:
    """What `init(job_config=...)` takes.

    Args:
        runtime_env: The environment of the job's tasks.
        metadata: Pairs of text that belong to the job; nothing here reads them.
        ray_namespace: The namespace of its named actors.
        default_actor_lifetime: "non_detached".
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ) -> None:
        if not isinstance(code_search_path, (list, tuple, type(None))):
            raise TypeError(
                f"'code_search_path' must be a list of folders, not {type(code_search_path).__name__}"
            )
        refused = {
            "jvm_options": jvm_options,
            "code_search_path": code_search_path,
            "_disable_job_level_lineage_reconstruction": _disable_job_level_lineage_reconstruction,
            "_py_driver_sys_path": _py_driver_sys_path,
        }
        for name, value in refused.items():
            if value:
                raise NotImplementedError(f"'{name}' of a JobConfig is not supported; leave it out")
        self.metadata = dict(metadata or {})
        self.ray_namespace = ray_namespace
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)

    @classmethod
    def from_json(cls, job_config_json: Mapping[str, Any]) -> JobConfig:
        """From a dict of its fields."""
        names = ("runtime_env", "metadata", "ray_namespace", "code_search_path", "jvm_options")
        return cls(**{name: job_config_json[name] for name in names if name in job_config_json})

    def set_metadata(self, key: str, value: str) -> None:
        """Adds a pair, or replaces its value."""
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Sets the namespace."""
        self.ray_namespace = ray_namespace

    def set_runtime_env(self, runtime_env: Mapping[str, Any] | None, validate: bool = False) -> None:
        """Sets the environment."""
        self.runtime_env = dict(runtime_env or {})
        if validate:
            _runtime_env.check_folders(_runtime_env.checked(self.runtime_env))

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Sets how long actors live that say nothing of it."""
        if default_actor_lifetime == "detached":
            raise NotImplementedError(
                "actors are 'detached' one by one here: give them lifetime=\"detached\""
            )
        if default_actor_lifetime != "non_detached":
            raise ValueError(
                f"default_actor_lifetime must be 'detached' or 'non_detached', not {default_actor_lifetime!r}"
            )
        self.default_actor_lifetime = default_actor_lifetime

    def _merged(
        self, namespace: str | None, runtime_env: Mapping[str, Any] | None
    ) -> tuple[str | None, Mapping[str, Any] | None]:
        """The arguments of `init` go before these."""
        return namespace or self.ray_namespace, runtime_env or self.runtime_env or None
