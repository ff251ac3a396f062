"""joblib's backend "ray": its calls run in a pool of actors."""

from __future__ import annotations

from typing import Any

from joblib._parallel_backends import FallbackToBackend, MultiprocessingBackend, SequentialBackend
from joblib.parallel import Parallel

from manta import _api
from manta.util.multiprocessing import Pool

__all__ = ["RayBackend"]


class RayBackend(MultiprocessingBackend):  # type: ignore[misc]
    """Runs joblib's calls in a pool of actors.

    Args:
        ray_remote_args: Options of the actors; those that `Parallel` is given come first.
        options: joblib's own.
    """

    def __init__(self, *args: Any, ray_remote_args: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._remote_args = ray_remote_args

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **_for_files_in_memory: Any,
    ) -> int:
        """Starts the pool, and answers with how many actors it has."""
        del prefer, require
        count = self.effective_n_jobs(n_jobs)
        if count == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self._pool = Pool(count, ray_remote_args=ray_remote_args or self._remote_args)
        self.parallel = parallel
        return count

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many actors there are for `n_jobs`: for -1, as many as the cluster has CPUs; for -2, one fewer; and so on."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            return max(1, int(_api.cluster_resources().get("CPU", 1)) + 1 + n_jobs)
        return n_jobs
