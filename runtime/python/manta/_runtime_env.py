"""Environments of tasks: checked where they are given, their local folders made into packages, and merged as Ray merges them."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import logging
import os
import pickle
import types
from collections.abc import Callable, Mapping
from typing import Any

from manta import _manta

SCHEME = "manta://"

# Ray's fields that are refused, with what to do instead.
_REFUSED = {
    "conda": "give 'pip' or 'uv', or start the nodes in the conda environment",
    "container": "start the nodes in the container",
    "image_uri": "start the nodes in the container",
    "java_jars": "tasks are written in Python or Rust",
    "mpi": "MPI programs are started by tasks of your own",
    "nsight": "profile the worker's process from outside; 'manta list workers' has its id",
    "rocprof_sys": "profile the worker's process from outside; 'manta list workers' has its id",
}
FIELDS = (
    "working_dir",
    "py_modules",
    "excludes",
    "env_vars",
    "pip",
    "uv",
    "config",
    "py_executable",
    "worker_process_setup_hook",
)
# How a function begins that travels in the environment itself, and how many bytes it may have there.
_PICKLE = "pickle:"
_HOOK_BYTES_MAX = 512 * 1024


class Environment:
    """A runtime environment on its way to the nodes: its JSON, and the packages that the JSON names."""

    def __init__(self, json_text: str, packages: list[_manta.Package]) -> None:
        self.json = json_text
        self.packages = packages


def checked(given: Any) -> dict[str, Any]:
    """The environment as plain data, with its types checked; nothing is read yet."""
    if not isinstance(given, Mapping):
        raise TypeError(f"'runtime_env' must be a dict, not {type(given).__name__}")
    env: dict[str, Any] = {}
    for name, value in given.items():
        if name in _REFUSED:
            if value is not None:
                raise ValueError(f"'{name}' in a runtime_env is not supported; {_REFUSED[name]}")
        elif name == "_validate":
            continue
        elif name not in FIELDS:
            # As in Ray, where plugins may know what the runtime does not.
            logging.getLogger("manta").warning(
                "'%s' is not part of a runtime_env, and has no effect; it has %s", name, ", ".join(FIELDS)
            )
        elif value is not None:
            env[name] = _CHECKS[name](value)
    if "pip" in env and "uv" in env:
        raise ValueError(
            "The 'pip' field and 'uv' field of a runtime_env cannot be specified at the same time"
        )
    return env


def check_folders(env: Mapping[str, Any]) -> None:
    """Whether what the environment has of this machine's files is there."""
    paths = [("working_dir", env["working_dir"])] if "working_dir" in env else []
    paths += [("py_modules", path) for path in env.get("py_modules", [])]
    for name, path in paths:
        if not path.startswith(SCHEME) and not os.path.exists(os.path.expanduser(path)):
            raise ValueError(f"'{name}' in a runtime_env: there is no {path!r}")


