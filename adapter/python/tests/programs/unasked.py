"""Values whose classes note each time that their code is run: showing them must not."""

import collections
import functools
import sys
import types
import weakref

calls = []


def noting(name, result):
    def method(self, *arguments):
        calls.append(name)
        return result

    return method


class Meta(type):
    __eq__ = noting("Meta.__eq__", True)
    __hash__ = noting("Meta.__hash__", 1)
    __repr__ = noting("Meta.__repr__", "M")
    __instancecheck__ = noting("Meta.__instancecheck__", True)

    def __getattribute__(cls, name):
        calls.append(f"Meta.{name}")
        return type.__getattribute__(cls, name)


class Made(metaclass=Meta):
    def __init__(self):
        self.field = 1


class Noted:
    __eq__ = noting("__eq__", True)
    __hash__ = noting("__hash__", 1)
    __len__ = noting("__len__", 2)
    __bool__ = noting("__bool__", False)
    __iter__ = noting("__iter__", iter(()))
    __getitem__ = noting("__getitem__", 1)
    __contains__ = noting("__contains__", True)
    __str__ = noting("__str__", "text")
    __format__ = noting("__format__", "text")
    computed = property(noting("computed", 1))
    kept = functools.cached_property(noting("kept", 1))


class Proxy:
    def __init__(self, behind):
        object.__setattr__(self, "behind", behind)

    @property
    def __class__(self):
        calls.append("__class__")
        return list

    def __getattr__(self, name):
        calls.append(name)
        return getattr(object.__getattribute__(self, "behind"), name)

    __len__ = noting("Proxy.__len__", 3)


class Refuses:
    def __getattribute__(self, name):
        calls.append(name)
        raise RuntimeError(name)


class Liar(ValueError):
    args = property(noting("args", 1))
    __cause__ = property(noting("cause", 1))


class Model:
    """As libraries make them: its text has what properties compute."""

    def __init__(self):
        self.number = 1

    def __repr__(self):
        return f"Model(number=1, computed={self.computed})"

    __repr__.__module__ = "pydantic.main"
    computed = property(noting("Model.computed", 2))


def work():
    made, cls, noted, refuses, model, error = Made(), Made, Noted(), Refuses(), Model(), Liar("said")
    proxy = Proxy([1, 2])
    held = {"key": Noted(), Made(): 1}
    listed = [Noted(), Made(), Proxy({})]
    read_only = types.MappingProxyType({"one": 1, "noted": Noted()})
    keys, values, items = held.keys(), {n: n for n in range(100_000)}.values(), {"a": Noted()}.items()
    space = types.SimpleNamespace(first=1, many=list(range(100_000)))
    chained = collections.ChainMap({"a": 1}, {"b": Noted()})
    user = collections.UserDict(a=1)
    part = functools.partial(print, noted, sep="")
    weak = weakref.ref(noted)
    keyed = {(1, "a"): 1, 2.5: 2, float("inf"): 3, (1, noted): 4}
    group = ExceptionGroup("several", [ValueError(1)])
    calls.clear()
    return sys.argv  # values are there


work()
