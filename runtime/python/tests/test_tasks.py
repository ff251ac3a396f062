"""Tasks: what goes in, what comes out, options, nesting."""

from __future__ import annotations

import concurrent.futures
import os
import threading

import pytest

import manta
from manta import exceptions


def test_a_task_runs_in_another_process_and_returns_its_value(ray):
    @ray.remote
    def double(x, *, plus=0):
        return os.getpid(), 2 * x + plus

    pid, value = ray.get(double.remote(20, plus=2))
    assert value == 42
    assert pid != os.getpid()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**31,
        -(2**40),
        2**63,
        2**200,
        1.5,
        float("inf"),
        "",
        "text",
        "é" * 300,
        "\ud800",
        b"",
        b"x" * 300_000,
        (),
        [1, [2]],
        {"a": (1, 2)},
        {1, 2},
        range(3),
        1 + 2j,
        int,
        len,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_arrive_as_they_were(ray, value):
    @ray.remote
    def same(x):
        return x, [x]

    arrived = ray.get(same.remote(value))
    assert arrived == (value, [value])
    assert type(arrived[0]) is type(value)
    assert ray.get(ray.put(value)) == value


def test_many_tasks_return_in_their_order(ray):
    @ray.remote
    def square(x):
        return x * x

    assert ray.get([square.remote(i) for i in range(2000)]) == [i * i for i in range(2000)]


def test_closures_lambdas_and_recursion(ray):
    factor = 3
    assert ray.get(ray.remote(lambda x: x * factor).remote(4)) == 12

    @ray.remote
    def fibonacci(n):
        return n if n < 2 else sum(ray.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))

    assert ray.get(fibonacci.remote(6)) == 8


def test_nested_tasks_deeper_than_the_cpus(ray):
    @ray.remote
    def deeper(levels):
        return 0 if levels == 0 else 1 + ray.get(deeper.remote(levels - 1))

    assert ray.get(deeper.remote(8)) == 8


def test_a_task_whose_threads_wait_gives_its_cpus_back(ray):
    @ray.remote
    def square(x):
        return x * x

    @ray.remote(num_cpus=2)
    def takes_all():
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda i: ray.get(square.remote(i)), range(8)))

    assert ray.get(takes_all.remote(), timeout=30) == [i * i for i in range(8)]


def test_num_returns(ray):
    @ray.remote(num_returns=3)
    def three():
        return 1, 2, 3

    assert ray.get(three.remote()) == [1, 2, 3]
    first, second = three.options(num_returns=2).remote(), three.options(num_returns=1).remote()
    assert ray.get(second) == (1, 2, 3)
    with pytest.raises(ValueError, match="has num_returns=2, but returned 3 values"):
        ray.get(first[0])
    with pytest.raises(TypeError, match="num_returns=2, but returned one int"):
        ray.get(ray.remote(lambda: 7).options(num_returns=2).remote()[1])
    assert three.options(num_returns=0).remote() is None


def test_names_and_ids_are_known_inside_the_task(ray):
    @ray.remote
    def who():
        context = ray.get_runtime_context()
        return (
            context.get_task_name(),
            context.get_task_id(),
            context.get_job_id(),
            context.get_worker_id(),
            context.get_node_id(),
        )

    ref = who.options(name="census").remote()
    name, task_id, job_id, worker_id, node_id = ray.get(ref)
    mine = ray.get_runtime_context()
    assert name == "census"
    assert task_id == ref.task_id().hex()
    assert job_id == mine.get_job_id()
    assert node_id == mine.get_node_id()
    assert worker_id != mine.get_worker_id()
    assert mine.get_task_id() is None


def test_refs_are_resolved_as_arguments_and_stay_refs_inside_values(ray):
    @ray.remote
    def add(x, y):
        return x + y

    @ray.remote
    def kind(ref, inside):
        return ref, type(inside[0]).__name__, ray.get(inside[0])

    one = add.remote(0, 1)
    assert ray.get(add.remote(one, y=add.remote(one, one))) == 3
    assert ray.get(kind.remote(one, [one])) == (1, "ObjectRef", 1)


def test_refs_come_back_from_tasks(ray):
    @ray.remote
    def indirect():
        return [ray.put("inner"), ray.remote(lambda: "task").remote()]

    assert ray.get(ray.get(indirect.remote())) == ["inner", "task"]


def test_a_ref_captured_by_a_function_stays_alive(ray):
    def make():
        ref = ray.put("captured")
        return ray.remote(lambda: ray.get(ref))

    function = make()
    assert [ray.get(function.remote()) for _ in range(3)] == ["captured"] * 3


def test_tasks_run_at_the_same_time(ray, tmp_path):
    # Each opens its own pipe for writing, which waits for the other's opening for reading, in another process.
    def cross(write, read):
        writer = threading.Thread(target=lambda: open(write, "w").close())
        writer.start()
        open(read).close()
        writer.join()
        return True

    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    os.mkfifo(left)
    os.mkfifo(right)
    cross = ray.remote(cross)
    assert ray.get([cross.remote(left, right), cross.remote(right, left)], timeout=30) == [True, True]


def test_a_remote_function_is_not_called_directly(ray):
    @ray.remote
    def f():
        return 1

    with pytest.raises(TypeError, match=r"call .*f\.remote\(\.\.\.\)"):
        f()


def test_wrong_arguments_are_refused_at_the_call(ray):
    @ray.remote
    def f(a, b=1, *, c=2):
        return a, b, c

    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        f.remote()
    with pytest.raises(TypeError, match="too many positional"):
        f.remote(1, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        f.remote(1, d=4)
    assert ray.get(f.remote(1, c=3)) == (1, 1, 3)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"num_cpu": 1}, ValueError, "'num_cpu' is not an option"),
        ({"num_cpus": -1}, ValueError, "0 or more"),
        ({"num_cpus": "1"}, TypeError, "a number"),
        ({"num_returns": "many"}, TypeError, "a whole number"),
        ({"resources": {"CPU": 1}}, ValueError, "give 'num_cpus'"),
        ({"object_store_memory": 1}, ValueError, "not supported yet"),
        ({"fallback_strategy": [{}]}, ValueError, "must be a dict such as"),
        ({"max_retries": -2}, ValueError, "-1"),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        manta.remote(**options)(lambda: None)


def test_what_is_not_there_yet_says_so():
    with pytest.raises(AttributeError, match="'serve' is not supported yet"):
        manta.serve()
    assert not hasattr(manta, "nothing_of_the_kind")


def test_too_many_cpus_is_an_error(ray):
    big = ray.remote(num_cpus=1000)(lambda: None)
    with pytest.raises(exceptions.TaskUnschedulableError) as raised:
        ray.get(big.remote(), timeout=30)
    assert "1000" in str(raised.value) and "CPU" in str(raised.value)


def test_an_unknown_resource_is_an_error(ray):
    with pytest.raises(exceptions.TaskUnschedulableError, match="unobtainium"):
        ray.get(ray.remote(resources={"unobtainium": 1})(lambda: None).remote(), timeout=30)


def test_threads_of_a_program_share_the_connection(ray):
    @ray.remote
    def same(x):
        return x

    results: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: ray.get(same.remote(i))})) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert results == {i: i for i in range(8)}


def test_resources_of_the_cluster(ray):
    assert ray.cluster_resources()["CPU"] == 2
    (node,) = ray.nodes()
    assert (
        node["Alive"]
        and node["Resources"]["CPU"] == 2
        and node["NodeID"] == ray.get_runtime_context().get_node_id()
    )
