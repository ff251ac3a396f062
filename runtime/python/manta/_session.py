"""This process's connection to its cluster: made by `init` (or by the first use of the API), ended by `shutdown` or at exit."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import sysconfig
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manta import _manta, _output, _runtime_env, _serialization
from manta.exceptions import RaySystemError

if TYPE_CHECKING:
    from manta._logging import LoggingConfig
    from manta.job_config import JobConfig

LANGUAGE_VERSION = ".".join(map(str, sys.version_info[:3]))

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_lock = threading.RLock()
_printer: _output.Printer | None = None

# Options of Ray's `init` that change nothing here, because what they set does not exist: a dashboard, a log configuration.
_WITHOUT_EFFECT = (
    "configure_logging",
    "dashboard_host",
    "dashboard_port",
    "include_dashboard",
    "logging_format",
    "logging_level",
    # What Ray hides behind an underscore sets how its own processes and files are.
    "_driver_object_store_memory",
    "_enable_object_reconstruction",
    "_metrics_export_port",
    "_node_ip_address",
    "_node_name",
    "_object_spilling_directory",
    "_plasma_directory",
    "_redis_password",
    "_redis_username",
    "_skip_env_hook",
    "_system_config",
    "_temp_dir",
    "_tracing_startup_hook",
)
_NOT_YET = (
    "cgroup_path",
    "enable_resource_isolation",
    "proxy_server_url",
    "system_reserved_cpu",
    "system_reserved_memory",
)


# How a job's configuration of its records comes to its workers.
LOGGING_VARIABLE = "MANTA_LOGGING_CONFIG"
_STORE_BYTES_MIN = 1024 * 1024


class RayContext(dict[str, Any]):
    """What `init` answers with: the cluster's addresses. As a context manager, it shuts down at the end."""

    # There is no dashboard.
    dashboard_url = None

    def __init__(self, info: dict[str, Any], version: str) -> None:
        super().__init__(info)
        self.python_version = LANGUAGE_VERSION
        self.ray_version = version
        self.ray_commit = ""

    @property
    def address_info(self) -> dict[str, Any]:
        """The same, under the name that Ray gives it."""
        return dict(self)

    def disconnect(self) -> None:
        """Ends the connection, as `shutdown` does."""
        shutdown()

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *error: object) -> None:
        shutdown()


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    log_to_driver: bool | None = None,
    ignore_reinit_error: bool = False,
    logging_config: LoggingConfig | dict[str, Any] | None = None,
    _memory: float | None = None,
    job_config: JobConfig | None = None,
    _infeasible_timeout_s: float | None = None,
    **unknown: Any,
) -> RayContext:
    """Connects this program to a cluster.

    Without an address (and without `MANTA_ADDRESS`), a private cluster is started on this machine, which ends with this program.

    Args:
        address: `HOST:PORT` of a cluster's head, "auto" for the one that runs on this machine, "local" for a private cluster.
        num_cpus: CPUs of a private cluster; all of the machine's when left out.
        num_gpus: GPUs of a private cluster; all that are found when left out.
        resources: Further resources of a private cluster, by their names.
        labels: Labels of a private cluster's node.
        object_store_memory: Bytes of shared memory for a private cluster's objects; what is above goes to disk.
        namespace: A name that keeps this program's named things apart from those of others.
        runtime_env: The environment of this program's tasks: a dict with working_dir, py_modules, excludes, env_vars, pip or uv, config.
        log_to_driver: Whether what tasks print appears here.
        ignore_reinit_error: Whether a second call is let pass.
        logging_config: How records of `logging` look, here and in tasks.
        job_config: The namespace and environment in Ray's older form.
        _infeasible_timeout_s: Seconds that what no node of the cluster can run waits for a node that can, before it fails; 20 when left
            out, or what `MANTA_INFEASIBLE_TIMEOUT` says; `math.inf` for no end.
    """
    _refuse_unknown(unknown)
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError(f"'namespace' must be text, not {type(namespace).__name__}")
    if namespace == "":
        raise ValueError("'namespace' must not be empty; leave it out for one of this program's own")
    if job_config is not None:
        namespace, runtime_env = job_config._merged(namespace, runtime_env)
    environment = None if runtime_env is None else _runtime_env.checked(runtime_env)
    logs = None if logging_config is None else _checked_logs(logging_config)
    address = _checked_address(address)
    amounts = _checked_resources(resources, num_gpus, _memory)
    checked_labels = _checked_labels(labels)
    store_bytes = _checked_store_bytes(object_store_memory)
    _check_infeasible(_infeasible_timeout_s)
    with _lock:
        if _manta.is_connected():
            if ignore_reinit_error:
                return _context()
            raise RuntimeError(
                "init() was called before; call shutdown() first, or give ignore_reinit_error=True"
            )
        own = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "resources": resources,
            "labels": labels,
            "object_store_memory": object_store_memory,
        }
        for name, value in own.items():
            if address is not None and value is not None:
                raise ValueError(
                    f"'{name}' is for a private cluster; the cluster at {address} has its own already. Leave it out"
                )
        if isinstance(num_cpus, bool) or not isinstance(num_cpus, (int, float, type(None))):
            raise TypeError(f"'num_cpus' must be a number, not {num_cpus!r}")
        if num_cpus is not None and not num_cpus >= 0:
            raise ValueError(f"'num_cpus' must be 0 or more, not {num_cpus!r}")
        if logs is not None:
            environment = _with_logs(environment or {}, logs)
        _connect(
            address,
            num_cpus,
            store_bytes,
            amounts,
            checked_labels,
            namespace or "",
            log_to_driver is not False,
            environment or {},
            _infeasible_timeout_s,
        )
        if logs is not None:
            logs.apply()
        return _context()


