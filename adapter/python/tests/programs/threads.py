"""Threads that work side by side, each with a local of its own, until a flag file's text says stop."""

import contextvars
import threading

where = contextvars.ContextVar("where")
local = threading.local()
gate = threading.Barrier(3)
go_on = threading.Event()


def work(name):
    where.set(name)
    local.name = name
    gate.wait()
    reached = name.upper()  # in work
    return reached


def spin():
    turns = 0
    while not go_on.is_set():
        turns += 1  # in spin
    print("turned", turns > 0)


workers = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in ("a", "b", "c")]
spinner = threading.Thread(target=spin, name="spinner")
for thread in [spinner, *workers]:
    thread.start()
for thread in workers:
    thread.join()
print("joined")
spinner.join()
