"""Log messages with expressions in braces: `x is {x}`; `{{` and `}}` are plain braces."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType


class LogTemplate:
    """A log message, its expressions compiled once."""

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        self._parts: list[str | CodeType] = list(_parse(text))

    def render(self, evaluate: Callable[[CodeType], str]) -> str:
        """The message, with each expression replaced by what `evaluate` makes of it."""
        return "".join(p if isinstance(p, str) else evaluate(p) for p in self._parts)


def _parse(text: str) -> list[str | CodeType]:
    parts: list[str | CodeType] = []
    plain: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char in "{}" and text[at : at + 2] == char * 2:
            plain.append(char)
            at += 2
        elif char == "{":
            end = _closing_brace(text, at)
            parts.append("".join(plain))
            plain = []
            parts.append(_compile(text[at + 1 : end]))
            at = end + 1
        else:
            plain.append(char)
            at += 1
    parts.append("".join(plain))
    return parts


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    quote = ""
    for at in range(start, len(text)):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "{[(":
            depth += 1
        elif char in "}])":
            depth -= 1
            if depth == 0:
                return at
    raise ValueError(f"The log message '{text}' has a brace that is not closed.")


def _compile(expression: str) -> CodeType:
    try:
        return compile(expression.strip(), "<log message>", "eval", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"The log message's expression '{expression}' is not valid: {error}.") from None
