"""A loop, a call and a few kinds of values."""

import os


class Point:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y  # in constructor


class Account:
    def __init__(self):
        self.owner = "ann"
        self.amount = 12
        self._hidden = None

    @property
    def doubled(self):
        return self.amount * 2

    def __repr__(self):
        raise RuntimeError("not for debuggers")


def add(left, right):
    total = left + right  # in add
    return total  # return of add


def work(count):
    numbers = list(range(count))
    names = {"a": 1, "b": [1, 2], 3: None}
    point = Point(1, 2)
    account = Account()
    text = "é" * 3
    total = 0  # before loop
    for number in numbers:
        total = add(total, number)  # in loop

    # no code on this line
    result = (
        add(
            total,
            1,
        )
    )
    return result  # end of work


print("result", work(5), os.path.basename(__file__))  # call of work
