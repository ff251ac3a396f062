"""Calls, a generator, an exception and a coroutine to step through."""

import asyncio


def inner(value):
    doubled = value * 2  # inner body
    return doubled  # inner return


def outer(value):
    first = inner(value)  # outer call
    second = first + 1  # outer after
    return second  # outer return


def numbers():
    yield 1  # first yield
    yield 2  # second yield


def consume():
    found = []
    for number in numbers():  # consume loop
        found.append(number)  # consume body
    return found


def fails():
    raise ValueError("no")  # raise


def catches():
    try:
        fails()  # try call
    except ValueError:
        caught = True  # handler
    return caught


async def pause_a_little():
    await asyncio.sleep(0)
    return 3


async def main():
    value = await pause_a_little()  # await
    return value + 1  # after await


def by_library():
    return sorted([3, 1, 2], key=lambda n: -n)  # sorts


class Kind:
    def method(self, value):
        return inner(value) + 1 if value > 1 else 0


def several():
    kind = Kind()
    total = outer(2) + inner(4) + kind.method(4)  # calls several
    other = len([1]) + total
    last = inner(1)
    return other + last  # after several


print(outer(20))  # call outer
print(consume())  # call consume
print(catches())  # call catches
print(asyncio.run(main()))  # call main
print(by_library())  # call sorts
print(several())
last = 1  # last line
