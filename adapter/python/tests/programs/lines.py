"""Statements over several lines, and functions of one line."""

import contextlib


def one_line(n): return n  # fmt: skip  # one line


def displays():
    made = {  # display
        "a": one_line(1),
    }
    listed = [
        made,  # fmt: skip
    ]  # closing bracket
    return [  # comprehension
        value
        for value in listed
    ]


def manages():
    with contextlib.nullcontext():  # with
        made = 1
    return made


def branches():
    try:
        made = 1
    except ValueError:
        made = 2
    else:  # else
        made = 3  # in else
    return made


one_line(2)
twice = lambda n: n * 2  # noqa: E731  # lambda
twice(1)
twice(2)
displays()
branches()
manages()
