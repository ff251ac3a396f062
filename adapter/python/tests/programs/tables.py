"""Values of libraries that may not be installed: classes of the same names with what the engine asks of them, and refs."""

import collections
import dataclasses
import sys
import types


def library(name, *classes):
    module = types.ModuleType(name)
    for cls in classes:
        cls.__module__ = name
        setattr(module, cls.__name__, cls)
    sys.modules[name] = module


class Rows:
    def __init__(self, values):
        self.values = values

    def __getitem__(self, at):
        if isinstance(at, tuple):
            return Series(self.values[at[1]])
        return Series(self.values[at]) if isinstance(at, slice) else self.values[at]


class Series:
    dtype = "int64"

    def __init__(self, values):
        self.values = values
        self.iloc = Rows(values)

    def __len__(self):
        return len(self.values)

    def tolist(self):
        return self.values


class DataFrame:
    def __init__(self, columns):
        pairs = columns.items() if isinstance(columns, dict) else columns
        self.columns = [name for name, _ in pairs]
        self.dtypes = ["int64"] * len(self.columns)
        self.iloc = Rows([values for _, values in pairs])

    def __len__(self):
        return 3

    def __getitem__(self, name):
        return self.iloc[:, self.columns.index(name)]


class Array:
    type = "int32"

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, at):
        return types.SimpleNamespace(as_py=lambda: self.values[at])

    def slice(self, start, length):
        return Array(self.values[start : start + length])

    def to_pylist(self):
        return self.values


class Int32Array(Array):
    pass


class ObjectRef:
    def __init__(self, value):
        self.value_behind = value


def wait(refs, num_returns, timeout):
    return [r for r in refs if r.value_behind is not None], []


library("pandas", Series, DataFrame)
library("pyarrow", Array, Int32Array)
library("manta", ObjectRef)
sys.modules["manta"].wait = wait
sys.modules["manta"].get = lambda ref, timeout: ref.value_behind


class Label:
    """What a program may have in a table: its text is made by code of its own."""

    def __str__(self):
        raise RuntimeError("nobody asked")

    __format__ = __eq__ = __str__
    __hash__ = None


@dataclasses.dataclass
class Odd:
    size: int


def work():
    frame = DataFrame({"a": [1, 2, 3], "b c": [4, 5, 6]})
    doubled = DataFrame([("a", [1]), ("a", [2]), ((1, "x"), [3]), (Label(), [Label()])])
    empty = DataFrame({})
    series = Series(list(range(1_000)))
    arrow = Int32Array([7, 8, 9])
    done = ObjectRef([1, 2])
    undone = ObjectRef(None)
    count = 255
    counted = collections.Counter("aab")
    ordered = collections.OrderedDict(x=255)
    odd = Odd(16)
    odd.__dict__["no name"] = 1
    return count  # values are there


work()