def merged(parent: str, child: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's rule: what the child says replaces what the parent says, but environment variables are joined."""
    env: dict[str, Any] = json.loads(parent) if parent else {}
    variables = {**env.get("env_vars", {}), **child.get("env_vars", {})}
    if child.keys() & {"pip", "uv"}:
        env.pop("pip", None)
        env.pop("uv", None)
    env.update(child)
    if variables:
        env["env_vars"] = variables
    return env


def merged_with_job(child: dict[str, Any]) -> dict[str, Any]:
    """For the driver of a submitted job: what was submitted and what `init` says must not contradict each other."""
    submitted: dict[str, Any] = json.loads(os.environ.get("MANTA_JOB_RUNTIME_ENV") or "{}")
    if not submitted:
        return child
    theirs, ours = submitted.get("env_vars", {}), child.get("env_vars", {})
    both = sorted((submitted.keys() & child.keys()) - {"env_vars"})
    both += [
        f"env_vars[{name!r}]" for name in sorted(theirs.keys() & ours.keys()) if theirs[name] != ours[name]
    ]
    if both and os.environ.get("RAY_OVERRIDE_JOB_RUNTIME_ENV") != "1":
        raise ValueError(
            f"the job was submitted with a runtime_env, and init() gives another {', '.join(both)}; leave it out in one of the two, "
            "or set RAY_OVERRIDE_JOB_RUNTIME_ENV=1 to let init() have its way"
        )
    return merged(json.dumps(submitted), child)


def packaged(env: Mapping[str, Any]) -> Environment:
    """With local folders, files and modules as packages."""
    wire: dict[str, Any] = dict(env)
    packages: list[_manta.Package] = []
    excludes = list(wire.pop("excludes", []))
    gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"

    def package(path: str, keep_name: bool) -> str:
        if path.startswith(SCHEME):
            return path
        made = _manta.make_package(os.path.abspath(os.path.expanduser(path)), keep_name, excludes, gitignore)
        packages.append(made)
        return SCHEME + made.id

    if "working_dir" in wire:
        try:
            wire["working_dir"] = package(wire["working_dir"], False)
        except (OSError, ValueError) as error:
            raise ValueError(f"the working_dir of the runtime_env cannot be used: {error}") from error
    if "py_modules" in wire:
        try:
            wire["py_modules"] = [package(path, True) for path in wire["py_modules"]]
        except (OSError, ValueError) as error:
            raise ValueError(f"the py_modules of the runtime_env cannot be used: {error}") from error
    # The order of Rust's fields, so that equal environments are equal texts wherever they were made.
    ordered = {name: wire[name] for name in FIELDS if wire.get(name)}
    if "env_vars" in ordered:
        ordered["env_vars"] = dict(sorted(ordered["env_vars"].items()))
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False) if ordered else ""
    return Environment(text, packages)


def for_task(given: Mapping[str, Any] | None) -> str | None:
    """The JSON for the tasks of a function or an actor with this environment; None for that of this process."""
    if given is None:
        return None
    job = _manta.job()
    made = packaged(merged(job["runtime_env"] if job else "", given))
    if made.packages:
        _manta.current_head().put_packages(made.packages)
    return made.json


def _text(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"'{name}' in a runtime_env must be text, not {type(value).__name__}")
        text = os.fspath(value)
        if "://" in text and not text.startswith(SCHEME):
            raise ValueError(
                f"'{name}': {text!r} is a remote package, and those are not supported; give a local folder or .zip file"
            )
        return str(text)

    return check


def _modules(value: Any) -> list[str]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise TypeError(f"'py_modules' must be a list of paths and modules, not {type(value).__name__}")
    return [_module(module) for module in value]


def _module(module: Any) -> str:
    if isinstance(module, types.ModuleType):
        folders = list(getattr(module, "__path__", []))
        if len(folders) > 1:
            raise ValueError(f"the module '{module.__name__}' lies in several folders; give the path of one")
        file = folders[0] if folders else getattr(module, "__file__", None)
        if not file:
            raise ValueError(f"the module '{module.__name__}' has no file that could be sent")
        return str(file)
    return _text("py_modules")(module)


def _hook(value: Any) -> str:
    if isinstance(value, str):
        module, _, function = value.rpartition(".")
        if not value.startswith(_PICKLE) and not (module and function):
            raise ValueError(
                f"'worker_process_setup_hook' must be 'module.function' or a function, not {value!r}"
            )
        return value
    if not callable(value):
        raise TypeError(f"worker_process_setup_hook must be a function, got {type(value)}.")
    import cloudpickle  # Only those need it who give one.

    data = cloudpickle.dumps(value, protocol=5)
    if len(data) > _HOOK_BYTES_MAX:
        raise ValueError(
            f"'worker_process_setup_hook' has {len(data)} bytes when pickled, and {_HOOK_BYTES_MAX} is the most; "
            "put what it needs into files of the working_dir"
        )
    return _PICKLE + base64.b64encode(data).decode()


