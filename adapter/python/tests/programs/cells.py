"""Runs a cell as a notebook's kernel does: each statement is compiled by itself, under the name of a file that is not there."""

import ast
import linecache
import tempfile

CELL = """\
def f(a):
    b = a + 1
    return b * 2

# a comment
x = f(20)
print("x", x)
"""
name = f"{tempfile.gettempdir()}/ipykernel_1/42.py"
linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
names = {"__name__": "__main__"}
for statement in ast.parse(CELL, name).body:
    exec(compile(ast.Module([statement], []), name, "exec"), names)
