"""A generator inside another, whose values C code takes."""


def inner():
    first = "a"
    yield first  # inner yields
    second = "b"  # inner goes on
    yield second


def outer():
    yield from inner()
    yield "c"


print("".join(outer()))