def run_hook(json_text: str) -> None:
    """Runs in a worker what its environment wants run before the first task."""
    hook = json.loads(json_text).get("worker_process_setup_hook") if "_setup_hook" in json_text else None
    if hook is None:
        return
    if hook.startswith(_PICKLE):
        function = pickle.loads(base64.b64decode(hook.removeprefix(_PICKLE)))
    else:
        module, _, name = hook.rpartition(".")
        function = getattr(importlib.import_module(module), name)
    function()


def _excludes(value: Any) -> list[str]:
    return _texts("excludes", value)


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise TypeError(f"'{name}' must be a list of texts, not {type(value).__name__}")
    for item in value:
        if not isinstance(item, str):
            raise TypeError(f"'{name}' must be a list of texts, and has a {type(item).__name__}")
    return list(value)


def _env_vars(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env['env_vars'] must be of type Dict[str, str], got {type(value).__name__}")
    for key, text in value.items():
        if not isinstance(key, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the key {key} is of type {type(key)}"
            )
        if not isinstance(text, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the value {text} is of type {type(text)}"
            )
    return dict(value)


def _installer(name: str, options: dict[str, Callable[[str, Any], Any]]) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if isinstance(value, (str, os.PathLike)):
            return {"packages": _requirements(name, os.fspath(value))}
        if isinstance(value, (list, tuple)):
            return {"packages": _texts(name, value)}
        if not isinstance(value, Mapping):
            raise TypeError(
                f"runtime_env['{name}'] must be of type str, List[str] or dict, got {type(value).__name__}"
            )
        unknown = sorted(set(value) - {"packages", *options})
        if unknown:
            raise ValueError(
                f"runtime_env['{name}'] has no {', '.join(map(repr, unknown))}; it has packages, {', '.join(options)}"
            )
        if "packages" not in value:
            raise ValueError(f"runtime_env['{name}'] must include field 'packages', but got {sorted(value)}")
        packages = value["packages"]
        wanted: dict[str, Any] = {
            "packages": _requirements(name, packages) if isinstance(packages, str) else _texts(name, packages)
        }
        wanted.update(
            {
                key: kind(f"{name}.{key}", value[key])
                for key, kind in options.items()
                if value.get(key) is not None
            }
        )
        return wanted

    return check


def _requirements(name: str, path: Any) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ValueError(f"the requirements file of runtime_env['{name}'] cannot be read: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"'{name}' must be True or False, not {value!r}")
    return value


def _version(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"'{name}' must be text such as '==24.0', not {type(value).__name__}")
    return value


def _config(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env['config'] must be a dict, not {type(value).__name__}")
    unknown = sorted(set(value) - {"setup_timeout_seconds", "eager_install"})
    if unknown:
        raise ValueError(f"runtime_env['config'] has no {', '.join(map(repr, unknown))}")
    config = {name: item for name, item in value.items() if item is not None}
    seconds = config.get("setup_timeout_seconds", -1)
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(seconds)}")
    if seconds < -1 or seconds == 0:
        raise ValueError(f"setup_timeout_seconds must be greater than zero or equals to -1, got: {seconds}")
    if "eager_install" in config:
        _flag("eager_install", config["eager_install"])
    return config


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "working_dir": _text("working_dir"),
    "py_modules": _modules,
    "excludes": _excludes,
    "env_vars": _env_vars,
    "pip": _installer("pip", {"pip_check": _flag, "pip_version": _version, "pip_install_options": _texts}),
    "uv": _installer("uv", {"uv_check": _flag, "uv_version": _version, "uv_pip_install_options": _texts}),
    "config": _config,
    "py_executable": _text("py_executable"),
    "worker_process_setup_hook": _hook,
}


def frozen(given: Any) -> Frozen:
    """A checked environment that can be a part of immutable options."""
    return Frozen(checked(given))


class Frozen:
    """An environment that nobody changes any more; equal ones are equal."""

    def __init__(self, env: dict[str, Any]) -> None:
        self.env = env
        text = json.dumps(env, sort_keys=True).encode()
        self._digest = hashlib.sha256(text).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.env,)