def _check_infeasible(seconds: Any) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"'_infeasible_timeout_s' must be a number of seconds, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"'_infeasible_timeout_s' must be 0 or more, not {seconds!r}")


def _checked_logs(given: Any) -> LoggingConfig:
    from manta._logging import LoggingConfig  # Few programs have one, and the others start sooner without it.

    if isinstance(given, dict):
        return LoggingConfig.from_dict(given)
    if not isinstance(given, LoggingConfig):
        raise TypeError(f"'logging_config' must be a LoggingConfig, not {type(given).__name__}")
    return given


def _with_logs(environment: dict[str, Any], logs: LoggingConfig) -> dict[str, Any]:
    """The job's environment with what its workers are to know of its records."""
    variables = {**environment.get("env_vars", {}), LOGGING_VARIABLE: json.dumps(logs.to_dict())}
    return {**environment, "env_vars": variables}


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """Ends the connection, and with it this program's tasks; a private cluster ends too. What tasks printed appears first.

    The arguments are Ray's: processes of a private cluster are always waited for.
    """
    global _printer
    with _lock:
        if not _manta.is_connected():
            return
        if _manta.is_worker():
            raise RuntimeError(
                "shutdown() cannot be called inside a task; it is for the program that called init()"
            )
        _manta.shutdown()
        if _printer is not None:
            _printer.join()
            _printer = None


def is_initialized() -> bool:
    """Whether this process is connected to a cluster."""
    return _manta.is_connected()


def ensure_initialized() -> None:
    """Connects with the defaults unless that was done before."""
    if not _manta.is_connected():
        init(ignore_reinit_error=True)


def check_initialized() -> None:
    """For what tells of a cluster, which is no reason to start one."""
    if not _manta.is_connected():
        raise RaySystemError("this program has not joined a cluster: call init() first")


def _connect(
    address: str | None,
    num_cpus: float | None,
    object_store_memory: int | None,
    resources: list[tuple[str, float]],
    labels: list[tuple[str, str]],
    namespace: str,
    log_to_driver: bool,
    environment: dict[str, Any],
    infeasible_timeout_s: float | None,
) -> None:
    global _printer
    try:
        working_dir = os.getcwd()
    except FileNotFoundError as error:
        raise RuntimeError(
            "the current directory was removed; change to one that exists before init()"
        ) from error
    # The first function that is submitted needs it, and its cluster is just being started.
    _serialization.load_ahead()
    made = _runtime_env.packaged(_runtime_env.merged_with_job(environment))
    _manta.connect_driver(
        address=address,
        num_cpus=num_cpus,
        object_store_memory=object_store_memory,
        resources=resources,
        labels=labels,
        executable=sys.executable,
        language_version=LANGUAGE_VERSION,
        sys_path=_sys_path(working_dir, ships_files='"working_dir":' in made.json),
        env=_worker_env(),
        job_name=_job_name(),
        namespace=namespace,
        manta_bin=_packaged_binary(),
        with_output=log_to_driver,
        runtime_env=made.json,
        packages=made.packages,
        infeasible_timeout_s=infeasible_timeout_s,
    )
    if log_to_driver:
        _printer = _output.Printer()
        _printer.start()


def _job_name() -> str:
    """The program's file name; "python" for a prompt and for `-c`."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return "python" if program in ("", "-c") else program


def _sys_path(working_dir: str, ships_files: bool) -> list[str]:
    """The folders that a worker needs so as to import what this program can, without duplicates; '' is the working directory.

    With a working_dir of its own, a job's workers import the program's files from there and nowhere else.
    """
    folders = [
        os.path.abspath(os.path.join(working_dir, folder)) for folder in sys.path if isinstance(folder, str)
    ]
    if ships_files:
        own = {
            working_dir,
            os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv and sys.argv[0] else working_dir,
        }
        folders = [folder for folder in folders if folder not in own]
    return list(dict.fromkeys(folders))


def _worker_env() -> list[tuple[str, str]]:
    """What lets the interpreter of a worker find this package before it knows the job's search path."""
    if _PACKAGE_PARENT in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return []
    inherited = os.environ.get("PYTHONPATH")
    return [("PYTHONPATH", os.pathsep.join([_PACKAGE_PARENT, inherited] if inherited else [_PACKAGE_PARENT]))]


