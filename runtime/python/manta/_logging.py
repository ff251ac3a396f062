"""How the records of `logging` look in a job's program and its workers: `init(logging_config=LoggingConfig(...))`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from typing import Any

from manta._session import LOGGING_VARIABLE

ENCODINGS = ("TEXT", "JSON")
# What every record has, of which a configuration can ask for more.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_ALWAYS = ("asctime", "levelname", "message", "filename", "lineno")


@dataclasses.dataclass
class LoggingConfig:
    """The format and the lowest level of the records of a job.

    Args:
        encoding: "TEXT" for lines, "JSON" for an object a line. Both say which job, node, worker, actor and task wrote the record.
        log_level: The lowest level that is shown.
        additional_log_standard_attrs: Further attributes of `logging.LogRecord` to show, such as "name".
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"Invalid encoding type: {self.encoding}. Valid encoding types are: {ENCODINGS}")
        for attribute in self.additional_log_standard_attrs:
            if attribute not in _STANDARD:
                raise ValueError(
                    f"Unknown python logging standard attribute: {attribute}. The valid attributes are: {sorted(_STANDARD)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LoggingConfig:
        """From what `to_dict` made; other keys are let go."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in d.items() if name in known})

    def apply(self) -> None:
        """Has this process write its records so, in place of what an earlier configuration said."""
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter(self))
        root = logging.getLogger()
        for other in [other for other in root.handlers if isinstance(other.formatter, _Formatter)]:
            root.removeHandler(other)
        root.addHandler(handler)
        root.setLevel(self.log_level)


def apply_of_job() -> None:
    """In a worker: what its job's program was given."""
    LoggingConfig.from_dict(json.loads(os.environ[LOGGING_VARIABLE])).apply()


class _Formatter(logging.Formatter):
    def __init__(self, config: LoggingConfig) -> None:
        super().__init__()
        self._config = config

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        wanted = self._config.additional_log_standard_attrs
        more = {name: getattr(record, name, None) for name in wanted if name not in _ALWAYS}
        more |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        more = {"process": record.process, **more, **_context()}
        more["timestamp_ns"] = time.time_ns()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._config.encoding == "JSON":
            shown = {name: getattr(record, name) for name in _ALWAYS} | more
            return json.dumps(shown | ({"exc_text": trace} if trace else {}), default=str)
        head = f"{record.asctime} {record.levelname} {record.filename}:{record.lineno} -- {record.message}"
        line = " ".join([head, *(f"{name}={value}" for name, value in more.items())])
        return f"{line}\n{trace}" if trace else line


def _context() -> dict[str, str]:
    """Who writes."""
    from manta import _manta, runtime_context

    if not _manta.is_connected():
        return {}
    here = runtime_context.RuntimeContext()
    found = {
        "job_id": here.get_job_id(),
        "worker_id": here.get_worker_id(),
        "node_id": here.get_node_id(),
        "actor_id": here.get_actor_id(),
        "actor_name": here.get_actor_name(),
        "task_id": here.get_task_id(),
        "task_name": here.get_task_name(),
        "task_func_name": here.get_task_function_name(),
    }
    return {name: value for name, value in found.items() if value}
