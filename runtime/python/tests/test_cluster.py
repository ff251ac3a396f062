"""Connections: private clusters that leave no trace, two nodes, programs that are killed."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path

import numpy
import pytest
from conftest import descendants, start_script

import manta
from manta import exceptions

DRIVER = """
    import sys
    import numpy
    import manta as ray

    ray.init(num_cpus=2)
    kept = ray.put(numpy.ones(1_000_000))
    assert ray.get(ray.remote(lambda x: int(x.sum())).remote(kept)) == 1_000_000
    context = ray.init(ignore_reinit_error=True)
    print(context["session_dir"], context["node_id"], flush=True)
    sys.stdin.read()
"""


class PrivateCluster:
    """A program with a private cluster, and all that it consists of."""

    def __init__(self, folder: Path) -> None:
        self.driver = start_script(DRIVER, folder)
        session_dir, node_id = self.driver.stdout.readline().split()
        self.folders = [Path(session_dir).parent, Path(f"/dev/shm/manta-{os.getuid()}-{node_id[:8]}")]
        assert all(folder.is_dir() for folder in self.folders), self.folders
        self.processes = descendants(self.driver.pid)
        assert len(self.processes) >= 2, "the cluster and a worker"

    def assert_gone(self) -> None:
        """Waits, for each process, until the kernel says that it ended; then nothing may be left in the file system."""
        for pid, descriptor in self.processes.items():
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(20_000), f"process {pid} outlived its driver"
            os.close(descriptor)
        assert [str(folder) for folder in self.folders if folder.exists()] == []


def test_a_private_cluster_ends_with_its_program(tmp_path):
    cluster = PrivateCluster(tmp_path)
    cluster.driver.communicate(timeout=30)
    assert cluster.driver.returncode == 0
    cluster.assert_gone()


def test_a_private_cluster_ends_when_its_program_is_killed(tmp_path):
    cluster = PrivateCluster(tmp_path)
    cluster.driver.send_signal(signal.SIGKILL)
    cluster.driver.wait(timeout=30)
    cluster.assert_gone()


def test_ctrl_c_interrupts_get(tmp_path):
    driver = start_script(
        """
        import fcntl, signal, sys
        import manta as ray

        @ray.remote
        def blocked(path):
            with open(path) as file:
                fcntl.flock(file, fcntl.LOCK_SH)

        # Whoever starts the tests in the background of a script has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ray.init(num_cpus=1)
        lock = open(sys.argv[1], "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        ref = blocked.remote(sys.argv[1])
        try:
            print("waiting", flush=True)
            ray.get(ref)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        lock.close()
        print("result", ray.get(ref), flush=True)
        """,
        tmp_path,
        str(tmp_path / "lock"),
    )
    assert driver.stdout.readline() == "waiting\n"
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=30)
    assert out == "interrupted\nresult None\n"


def test_two_nodes_share_tasks_and_objects(two_nodes, monkeypatch, tmp_path):
    monkeypatch.setenv("MANTA_TOKEN", two_nodes.token)
    with manta.init(address=two_nodes.address):
        assert len(manta.nodes()) == 2
        assert manta.cluster_resources()["CPU"] == 2

        @manta.remote
        def where(array, mine, other):
            # Each task waits for the other, so both nodes must run one.
            opener = threading.Thread(target=lambda: open(mine, "w").close())
            opener.start()
            open(other).close()
            opener.join()
            return manta.get_runtime_context().get_node_id(), array * 2

        array = manta.put(numpy.arange(1_000_000))
        results = manta.get(run_pair(where, array, tmp_path), timeout=60)
        assert {node for node, _ in results} == {node["NodeID"] for node in manta.nodes()}
        for _, doubled in results:
            assert numpy.array_equal(doubled, numpy.arange(1_000_000) * 2)


def run_pair(function, array, folder):
    left, right = str(folder / "left"), str(folder / "right")
    os.mkfifo(left)
    os.mkfifo(right)
    return [function.remote(array, left, right), function.remote(array, right, left)]


def test_wrong_token_and_no_cluster(two_nodes, monkeypatch):
    monkeypatch.setenv("MANTA_TOKEN", "wrong")
    with pytest.raises(ConnectionError, match="token"):
        manta.init(address=two_nodes.address)
    with pytest.raises(ConnectionError, match="no cluster answers at 127.0.0.1:1"):
        manta.init(address="127.0.0.1:1")
    with pytest.raises(ValueError, match="HOST:PORT"):
        manta.init(address="nonsense")
    assert not manta.is_initialized()


def test_init_refuses_what_it_cannot_do():
    with pytest.raises(RuntimeError, match="Unknown keyword argument\\(s\\): colour, size"):
        manta.init(size=1, colour=2)
    with pytest.raises(ValueError, match="'conda' in a runtime_env is not supported"):
        manta.init(runtime_env={"conda": "x"})
    with pytest.raises(ValueError, match="without ray://"):
        manta.init(address="ray://127.0.0.1:10001")
    with pytest.raises(ValueError, match="'num_cpus' is for a private cluster"):
        manta.init(address="127.0.0.1:6480", num_cpus=2)


@pytest.mark.parametrize("address", ["host", "host:99:1", "host:99999", "::1:80"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        manta.init(address)


def test_init_twice_and_again_after_shutdown():
    with manta.init(num_cpus=1) as context:
        assert context.address_info["address"] == context["gcs_address"]
        with pytest.raises(RuntimeError, match="init\\(\\) was called before"):
            manta.init()
        assert manta.init(ignore_reinit_error=True)["node_id"] == context["node_id"]
        function = manta.remote(lambda: "works")
        old = function.remote()
        assert manta.get(old) == "works"
    assert not manta.is_initialized()
    manta.shutdown()
    with manta.init(num_cpus=1):
        assert manta.get(function.remote()) == "works"
        with pytest.raises((ValueError, exceptions.RaySystemError)):
            manta.get(old, timeout=5)


def test_the_first_use_connects(run_script):
    done = run_script(
        """
        import manta as ray
        assert not ray.is_initialized()
        print(ray.get(ray.put(3)), ray.is_initialized())
        """
    )
    assert (done.returncode, done.stdout) == (0, "3 True\n"), done.stderr


def test_classes_of_the_program_and_modules_beside_it(run_script, tmp_path):
    (tmp_path / "beside.py").write_text(
        "import manta\n\n@manta.remote\ndef helper(x):\n    return x + 1\n\ndef plain(x):\n    return x * 2\n"
    )
    done = run_script(
        """
        import dataclasses
        import manta as ray
        import beside

        @dataclasses.dataclass
        class Point:
            x: int
            y: int

            def moved(self):
                return Point(self.x + 1, self.y)

        @ray.remote
        def move(point):
            return point.moved(), beside.plain(point.x), ray.get(beside.helper.remote(point.x))

        point, doubled, next = ray.get(move.remote(Point(1, 2)))
        assert isinstance(point, Point) and point == Point(2, 2), point
        print(doubled, next)
        """
    )
    assert (done.returncode, done.stdout) == (0, "2 2\n"), done.stderr


def test_a_fork_has_no_connection_of_its_own(run_script):
    done = run_script(
        """
        import os, sys
        import manta as ray
        ref = ray.put(1)
        child = os.fork()
        if child == 0:
            try:
                ray.get(ref)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("parent", ray.get(ref))
        """
    )
    assert done.returncode == 0, done.stderr
    assert "was forked" in done.stdout and "parent 1" in done.stdout
