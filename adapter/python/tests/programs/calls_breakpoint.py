"""Calls `breakpoint()`."""


def work():
    value = 1
    breakpoint()  # stops
    return value  # after


print(work())
