"""Sets a trace function of its own, as tools for coverage do."""

import sys


def trace(frame, event, argument):
    return None


def work():
    done = 1  # in work
    return done


work()
sys.settrace(trace)
work()
sys.settrace(None)
