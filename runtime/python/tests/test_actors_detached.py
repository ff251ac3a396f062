"""Actors that outlive the program that made them."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import start_script, until

import manta
from manta import exceptions

DEADLINE_SECONDS = 30

MAKER = """
    import os, sys
    import manta as ray

    @ray.remote
    class Counter:
        def __init__(self):
            self.value = 0
        def add(self):
            self.value += 1
            return self.value
        def pid(self):
            return os.getpid()

    ray.init(address=sys.argv[1], namespace="shared")
    kept = Counter.options(name="kept", lifetime="detached").remote()
    bound = Counter.options(name="bound").remote()
    print(ray.get(kept.add.remote()), ray.get(bound.add.remote()), ray.get(kept.pid.remote()), flush=True)
    sys.stdin.read()
"""


def test_a_detached_actor_outlives_its_driver_and_others_do_not(two_nodes, monkeypatch, tmp_path):
    monkeypatch.setenv("MANTA_TOKEN", two_nodes.token)
    with start_script(MAKER, tmp_path, two_nodes.address) as maker:
        kept, bound, pid = maker.stdout.readline().split()
        assert (kept, bound) == ("1", "1")
        with manta.init(address=two_nodes.address, namespace="shared"):
            assert manta.get(manta.get_actor("bound").add.remote()) == 2
            actor = manta.get_actor("kept")
            assert manta.get(actor.add.remote()) == 2
            maker.send_signal(signal.SIGKILL)
            maker.wait(timeout=DEADLINE_SECONDS)
            until(lambda: _is_free("bound"))
            assert manta.get(actor.add.remote(), timeout=DEADLINE_SECONDS) == 3
    with manta.init(address=two_nodes.address, namespace="shared"):
        actor = manta.get_actor("kept")
        assert manta.get(actor.add.remote(), timeout=DEADLINE_SECONDS) == 4
        manta.kill(actor)
        until(lambda: _is_free("kept"))
        until(lambda: not os.path.exists(f"/proc/{pid}"))
        with pytest.raises(exceptions.ActorDiedError):
            manta.get(actor.add.remote(), timeout=DEADLINE_SECONDS)


def _is_free(name):
    try:
        manta.get_actor(name)
    except ValueError:
        return True
    return False
