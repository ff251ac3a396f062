"""Values that are awkward to show, code that is awkward to reach, and a child process."""

import array
import asyncio
import collections
import dataclasses
import datetime
import enum
import os
import pathlib
import sys
import threading


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Pair:
    left: int
    right: "Pair | None" = None


class Hangs:
    def __init__(self):
        self.lock = threading.Lock()
        self.lock.acquire()

    def __repr__(self):
        with self.lock:
            return "never"

    def __getattribute__(self, name):
        if name in ("lock", "__class__"):
            return object.__getattribute__(self, name)
        raise RuntimeError(name)


class MyList(list):
    def __len__(self):
        raise RuntimeError("no length")

    def __repr__(self):
        raise RuntimeError("no repr")


class Worded:
    def __repr__(self):
        return "3 apples"


class Spins:
    def __repr__(self):
        while True:
            pass


class Lies:
    """Says that it is a dictionary, as proxies and mocks do."""

    def __init__(self):
        self.entries = 1

    @property
    def __class__(self):
        return dict


Named = collections.namedtuple("Named", "first second")


def counter(start):
    step = 2

    def count(times=3):
        for i in range(times):
            yield start + step * i  # counts

    return count


async def sleeps(seconds):
    await asyncio.sleep(seconds)  # sleeps


def generator():
    received = yield 1
    yield received  # resumed


def work():
    big = list(range(1_000_000))
    entries = {i: str(i) for i in range(5_000)}
    text = "x" * 1_000_000
    huge = 1 << 100_000
    odd = "\ud800"
    nested = [[[[[[1]]]]]]
    loop = []
    loop.append(loop)
    pair = Pair(1, Pair(2))
    colour = Colour.RED
    hangs = Hangs()
    mine = MyList([1, 2])
    named = Named(1, "b")
    when = datetime.date(2020, 1, 2)
    where = pathlib.Path("/tmp")
    error = ValueError("bad", 3)
    numbers = {1, 2}
    queue = collections.deque([1, 2, 3])
    worded, spins, lies = Worded(), Spins(), Lies()
    numbers_of_c = array.array("d", range(3))
    captured = 5
    count = counter(10)
    fresh, begun = count(), count()
    next(begun)
    awaits = sleeps(0)
    awaits.send(None)

    def inner():
        return captured + 1  # in inner

    return inner()  # values are there


running = generator()
next(running)
print(work())  # before the child
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        work()
        print("child ran on", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
running.send(2)
sys.exit(3)
