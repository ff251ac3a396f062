"""Measures of the program's own, on the cluster's page for Prometheus: Counter, Gauge and Histogram with Ray's arguments.

Values are kept in the process and reported once a second by a thread that starts with the first of them.
"""

from __future__ import annotations

import atexit
import bisect
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from manta import _manta

__all__ = ["Counter", "Gauge", "Histogram"]

REPORT_SECONDS = 1.0
SERIES_MAX = 10_000

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class _Series:
    """The newest value of a measure with some tags."""

    __slots__ = ("counts", "value")

    def __init__(self, buckets: int) -> None:
        self.value = 0.0
        self.counts = [0] * buckets


class _Registry:
    """All measures of this process, and the thread that reports those that changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[tuple[Metric, tuple[tuple[str, str], ...]], _Series] = {}
        self._changed: set[tuple[Metric, tuple[tuple[str, str], ...]]] = set()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def record(self, metric: Metric, tags: tuple[tuple[str, str], ...], value: float) -> None:
        key = (metric, tags)
        with self._lock:
            series = self._series.get(key)
            if series is None:
                if len(self._series) >= SERIES_MAX:
                    raise ValueError(
                        f"this process has {SERIES_MAX} measures with different tags already; use tags with fewer values"
                    )
                series = self._series[key] = _Series(metric._buckets)
            metric._add(series, value)
            self._changed.add(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="manta-metrics", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(REPORT_SECONDS):
            self.report()

    def report(self) -> None:
        """Reports what changed since the last time; what cannot be reported yet waits."""
        if not _manta.is_connected():
            return
        with self._lock:
            measures = [
                (
                    _exported(metric._name),
                    metric._description,
                    metric._kind,
                    list(tags),
                    self._series[metric, tags].value,
                    list(metric._boundaries),
                    list(self._series[metric, tags].counts),
                )
                for metric, tags in self._changed
            ]
            self._changed.clear()
        if measures:
            try:
                _manta.report_measures(measures)
            except RuntimeError:
                return  # The connection ended in between, and nobody is there to be told.


def _exported(name: str) -> str:
    """The name as Prometheus takes it: letters, digits and '_', and no digit first."""
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return clean if _NAME.fullmatch(clean) else f"_{clean}"


_registry = _Registry()


class Metric:
    """What the three kinds have in common."""

    _kind = ""
    _boundaries: tuple[float, ...] = ()
    _buckets = 0

    def __init__(self, name: str, description: str = "", tag_keys: Sequence[str] | None = None) -> None:
        if not isinstance(name, str) or not name:
            kind = ValueError if isinstance(name, str) else TypeError
            raise kind("Empty name is not allowed. Please provide a metric name.")
        if tag_keys is not None and (isinstance(tag_keys, str) or not isinstance(tag_keys, (tuple, list))):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
            if not _NAME.fullmatch(key):
                raise ValueError(
                    f"'{key}' cannot be a tag: it has letters, digits and '_', and begins with no digit"
                )
        self._name = name
        self._description = description
        self._tag_keys = tuple(tag_keys or ())
        self._default_tags: dict[str, str] = {}

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": dict(self._default_tags),
        }

    def set_default_tags(self, default_tags: Mapping[str, str]) -> Metric:
        """Tags that are there without being given each time."""
        for key in default_tags:
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
        self._check(default_tags)
        self._default_tags = dict(default_tags)
        return self

    def _check(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            # As in Ray, a value may have tags that its metric did not name.
            if key not in self._tag_keys and not (isinstance(key, str) and _NAME.fullmatch(key)):
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")

    def _record(self, value: float, tags: Mapping[str, str] | None) -> None:
        given = tags or {}
        if not isinstance(given, Mapping):
            raise TypeError(f"tags must be a dict, not {type(given).__name__}")
        self._check(given)
        complete = {**self._default_tags, **given}
        missing = [key for key in self._tag_keys if key not in complete]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        _registry.record(self, tuple(sorted(complete.items())), float(value))

    def _add(self, series: _Series, value: float) -> None:
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys


def _rebuild(kind: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    return kind(*arguments).set_default_tags(default_tags)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")
    return value


class Counter(Metric):
    """A count that only grows. Those of all processes are added up."""

    _kind = "counter"

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Counts more."""
        if not _number(value) > 0:
            raise ValueError(f"value must be >0, got {value}")
        self._record(value, tags)

    def _add(self, series: _Series, value: float) -> None:
        series.value += value


class Gauge(Metric):
    """A value that goes up and down, of each process."""

    _kind = "gauge"

    def set(self, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """The value from now on; None changes nothing."""
        if value is not None:
            self._record(_number(value), tags)

    def _add(self, series: _Series, value: float) -> None:
        series.value = value


class Histogram(Metric):
    """How often values fell between boundaries. Those of all processes are added up."""

    _kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. e.g., Histogram('name', boundaries=[1.0, 2.0])"
            )
        for boundary in boundaries:
            if not _number(boundary) > 0:
                raise ValueError(f"Invalid `boundaries` argument: values must be positive, got {boundary}")
        if list(boundaries) != sorted(set(boundaries)):
            raise ValueError(f"Invalid `boundaries` argument: they must rise, and {list(boundaries)} do not")
        self._boundaries = tuple(float(boundary) for boundary in boundaries)
        self._buckets = len(self._boundaries) + 1

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": list(self._boundaries)}

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        """One more value."""
        self._record(_number(value), tags)

    def _add(self, series: _Series, value: float) -> None:
        series.value += value
        series.counts[bisect.bisect_left(self._boundaries, value)] += 1

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._boundaries, self._tag_keys


# The last second counts too; a program's connection ends after this.
atexit.register(_registry.report)
