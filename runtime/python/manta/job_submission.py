"""Jobs whose driver the cluster runs itself, under Ray's names. The client talks to the head over the cluster's own channel."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from manta import _manta, _runtime_env

__all__ = [
    "DriverInfo",
    "JobDetails",
    "JobErrorType",
    "JobInfo",
    "JobStatus",
    "JobSubmissionClient",
    "JobType",
]

POLL_SECONDS = 0.1


class JobStatus(str, enum.Enum):
    """How a job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    def __str__(self) -> str:
        return self.value

    def is_terminal(self) -> bool:
        """Whether it changes no more."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


class JobType(str, enum.Enum):
    """Who started the job's driver."""

    SUBMISSION = "SUBMISSION"
    DRIVER = "DRIVER"


class JobErrorType(str, enum.Enum):
    """Why a job failed. Those of Ray's supervisor actors never happen: a node looks after the driver itself."""

    RUNTIME_ENV_SETUP_FAILURE = "RUNTIME_ENV_SETUP_FAILURE"
    JOB_SUPERVISOR_ACTOR_START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
    JOB_SUPERVISOR_ACTOR_START_FAILURE = "JOB_SUPERVISOR_ACTOR_START_FAILURE"
    JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE = "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
    JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE = "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"

    def __str__(self) -> str:
        return self.value


@dataclasses.dataclass(frozen=True)
class DriverInfo:
    """Where a job's driver runs."""

    id: str
    node_ip_address: str
    pid: str


@dataclasses.dataclass(frozen=True)
class JobDetails:
    """What is known of a job. Times are milliseconds since 1970."""

    type: JobType
    submission_id: str | None
    job_id: str | None
    status: JobStatus
    entrypoint: str
    message: str | None
    start_time: int | None
    end_time: int | None
    metadata: dict[str, str]
    runtime_env: dict[str, Any]
    driver_node_id: str | None
    driver_exit_code: int | None
    driver_info: DriverInfo | None = None
    error_type: JobErrorType | None = None


@dataclasses.dataclass
class JobInfo:
    """What is known of a submitted job, as Ray keeps it. Clients answer with `JobDetails`."""

    status: JobStatus
    entrypoint: str
    message: str | None = None
    error_type: JobErrorType | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            name: str(value) if isinstance(value, enum.Enum) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, json_dict: Mapping[str, Any]) -> JobInfo:
        """From what `to_json` answered."""
        fields = dict(json_dict)
        fields["status"] = JobStatus(fields["status"])
        if fields.get("error_type") is not None:
            fields["error_type"] = JobErrorType(fields["error_type"])
        return cls(**fields)


