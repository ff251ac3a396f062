"""Manta's Python API: functions that run as tasks on a cluster, with Ray's names.

import manta as ray

@ray.remote
def square(x):
    return x * x

print(ray.get([square.remote(i) for i in range(4)]))
"""

import importlib
from typing import TYPE_CHECKING, Any

from manta import exceptions, runtime_env, util
from manta._api import available_resources, cancel, cluster_resources, get, nodes, put, remote, wait
from manta._generator import DynamicObjectRefGenerator, ObjectRefGenerator
from manta._ids import (
    ActorClassID,
    ActorID,
    ClusterID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)
from manta._manta import ObjectRef
from manta._session import init, is_initialized, shutdown
from manta._timeline import timeline
from manta.actor import ActorClass, ActorHandle, get_actor, kill, method
from manta.cross_language import rust_actor_class, rust_function
from manta.remote_function import RemoteFunction
from manta.runtime_context import get_gpu_ids, get_runtime_context

if TYPE_CHECKING:
    from manta import cloudpickle, dag, job_config, job_submission
    from manta._logging import LoggingConfig

# Ray's older name of the same.
ObjectID = ObjectRef

__version__ = "0.1.0"

__all__ = [
    "ActorClass",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "RemoteFunction",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "cloudpickle",
    "cluster_resources",
    "cross_language",
    "dag",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "job_config",
    "job_submission",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "runtime_env",
    "rust_actor_class",
    "rust_function",
    "shutdown",
    "timeline",
    "util",
    "wait",
]

# fmt: off
_NOT_YET = frozenset({
    "autoscaler", "data", "llm", "rllib",
    "serve", "train", "tune", "workflow",
})
# fmt: on


def __getattr__(name: str) -> Any:
    if name in ("cloudpickle", "dag", "experimental", "job_config", "job_submission"):
        # Read when it is first used: workers start sooner without it.
        return importlib.import_module(f"manta.{name}")
    if name == "LoggingConfig":
        return importlib.import_module("manta._logging").LoggingConfig
    if name in _NOT_YET:
        raise AttributeError(
            f"Ray's '{name}' is not supported yet: Manta has functions as tasks, and objects"
        )
    raise AttributeError(f"module 'manta' has no attribute '{name}'")
