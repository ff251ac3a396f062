"""Clusters of several nodes on this machine, for tests, under Ray's names: nodes come and go while a program runs."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

from manta import _manta, _session

__all__ = ["Cluster", "ClusterNode"]

NUM_CPUS_DEFAULT = 1
OBJECT_STORE_BYTES_DEFAULT = 150 * 1024 * 1024
END_SECONDS_MAX = 30.0
# The resource that the node of the head has, in Ray as well.
_BESIDE_HEAD = "node:__internal_head__"
# Arguments of Ray's that set what does not exist here.
_WITHOUT_EFFECT = frozenset(
    {"dashboard_host", "dashboard_port", "include_dashboard", "min_worker_port", "max_worker_port"}
)


class ClusterNode:
    """One node of a cluster: a process."""

    def __init__(self, process: subprocess.Popen[str], name: str, node_id: str) -> None:
        self._process = process
        self.name = name
        # In hexadecimal digits.
        self.node_id = node_id

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def unique_id(self) -> str:
        """Another name of `node_id`."""
        return self.node_id

    @property
    def node_ip_address(self) -> str:
        """The address of its machine, which is this one."""
        return "127.0.0.1"

    def any_processes_alive(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def kill_all_processes(
        self, check_alive: bool = True, allow_graceful: bool = False, wait: bool = True
    ) -> None:
        """Ends it, with its workers: at once, as when a machine fails, or orderly."""
        if check_alive and not self.any_processes_alive():
            raise RuntimeError(f"the node '{self.name}' has ended before")
        self._process.send_signal(signal.SIGTERM if allow_graceful else signal.SIGKILL)
        if wait:
            self._process.wait(END_SECONDS_MAX)

    def __repr__(self) -> str:
        return f"<ClusterNode {self.name}, pid {self.pid}>"


class Cluster:
    """A head, and the nodes that `add_node` starts. The head starts with the first one.

    Args:
        initialize_head: Start the head and its node at once.
        connect: Connect this program to it too.
        head_node_args: Arguments of `add_node` for the head's node.
        shutdown_at_exit: End all of it with this program.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.connected = False
        self._token = secrets.token_hex(32)
        self._head: subprocess.Popen[str] | None = None
        self._folder: str | None = None
        self._address: str | None = None
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """The head's address, for `init`; None before there is one."""
        return self._address

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Connects this program to the cluster."""
        if self._address is None:
            raise AssertionError("the cluster has no head yet; call add_node() first")
        if self.connected:
            raise AssertionError("this program is connected to the cluster already")
        _session.init(self._address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Starts a node, and answers when the cluster has it.

        Args:
            wait: Has no effect: it is always waited for.
            node_args: `num_cpus` (1 by default), `num_gpus` (0), `memory`, `object_store_memory` (150 MiB), `resources`, `labels`.
        """
        command = self._node_command(node_args)
        if self._head is None:
            self._start_head()
        command += ["--address", str(self._address)]
        process, ready = self._start(command)
        node = ClusterNode(process, ready["name"], self._living()[ready["name"]])
        if self.head_node is None:
            self.head_node = node
        else:
            self.worker_nodes.add(node)
        if self._is_connected():
            # What is submitted from here on may name it.
            self._wait(
                lambda: node.node_id in self._heard_of(),
                END_SECONDS_MAX,
                f"this program's node has not heard of '{node.name}'",
            )
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """Ends a node with all its processes, orderly or at once."""
        if node is not self.head_node and node not in self.worker_nodes:
            raise ValueError(f"{node!r} is no node of this cluster")
        if self._is_own(node):
            _session.shutdown()
            self.connected = False
            raise ValueError(
                "this program was connected to the cluster by that node, and is not any more; remove another one"
            )
        node.kill_all_processes(check_alive=False, allow_graceful=allow_graceful)
        if node is self.head_node:
            self.head_node = None
        else:
            self.worker_nodes.remove(node)

    def list_all_nodes(self) -> list[ClusterNode]:
        """All nodes, that of the head first."""
        return [*([self.head_node] if self.head_node else []), *self.worker_nodes]

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Waits until the cluster has just these nodes; `TimeoutError` after so many seconds."""
        wanted = {node.name for node in self.list_all_nodes()}
        self._wait(
            lambda: self._living().keys() == wanted, timeout, f"the cluster's nodes are not {sorted(wanted)}"
        )
        if self._is_connected():
            ids = {node.node_id for node in self.list_all_nodes()}
            self._wait(
                lambda: self._heard_of() == ids,
                timeout,
                f"this program's node has not heard that the nodes are {sorted(wanted)}",
            )

    def remaining_processes_alive(self) -> bool:
        """Whether all nodes that were not removed are there."""
        return all(node.any_processes_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """Ends the nodes and the head. A program that is connected should call `manta.shutdown()` before."""
        atexit.unregister(self.shutdown)
        for node in reversed(self.list_all_nodes()):
            node.kill_all_processes(check_alive=False, allow_graceful=True)
        self.head_node = None
        self.worker_nodes.clear()
        if self._head is not None:
            self._head.terminate()
            self._head.wait(END_SECONDS_MAX)
            self._head = self._address = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _is_connected(self) -> bool:
        return _manta.is_connected() and _manta.context()["address"] == self._address

    def _is_own(self, node: ClusterNode) -> bool:
        return _manta.is_connected() and bool(_manta.context()["node_id"] == node.node_id)

    def _living(self) -> dict[str, str]:
        """The ids of all nodes by their names, as the head knows them."""
        rows = _manta.Head(self._address).list_state("nodes", [("state", "ALIVE", False)])[0]
        return {row["name"]: row["node_id"] for row in map(json.loads, rows)}

    def _heard_of(self) -> set[str]:
        """The ids of the nodes that the node of this program knows of."""
        return {node["id"] for node in _manta.nodes()}

    def _wait(self, condition: Callable[[], bool], seconds: float, sentence: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sentence} after {seconds} s")
            time.sleep(0.05)

    def _start_head(self) -> None:
        # What this program and its children connect with from now on.
        os.environ["MANTA_TOKEN"] = self._token
        self._folder = tempfile.mkdtemp(prefix="manta-cluster-")
        self._head, ready = self._start(["head", "--listen", "127.0.0.1:0", "--state", self._folder])
        self._address = str(ready["address"])

    def _node_command(self, given: dict[str, Any]) -> list[str]:
        args = {
            "num_cpus": NUM_CPUS_DEFAULT,
            "num_gpus": 0,
            "object_store_memory": OBJECT_STORE_BYTES_DEFAULT,
            **{name: value for name, value in given.items() if name not in _WITHOUT_EFFECT},
        }
        resources = dict(args.pop("resources", None) or {})
        labels = dict(args.pop("labels", None) or {})
        if self._head is None:
            resources[_BESIDE_HEAD] = 1
        command = ["node"]
        for name in ("num_cpus", "num_gpus", "memory", "object_store_memory"):
            if (value := args.pop(name, None)) is not None:
                command += [f"--{name.replace('_', '-')}", str(value)]
        if args:
            raise ValueError(f"add_node() has no argument '{sorted(args)[0]}'")
        if resources:
            command += ["--resources", json.dumps(resources)]
        for key, value in labels.items():
            command += ["--labels", f"{key}={value}"]
        return command

    def _start(self, command: list[str]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """Starts `manta COMMAND`, which says in one line of JSON when it is ready."""
        process = subprocess.Popen(
            [_session.binary(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MANTA_TOKEN": self._token},
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        if not line:
            sentence = process.stderr.read().strip().removeprefix("manta: ")
            raise RuntimeError(f"'manta {command[0]}' ended before it was ready: {sentence}")
        return process, json.loads(line)
