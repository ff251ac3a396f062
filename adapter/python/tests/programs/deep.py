"""Recursion close to the limit, and beyond it."""

import sys


def down(left):
    if left == 0:
        return sys.getrecursionlimit()  # bottom
    return down(left - 1)


def endless(level):
    return endless(level + 1)


limit = sys.getrecursionlimit()
print(down(limit - 100) == limit, sys.getrecursionlimit() == limit)
try:
    endless(0)
except RecursionError:
    print("too deep")
