"""Hit conditions: `5`, `== 5`, `> 5`, `>= 5`, `< 5`, `<= 5` and `% 5`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

_PATTERN = re.compile(r"\s*(==|=|>=|>|<=|<|%)?\s*(\d{1,18})\s*")

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "%": lambda hits, every: hits % every == 0,
}


def parse_hit_condition(text: str) -> Callable[[int], bool]:
    """A test of the number of hits so far; `ValueError` with a sentence when the text is none."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"The hit condition '{text}' is not understood: write a number, or one of == > >= < <= % before a number."
        )
    sign, number = match.group(1) or "", int(match.group(2))
    if sign == "%" and number == 0:
        raise ValueError("The hit condition '% 0' never holds: write a number above zero.")
    compare = _COMPARE[sign]
    return lambda hits: compare(hits, number)
