"""Functions that a library calls, one after the other: a step out of one ends in the next."""

import contextlib
import threading
import unittest


@contextlib.contextmanager
def fixture():
    yield 3  # yields
    print("torn down")  # after it


def alone():
    done = 1
    return done  # ends alone


class Suite(unittest.TestCase):
    def setUp(self):
        self.value = self.enterContext(fixture())  # sets up

    def test_one(self):
        self.assertEqual(self.value, 3)  # in one

    def test_two(self):
        thread = threading.Thread(target=alone)  # thread
        thread.start()
        thread.join()
        self.assertEqual(self.value, 4)  # in two
