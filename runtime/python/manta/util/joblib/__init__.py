"""joblib's `Parallel` on a cluster: `register_ray()`, then `with joblib.parallel_config(backend="ray")`. joblib has to be installed."""

from typing import Any

__all__ = ["register_ray"]


def register_ray() -> None:
    """Makes joblib know the backend "ray"."""
    from joblib import register_parallel_backend

    from manta.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)


def __getattr__(name: str) -> Any:
    if name == "RayBackend":
        from manta.util.joblib.ray_backend import RayBackend

        return RayBackend
    raise AttributeError(f"module 'manta.util.joblib' has no attribute '{name}'")