class JobSubmissionClient:
    """Submits jobs to a cluster and looks after them.

    Args:
        address: The head's HOST:PORT; MANTA_ADDRESS, or the head on this machine, when left out.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        verify: str | bool | None = True,
    ) -> None:
        if address is not None and not isinstance(address, str):
            raise TypeError(f"'address' must be text such as 127.0.0.1:6480, not {type(address).__name__}")
        if create_cluster_if_needed:
            raise ValueError(
                "'create_cluster_if_needed' is not supported; start a cluster with 'manta start'"
            )
        # What is sent over HTTP has no place here: the token is what lets a client in.
        del cookies, headers, verify
        self._default_metadata = dict(metadata or {})
        if address in ("auto", ""):
            address = None
        for scheme in ("ray://", "http://", "https://", "manta://"):
            if address and address.startswith(scheme):
                address = address.removeprefix(scheme).rstrip("/")
        self._head = _manta.Head(address)

    def get_address(self) -> str:
        """The head's address."""
        return self._head.address

    def get_version(self) -> str:
        """The version of this package."""
        import manta

        return manta.__version__

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
    ) -> str:
        """Submits a job, and answers with its submission id at once."""
        if not isinstance(entrypoint, str):
            raise TypeError(f"'entrypoint' must be text, not {type(entrypoint).__name__}")
        if entrypoint_label_selector:
            raise ValueError(
                "'entrypoint_label_selector' is not supported; give resources that only the right nodes have"
            )
        facts = {**self._default_metadata, **(metadata or {})}
        for key, value in facts.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"metadata must be a dict of texts; {key!r}: {value!r} is not")
        amounts = {
            "CPU": entrypoint_num_cpus,
            "GPU": entrypoint_num_gpus,
            "memory": entrypoint_memory,
            **(entrypoint_resources or {}),
        }
        made = _runtime_env.packaged(_runtime_env.checked(runtime_env or {}))
        if made.packages:
            self._head.put_packages(made.packages)
        resources = [(name, float(amount)) for name, amount in amounts.items() if amount]
        return self._head.submit_job(
            submission_id or job_id or "", entrypoint, made.json, sorted(facts.items()), resources
        )

    def stop_job(self, job_id: str) -> bool:
        """Ends a job; False when it had ended."""
        return self._head.stop_job(job_id)

    def delete_job(self, job_id: str) -> bool:
        """Forgets a job that has ended."""
        self._head.delete_job(job_id)
        return True

    def get_job_status(self, job_id: str) -> JobStatus:
        """How a job is."""
        return self.get_job_info(job_id).status

    def get_job_info(self, job_id: str) -> JobDetails:
        """What is known of a job."""
        return _details(self._row(job_id))

    def list_jobs(self) -> list[JobDetails]:
        """All jobs: those that were submitted, and those whose driver joined by itself."""
        submitted = [_details(row) for row in self._rows("submitted-jobs")]
        drivers = [_of_driver(row) for row in self._rows("jobs") if not row["submission_id"]]
        return submitted + drivers

    def get_job_logs(self, job_id: str) -> str:
        """What the job's driver has printed."""
        return b"".join(self._log(self._row(job_id), follow=False)).decode(errors="replace")

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What the job's driver prints, as it comes, until the job has ended."""
        loop = asyncio.get_running_loop()
        row = await loop.run_in_executor(None, self._row, job_id)
        while row["status"] == "PENDING":
            await asyncio.sleep(POLL_SECONDS)
            row = await loop.run_in_executor(None, self._row, job_id)
        parts = self._log(row, follow=True)
        while (part := await loop.run_in_executor(None, next, parts, None)) is not None:
            yield part.decode(errors="replace")

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self._head.list_state(kind, [])[0]]

    def _row(self, job_id: str) -> dict[str, Any]:
        for row in self._rows("submitted-jobs"):
            if job_id in (row["submission_id"], row["job_id"]):
                return row
        raise RuntimeError(f"Job {job_id} does not exist: no submitted job has that id")

    def _log(self, row: dict[str, Any], follow: bool) -> Iterator[bytes]:
        if not row["started_unix_ms"]:
            return
        if row["node_name"] is None:
            raise RuntimeError(
                f"the node that ran the driver of '{row['submission_id']}' has left the cluster, and its logs with it"
            )
        name = f"job-driver-{row['submission_id']}.log"
        answer = self._head.read_log(row["node_id"], name, -1, follow)
        while (part := answer.next()) is not None:
            yield part


def _details(row: dict[str, Any]) -> JobDetails:
    status = JobStatus(row["status"])
    pid = row["driver_pid"]
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=row["submission_id"],
        job_id=row["job_id"] or None,
        status=status,
        entrypoint=row["entrypoint"],
        message=row["message"],
        start_time=row["started_unix_ms"] or row["submitted_unix_ms"],
        end_time=row["ended_unix_ms"] or None,
        metadata=row["metadata"],
        runtime_env=json.loads(row["runtime_env"] or "{}"),
        driver_node_id=row["node_id"] or None,
        driver_exit_code=row["exit_code"],
        driver_info=DriverInfo(row["job_id"], row["node_name"] or "", str(pid)) if pid else None,
        error_type=_error_type(row) if status is JobStatus.FAILED else None,
    )


def _error_type(row: dict[str, Any]) -> JobErrorType | None:
    if row["exit_code"] is not None:
        return JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR
    if row["environment_failed"]:
        return JobErrorType.RUNTIME_ENV_SETUP_FAILURE
    return None if row["started_unix_ms"] else JobErrorType.JOB_ENTRYPOINT_COMMAND_START_ERROR


def _of_driver(row: dict[str, Any]) -> JobDetails:
    running = row["state"] == "RUNNING"
    return JobDetails(
        type=JobType.DRIVER,
        submission_id=None,
        job_id=row["job_id"],
        # How a driver that joined by itself has ended is nobody's business but its parent's.
        status=JobStatus.RUNNING if running else JobStatus.SUCCEEDED,
        entrypoint=row["name"],
        message=None,
        start_time=row["started_unix_ms"],
        end_time=row["ended_unix_ms"] or None,
        metadata={},
        runtime_env={},
        driver_node_id=row["node_id"] or None,
        driver_exit_code=None,
        driver_info=DriverInfo(row["job_id"], row["node_name"] or "", str(row["driver_pid"])),
    )
