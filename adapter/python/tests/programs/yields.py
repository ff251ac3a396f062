"""Generators inside others, whose values C code or a library takes."""

import contextlib
import io
import unittest


def inner():
    first = "a"
    yield first  # inner yields
    second = "b"  # inner goes on
    yield second


def outer():
    yield from inner()
    yield "c"


@contextlib.contextmanager
def opened():
    yield 1
    print("closed")  # in opened


def closes():
    stack = contextlib.ExitStack()
    stack.enter_context(opened())
    stack.close()  # closes


print("".join(outer()))
closes()  # calls


class Tests(unittest.TestCase):
    def setUp(self):
        self.value = 1  # sets up

    def test_a(self):
        self.assertEqual(self.value, 1)  # tests a

    def test_b(self):
        self.assertEqual(self.value, 1)


unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(Tests))
