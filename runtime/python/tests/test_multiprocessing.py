"""`util.multiprocessing.Pool`, beside the standard library's promises."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from conftest import Gate

from manta.util.multiprocessing import Pool, TimeoutError


@pytest.fixture(scope="module")
def pool(ray: object) -> Iterator[Pool]:
    """Two processes."""
    with Pool(2) as made:
        yield made


def double(x: int) -> int:
    return 2 * x


def set_variable(name: str, value: str) -> None:
    os.environ[name] = value


def variable(name: str) -> str | None:
    return os.environ.get(name)


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def test_maps_and_calls(pool: Pool) -> None:
    assert pool.map(double, range(100)) == [2 * x for x in range(100)]
    assert pool.map(double, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)], chunksize=1) == [8, 9]
    assert pool.apply(int, ("ff",), {"base": 16}) == 255
    assert pool.apply_async(double, (4,)).get(timeout=30) == 8
    assert list(pool.imap(double, range(20), chunksize=3)) == [2 * x for x in range(20)]
    assert sorted(pool.imap_unordered(double, range(20))) == [2 * x for x in range(20)]
    assert len({*pool.map(lambda _: os.getpid(), range(8), chunksize=1)}) == 2


def test_an_endless_input_is_taken_as_it_is_needed(pool: Pool) -> None:
    assert list(itertools.islice(pool.imap(double, itertools.count()), 3)) == [0, 2, 4]


def test_exceptions_are_raised_where_results_are_taken(pool: Pool) -> None:
    for call in (
        lambda: pool.map(fail, [1]),
        lambda: pool.apply(fail, (1,)),
        lambda: next(pool.imap(fail, [1])),
    ):
        with pytest.raises(ValueError, match="no 1"):
            call()
    result = pool.map_async(fail, [1])
    result.wait(30)
    assert result.ready() and not result.successful()


def test_callbacks_and_waiting(pool: Pool, gate: Gate) -> None:
    seen: list[object] = []
    held = pool.apply_async(gate.__reduce__()[0](gate.path).wait, callback=seen.append)  # type: ignore[operator]
    assert not held.ready()
    with pytest.raises(ValueError, match="not ready"):
        held.successful()
    with pytest.raises(TimeoutError):
        held.get(timeout=0.01)
    gate.open()
    assert held.get(timeout=30) is None
    failed = pool.apply_async(fail, (2,), error_callback=seen.append)
    failed.wait(30)
    held._thread.join(30)
    failed._thread.join(30)
    assert seen[0] is None and str(seen[1]) == "no 2"


def test_initializer_end_and_bad_input(ray: object) -> None:
    with pytest.raises(ValueError, match="only 2 CPUs"):
        Pool(100)
    with pytest.raises(ValueError, match="must be >0"):
        Pool(0)
    with pytest.raises(TypeError, match="must be callable"):
        Pool(1, initializer=5)  # type: ignore[arg-type]
    with Pool(1, set_variable, ("POOL", "made"), ray_remote_args={"num_cpus": 0}) as pool:
        assert pool.apply(variable, ("POOL",)) == "made"
        with pytest.raises(ValueError, match="still running"):
            pool.join()
        with pytest.raises(ValueError, match="Chunksize"):
            pool.map(double, [1], chunksize=0)
        result = pool.map_async(double, range(3))
        pool.close()
        pool.join()
        assert result.get(timeout=30) == [0, 2, 4]
        with pytest.raises(ValueError, match="not running"):
            pool.apply(double, (1,))
    with Pool(1, maxtasksperchild=1, ray_remote_args={"num_cpus": 0}) as pool:
        assert pool.apply(os.getpid) != pool.apply(os.getpid)
