"""Prints without running a line of its own in between."""

numbers = list(map(print, range(4000)))
count = len(numbers)  # after
