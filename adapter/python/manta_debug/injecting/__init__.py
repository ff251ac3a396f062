"""Lets a process of this machine's that runs already be debugged, though it was started without the engine.

Its main thread is stopped for a moment, has the interpreter start a thread that loads the engine and listens, and goes on where it was.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable

from ..errors import RequestError
from .symbols import Images, NotFound
from .tracee import Tracee, TraceError

_ENGINE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ANSWER_SECONDS_MAX = 20.0
_LOOK_SECONDS = 0.01
_PAGE_BYTES = 4096
_PROT_READ_WRITE = 3
_MAP_PRIVATE_ANONYMOUS = 0x22

# What runs on a thread of its own there. It may be any Python.
_WHOLE = """
import sys
try:
    if sys.version_info < (3, 11):
        raise RuntimeError("it runs Python %d.%d, and 3.11 or later is needed" % sys.version_info[:2])
    sys.path.insert(0, {engine!r})
    try:
        from manta_debug import api
        from manta_debug.standalone import children
    finally:
        sys.path.remove({engine!r})
    said = getattr(children.server(), "address", None) or api.{call}({address!r}) or {address!r}
    text = "%s %d" % tuple(said)
except BaseException as error:
    text = "! %s" % (str(error) or type(error).__name__)
with open({answer!r}, "w") as file:
    file.write(text + "\\n")
"""
# What its main thread runs. `threading` takes whoever loads it for the main thread.
_START = "import threading, _thread; _thread.start_new_thread(exec, ({code!r}, {{}}))"


def listen(process_id: int, address: tuple[str, int]) -> tuple[str, int]:
    """Has the process listen for a client; answers where. Raises `RequestError` with the reason why it cannot be."""
    return _inject(process_id, "listen", address)


def connect(process_id: int, address: tuple[str, int]) -> tuple[str, int]:
    """Has the process go to a client that waits for one. Raises `RequestError` with the reason why it cannot be."""
    return _inject(process_id, "connect", address)


def _inject(process_id: int, call: str, address: tuple[str, int]) -> tuple[str, int]:
    _check(process_id)
    descriptor, answer = tempfile.mkstemp(prefix="manta-debug-")
    try:
        owner = os.stat(f"/proc/{process_id}")
        if owner.st_uid != os.geteuid():
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        whole = _WHOLE.format(engine=_ENGINE, call=call, address=address, answer=answer)
        try:
            _run(process_id, _START.format(code=whole))
        except (TraceError, NotFound, OSError) as error:
            raise RequestError(f"Process {process_id} cannot be debugged: {error}") from None
        said = _await_answer(process_id, answer)
    finally:
        os.close(descriptor)
        os.unlink(answer)
    if said.startswith("!"):
        raise RequestError(f"Process {process_id} cannot be debugged: {said[1:].strip()}")
    host, port = said.split()
    return host, int(port)


def _check(process_id: int) -> None:
    system, machine = sys.platform, os.uname().machine
    if system != "linux" or machine != "x86_64":
        raise RequestError(
            f"A process that runs already can be debugged on Linux on x86-64 alone, not on {system} on {machine}: start it with "
            "`python -m manta.debug --no-wait --listen PORT script.py`, and attach by `connect`."
        )
    if process_id == os.getpid():
        raise RequestError(f"{process_id} is the debugger's own process.")
    try:
        spaces = [os.stat(f"/proc/{who}/ns/mnt").st_ino for who in ("self", process_id)]
    except FileNotFoundError:
        raise RequestError(f"There is no process {process_id}.") from None
    except PermissionError:
        raise RequestError(
            f"Process {process_id} belongs to another user: debug it as that user, or as root."
        ) from None
    if spaces[0] != spaces[1]:
        raise RequestError(f"Process {process_id} runs in another container: debug it from in there.")


def _await_answer(process_id: int, answer: str) -> str:
    due = time.monotonic() + _ANSWER_SECONDS_MAX
    while time.monotonic() < due:
        with open(answer) as file:
            said = file.read()
        if said.endswith("\n"):
            return said.strip()
        if not os.path.exists(f"/proc/{process_id}"):
            raise RequestError(f"Process {process_id} has ended.")
        time.sleep(_LOOK_SECONDS)
    raise RequestError(
        f"Process {process_id} has not loaded the debugger within {_ANSWER_SECONDS_MAX:.0f} s: its main thread runs no Python code, "
        "or none of its threads gets its turn. The debugger may still come, when it does."
    )


def _run(process_id: int, text: str) -> None:
    """Has the main thread run a line of Python, now or as soon as it is between two instructions of the interpreter."""
    images = Images(process_id)
    ensure, release = images.find("PyGILState_Ensure"), images.find("PyGILState_Release")
    run, later = images.find("PyRun_SimpleString"), images.find("Py_AddPendingCall")
    mmap = images.find("mmap")
    data = text.encode() + b"\0"
    size = -(-len(data) // _PAGE_BYTES) * _PAGE_BYTES
    with Tracee(process_id) as tracee:
        call: Callable[..., int] = tracee.call
        at = call(mmap, 0, size, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, (1 << 64) - 1, 0)
        if at >= (1 << 64) - _PAGE_BYTES:
            raise TraceError("it has no memory left")
        tracee.write(at, data)
        if tracee.waits:
            # In a call of the system's nothing of the interpreter's is half done.
            state = call(ensure)
            tracee.call(run, at, is_endless=True)
            call(release, state & 0xFFFFFFFF)
        elif call(later, run, at) & 0xFFFFFFFF:
            raise TraceError("too many calls wait for its main thread")
