"""Starts without the debugger, and lets it in."""

import sys
import threading

import manta_debug.api as manta


def work():
    done = 1  # in work
    return done


def turn():
    done = 1  # in turn
    return done


def fails():
    raise ValueError("said")  # raises


def of_thread():
    go.wait()
    manta.debug_this_thread()
    done()


def done():
    ended = True  # in thread
    return ended


go = threading.Event()
how = sys.argv[1]
if how == "threads":
    thread = threading.Thread(target=of_thread)
    thread.start()
print(*manta.listen(0), flush=True)
if how == "waits":
    try:
        manta.listen(0)
    except RuntimeError as error:
        print(f"again: RuntimeError: {str(error).partition(':')[0]}", flush=True)
    manta.breakpoint()
    print("passed without a client" if not manta.is_client_connected() else "?", flush=True)
    manta.wait_for_client()
    work()
    manta.breakpoint()  # stops here
    manta.post_mortem()
    for as_uncaught in (True, False):
        try:
            fails()
        except ValueError:
            manta.post_mortem(as_uncaught=as_uncaught)
    sys.exit(3)
elif how == "runs":
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), ended.set())).start()
    while not ended.wait(0.001):
        turn()
else:
    sys.stdin.readline()
    go.set()
    thread.join()
