"""Something of everything: what a debugger may do to it at random must not change what it prints."""

import asyncio
import functools
import sys
import threading


class Ledger:
    def __init__(self, balance):
        self.balance = balance
        self.entries = []
        self.names = {}

    def post(self, amount):
        before = self.balance
        self.balance = (before * 33 ^ amount) % 2**32
        self.entries.append(self.balance)
        name = f"entry-{len(self.entries) % 7}"
        self.names[name] = self.names.get(name, 0) + amount % 100
        return self.balance - before

    @property
    def last(self):
        return self.entries[-1]


def accounts(seed):
    ledger = Ledger(seed)
    total = 0
    for amount in range(12):
        total += ledger.post(amount * seed)
    return total, ledger.last, sorted(ledger.names.items())


def ackermann(m, n):
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    inner = ackermann(m, n - 1)
    return ackermann(m - 1, inner)


def squares(most):
    for number in range(most):
        got = yield number * number
        if got:
            yield got


def generators(seed):
    made = squares(seed + 3)
    first = next(made)
    sent = made.send(seed)
    return [first, sent, *made, sum(x * x for x in range(seed))]


def risky(values, index):
    value = values[index]
    return value + 1


def caught(seed):
    good = 0
    for index in range(5):
        try:
            good += risky([seed, seed + 1, seed + 2], index)
        except IndexError as error:
            good += len(str(error))
        finally:
            good *= 3
    return good


def counted(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        wrapper.calls += 1
        return function(*arguments)

    wrapper.calls = 0
    return wrapper


@counted
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


async def child(number):
    await asyncio.sleep(0)
    doubled = number * 2
    await asyncio.sleep(0)
    return doubled


async def parent(seed):
    results = await asyncio.gather(*(child(number) for number in range(seed)))
    async with asyncio.timeout(None):
        alone = await child(seed)
    return results, alone


def run_task(seed, results):
    fib(6)
    with open(__file__, "rb") as own:
        size = len(own.read()) > 100
    results[seed] = (
        accounts(seed),
        ackermann(2, seed % 4),
        generators(seed),
        caught(seed),
        asyncio.run(parent(seed)),
        size,
    )


def left_behind():
    """What a debugger that has gone may not leave."""
    left = []
    if sys.gettrace() is not None or threading.gettrace() is not None:
        left.append("a trace function")
    monitoring = getattr(sys, "monitoring", None)
    if monitoring:
        left += [
            f"events of tool {tool}"
            for tool in range(6)
            if monitoring.get_tool(tool) and monitoring.get_events(tool)
        ]
        codes = [
            f.__code__
            for f in (accounts, ackermann, squares, generators, risky, caught, run_task, Ledger.post)
        ]
        left += [
            f"events of tool {tool} in {code.co_name}"
            for tool in range(6)
            for code in codes
            if monitoring.get_tool(tool) and monitoring.get_local_events(tool, code)
        ]
    return left


def main():
    results = {}
    for wave in range(2):
        threads = [threading.Thread(target=run_task, args=(wave * 3 + n + 3, results)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for seed, result in sorted(results.items()):
        print(f"task {seed}: {result}")
    print(f"fib was called {fib.calls > 0}")
    print("done", flush=True)
    # Whoever wants to know what was left behind asks now.
    while sys.stdin.readline() == "look\n":
        print(f"left: {left_behind()}", flush=True)


if __name__ == "__main__":
    main()
