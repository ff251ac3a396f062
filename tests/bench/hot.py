"""A program that a debugger must not slow down. For each line on its input it works, and answers with the seconds that it took.

Lines: `hot COUNT` calls a small function so often, `loop COUNT` goes round one loop.
"""

import sys
import time


def hot(number):
    total = number
    for step in range(8):
        total += step
        if total < 0:
            total = 0  # never reached
    return total


def call(count):
    for number in range(count):
        hot(number)


def loop(count):
    total = 0
    for index in range(count):
        total += index  # condition here
    return total


def main():
    works = {"hot": call, "loop": loop}
    for line in sys.stdin:
        name, count = line.split()
        start = time.perf_counter()
        works[name](int(count))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