def _packaged_binary() -> str | None:
    """The `manta` program that was installed with this package, if one was."""
    binary = os.path.join(_PACKAGE_PARENT, "manta", "bin", "manta")
    return binary if os.access(binary, os.X_OK) else None


def binary() -> str:
    """The `manta` program, as `init` finds it."""
    found = os.environ.get("MANTA_BIN") or _packaged_binary() or shutil.which("manta")
    if not found:
        raise FileNotFoundError("the program 'manta' was not found: set MANTA_BIN, or put it on the PATH")
    return found


def _checked_resources(
    resources: Mapping[str, float] | None, num_gpus: float | None, memory: float | None
) -> list[tuple[str, float]]:
    if resources is not None and not isinstance(resources, Mapping):
        raise TypeError(f"'resources' must be a dict of names and amounts, not {type(resources).__name__}")
    amounts = dict(resources or {})
    for reserved, instead in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if reserved in amounts:
            raise AssertionError(f"give '{instead}' in place of '{reserved}' in 'resources'")
    if num_gpus is not None:
        amounts["GPU"] = num_gpus
    if memory is not None:
        amounts["memory"] = memory
    for name, amount in amounts.items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not amount >= 0:
            raise ValueError(f"the amount of the resource '{name}' must be 0 or more, not {amount!r}")
    return [(str(name), float(amount)) for name, amount in amounts.items()]


def _checked_store_bytes(object_store_memory: int | None) -> int | None:
    if object_store_memory is None:
        return None
    if isinstance(object_store_memory, bool) or not isinstance(object_store_memory, (int, float)):
        raise TypeError(f"'object_store_memory' must be a number of bytes, not {object_store_memory!r}")
    if object_store_memory < _STORE_BYTES_MIN:
        raise ValueError(
            f"'object_store_memory' must be {_STORE_BYTES_MIN} bytes or more, not {object_store_memory!r}"
        )
    return int(object_store_memory)


def _checked_labels(labels: Mapping[str, str] | None) -> list[tuple[str, str]]:
    if labels is None:
        return []
    if not isinstance(labels, Mapping):
        raise TypeError(f"'labels' must be a dict, not {type(labels).__name__}")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key or {"=", ","} & {*key, *value}:
            raise ValueError(f"labels are texts without '=' and ',': {key!r}: {value!r}")
    return list(labels.items())


def _checked_address(address: str | None) -> str | None:
    if address is None or isinstance(address, str):
        if address and address.startswith("ray://"):
            raise ValueError(
                f"'{address}': there is no client mode; give the head's address as HOST:PORT, without ray://"
            )
        host, _, port = address.rpartition(":") if address else ("", "", "")
        is_known = ":" not in host or (host.startswith("[") and host.endswith("]"))
        is_address = is_known and port.isdecimal() and int(port) < 2**16
        if address and address not in ("auto", "local") and not is_address:
            raise ValueError(f"Invalid address format: '{address}' is not HOST:PORT, such as 127.0.0.1:6480")
        return address or None
    raise TypeError(f"'address' must be text such as 127.0.0.1:6480, not {type(address).__name__}")


def _refuse_unknown(given: dict[str, Any]) -> None:
    if given.pop("local_mode", False):
        raise RuntimeError(
            "`local_mode` is no longer supported, as in Ray: tasks run in workers, where the debugger 'manta dap' stops in them"
        )
    not_yet = sorted(name for name in given if name in _NOT_YET and given[name] not in (None, False))
    if not_yet:
        raise NotImplementedError(f"init() does not support {', '.join(not_yet)} yet; leave it out")
    unknown = sorted(name for name in given if name not in _NOT_YET and name not in _WITHOUT_EFFECT)
    if unknown:
        raise RuntimeError(
            f"Unknown keyword argument(s): {', '.join(unknown)}: init() has no argument of that name"
        )


def _context() -> RayContext:
    return RayContext({**_ray_names(), **_manta.context()}, _version())


def _version() -> str:
    from manta import __version__

    return __version__


def _ray_names() -> dict[str, Any]:
    """What Ray's context has beside ours; what does not exist here is None."""
    context = _manta.context()
    host = str(context["address"]).rpartition(":")[0]
    absent = (
        "redis_address",
        "raylet_socket_name",
        "webui_url",
        "metrics_export_port",
        "dashboard_agent_listen_port",
    )
    return {"node_ip_address": host, **dict.fromkeys(absent)}


def _at_exit() -> None:
    if _manta.is_connected() and not _manta.is_worker():
        shutdown()


def _forget_after_fork() -> None:
    global _lock, _printer
    _lock = threading.RLock()
    _printer = None
    _manta.forget()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_at_exit)
