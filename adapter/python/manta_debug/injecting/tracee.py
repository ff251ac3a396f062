"""One stopped thread of another process, by ptrace: calls functions in it, and leaves it as it was. Linux on x86-64."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from types import TracebackType
from typing import Any

_GETREGS, _SETREGS, _CONT, _DETACH = 12, 13, 7, 17
_GETREGSET, _SETREGSET, _SEIZE, _INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
_NT_X86_XSTATE = 0x202
_WALL = 0x40000000
_EVENT_STOP = 128
_XSTATE_BYTES_MAX = 64 * 1024
# What a call of the system's that was waiting answers when it is interrupted (Linux, include/linux/errno.h).
_INTERRUPTED = frozenset({-errno.EINTR, -512, -513, -514, -516})
_RED_ZONE_BYTES = 128
_CALL_SECONDS_MAX = 10.0
_LOOK_SECONDS = 0.0005
_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_MASK = (1 << 64) - 1


# fmt: off
_REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)
# fmt: on


class TraceError(Exception):
    """A thread that cannot be traced, or does not answer."""


class _Registers(ctypes.Structure):
    """`struct user_regs_struct` (sys/user.h)."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in _REGISTERS]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


_libc: Any = None


def _ptrace(request: int, thread: int, address: int = 0, data: Any = None) -> None:
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.ptrace.restype = ctypes.c_long
        _libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if _libc.ptrace(request, thread, address, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Tracee:
    """The main thread of a process, from where it is stopped to where it goes on. To be used by one thread of ours alone."""

    def __init__(self, process_id: int) -> None:
        self._thread = process_id
        self._saved = _Registers()
        self._state = ctypes.create_string_buffer(_XSTATE_BYTES_MAX)
        self._state_size = 0
        self._is_gone = False

    def __enter__(self) -> Tracee:
        try:
            _ptrace(_SEIZE, self._thread)
        except OSError as error:
            raise TraceError(_why(self._thread, error)) from None
        _ptrace(_INTERRUPT, self._thread)
        self._come_to_rest()
        _ptrace(_GETREGS, self._thread, 0, ctypes.byref(self._saved))
        vector = _Vector(ctypes.addressof(self._state), _XSTATE_BYTES_MAX)
        _ptrace(_GETREGSET, self._thread, _NT_X86_XSTATE, ctypes.byref(vector))
        self._state_size = vector.size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_gone:
            return
        try:
            self._restore()
            _ptrace(_DETACH, self._thread)
        except ProcessLookupError:
            pass  # It was killed meanwhile.

    @property
    def waits(self) -> bool:
        """Whether the thread was stopped in a call of the system's that waits."""
        return self._saved.orig_rax != _MASK and _signed(self._saved.rax) in _INTERRUPTED

    def write(self, address: int, data: bytes) -> None:
        """Writes into the process's memory."""
        with open(f"/proc/{self._thread}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)

    def call(self, function: int, *arguments: int, is_endless: bool = False) -> int:
        """Calls a function of the process on the stopped thread; answers its value. `is_endless` when it must not be broken off."""
        registers = _Registers.from_buffer_copy(self._saved)
        top = (self._saved.rsp - _RED_ZONE_BYTES) // 16 * 16 - 8
        # It returns to nowhere, of which we are told.
        self.write(top, bytes(8))
        registers.rsp, registers.rip, registers.rax = top, function, 0
        registers.orig_rax = _MASK  # No call of the system's begins again meanwhile.
        for name, value in zip(_ARGUMENTS, arguments, strict=False):
            setattr(registers, name, value & _MASK)
        _ptrace(_SETREGS, self._thread, 0, ctypes.byref(registers))
        _ptrace(_CONT, self._thread)
        due = None if is_endless else time.monotonic() + _CALL_SECONDS_MAX
        while True:
            left = None if due is None else max(0.0, due - time.monotonic())
            try:
                code = self._wait(left)
            except TimeoutError:
                self._break_off()
                raise TraceError("its main thread does not get its turn") from None
            _ptrace(_GETREGS, self._thread, 0, ctypes.byref(registers))
            if code == signal.SIGSEGV and registers.rip == 0:
                return int(registers.rax)
            if code == signal.SIGSEGV:
                raise TraceError("its interpreter could not run the debugger")
            _ptrace(_CONT, self._thread, 0, code or None)

    def _break_off(self) -> None:
        _ptrace(_INTERRUPT, self._thread)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Waits for the stop that was asked for, and passes on the signals that come first."""
        while (code := self._wait(None)) != 0:
            _ptrace(_CONT, self._thread, 0, code)

    def _restore(self) -> None:
        vector = _Vector(ctypes.addressof(self._state), self._state_size)
        _ptrace(_SETREGSET, self._thread, _NT_X86_XSTATE, ctypes.byref(vector))
        _ptrace(_SETREGS, self._thread, 0, ctypes.byref(self._saved))

    def _wait(self, seconds: float | None) -> int:
        """Waits until the thread stops; answers the signal that it is to get, or 0 where it has only been stopped."""
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            found, status = os.waitpid(self._thread, _WALL | os.WNOHANG)
            if found:
                break
            if due is not None and time.monotonic() >= due:
                raise TimeoutError
            time.sleep(_LOOK_SECONDS)
        if not os.WIFSTOPPED(status):
            self._is_gone = True
            raise TraceError("it has ended")
        return 0 if status >> 16 == _EVENT_STOP else os.WSTOPSIG(status)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _why(process_id: int, error: OSError) -> str:
    """Why a process may not be traced, and what to do."""
    with open(f"/proc/{process_id}/status") as file:
        state = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    tracer = state.get("TracerPid", "0")
    if tracer != "0":
        return f"process {tracer} traces it already; end that debugger first"
    if state.get("State", "").startswith("Z"):
        return "it has ended, and its parent has not asked about it"
    if error.errno == errno.EPERM:
        return (
            "this system does not let one process debug another of the same user (see /proc/sys/kernel/yama/ptrace_scope): become "
            "root, or start the program with `python -m manta.debug --no-wait --listen PORT script.py`"
        )
    return error.strerror or str(error)
