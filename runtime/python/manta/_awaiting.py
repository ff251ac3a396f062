"""`await` on object refs: one thread hands the values of ready objects to futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Generator
from typing import Any

from manta import _manta

_lock = threading.Lock()
_tokens = itertools.count(1)
_waiting: dict[int, tuple[_manta.ObjectRef[Any], concurrent.futures.Future[Any], bool]] = {}
_thread: threading.Thread | None = None


def future(object_ref: _manta.ObjectRef[Any], with_value: bool = True) -> concurrent.futures.Future[Any]:
    """A future of the object's value; without it, of None as soon as the object is there or has failed."""
    global _thread
    made: concurrent.futures.Future[Any] = concurrent.futures.Future()
    with _lock:
        token = next(_tokens)
        _waiting[token] = (object_ref, made, with_value)
        try:
            _manta.notify_ready(object_ref, token)
        except BaseException:
            del _waiting[token]
            raise
        if _thread is None:
            _thread = threading.Thread(target=_serve, name="manta-await", daemon=True)
            _thread.start()
    return made


def as_future(object_ref: _manta.ObjectRef[Any]) -> asyncio.Future[Any]:
    """A future of the object's value for the event loop that runs."""
    return asyncio.wrap_future(future(object_ref))


async def readiness(object_ref: _manta.ObjectRef[Any]) -> None:
    """Waits until the object is there, or has failed."""
    await asyncio.wrap_future(future(object_ref, False))


def awaiting(object_ref: _manta.ObjectRef[Any]) -> Generator[Any, None, Any]:
    """What `await object_ref` runs."""
    return as_future(object_ref).__await__()


def _serve() -> None:
    global _thread
    while (token := _manta.next_ready()) is not None:
        with _lock:
            entry = _waiting.pop(token, None)
        if entry is not None:
            _settle(*entry)
    with _lock:
        left = list(_waiting.values())
        _waiting.clear()
        _thread = None
    for _, unsettled, _ in left:
        unsettled.cancel()


def _settle(
    object_ref: _manta.ObjectRef[Any], unsettled: concurrent.futures.Future[Any], with_value: bool
) -> None:
    if not unsettled.set_running_or_notify_cancel():
        return
    if not with_value:
        return unsettled.set_result(None)
    try:
        value = _manta.get([object_ref], None)[0]
    except BaseException as error:
        unsettled.set_exception(error)
    else:
        unsettled.set_result(value)
