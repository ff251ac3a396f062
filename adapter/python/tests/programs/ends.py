"""Prints much, or waits to be ended; handles its end."""

import atexit
import signal
import sys
import threading


def at_exit():
    print("left", sys.modules["__main__"].__name__, MARK)  # at exit


def on_signal(number, frame):
    print("handled", flush=True)
    sys.exit(5)


MARK = "intact"
atexit.register(at_exit)
if "handles" in sys.argv:
    signal.signal(signal.SIGTERM, on_signal)
if "prints" in sys.argv:
    for number in range(20_000):
        print(number, "x" * 1_000)
    print("printed", file=sys.stderr)
sys.stdout.buffer.write("öl\n".encode())
reached = "before"  # stop here
print("ran on", flush=True)
if "waits" in sys.argv:
    threading.Event().wait()
sys.exit(3)
