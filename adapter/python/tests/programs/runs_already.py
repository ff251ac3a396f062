"""Runs until a debugger sets `is_over`, asleep or busy, and knows nothing of any debugger."""

import sys
import time

is_over = False


def reckon(values):
    total = 0.0
    for value in values:
        total += value * 0.5
    return total  # reckoned


def main():
    turns = 0
    while not is_over:
        if sys.argv[1] == "asleep":
            time.sleep(0.05)
        turns += 1  # turns
        if reckon(range(1000)) != 249750.0:
            sys.exit("what was reckoned is wrong")


print("runs", flush=True)
main()
print("over")
