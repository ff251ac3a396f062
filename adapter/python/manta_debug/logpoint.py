"""Log messages with expressions in braces: `x is {x}`, `{x:.2f}`, `{x!r}`, `{x=}`; `{{` and `}}` are plain braces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

_OPENING, _CLOSING = "{[(", "}])"


class LogTemplate:
    """A log message, its expressions compiled once."""

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        self._parts: list[str | _Expression] = list(_parse(text))

    def render(
        self,
        evaluate: Callable[[CodeType], Any],
        show: Callable[[Any], str],
        describe: Callable[[Exception], str],
    ) -> str:
        """The message. `evaluate` gives the value of an expression, and `show` its text where the message asks for no format.

        An expression that fails leaves what `describe` says of its error.
        """
        written: list[str] = []
        for part in self._parts:
            try:
                written.append(part if isinstance(part, str) else part.text(evaluate, show, describe))
            except Exception as error:
                written.append(f"<{describe(error)}>")
        return "".join(written)


class _Expression:
    """What stands in a pair of braces."""

    __slots__ = ("_code", "_prefix", "_conversion", "_format")

    def __init__(self, text: str) -> None:
        code, self._prefix, conversion, wanted = _compiled(text), "", "", None
        if code is None:
            expression, conversion, wanted = _split(text)
            if expression.rstrip().endswith("=") and _compiled(expression.rstrip()[:-1]) is not None:
                self._prefix, expression = expression, expression.rstrip()[:-1]
                conversion = conversion or ("r" if wanted is None else "")
            code = _compile(expression)
        self._code = code
        self._conversion = conversion
        self._format = LogTemplate(wanted) if wanted is not None else None

    def text(
        self,
        evaluate: Callable[[CodeType], Any],
        show: Callable[[Any], str],
        describe: Callable[[Exception], str],
    ) -> str:
        """What stands in the message instead of the braces."""
        value = evaluate(self._code)
        if self._conversion:
            value = _CONVERSIONS[self._conversion](value)
        if self._format is None:
            return self._prefix + (value if self._conversion else show(value))
        return self._prefix + format(value, self._format.render(evaluate, show, describe))


_CONVERSIONS: dict[str, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}


def _parse(text: str) -> list[str | _Expression]:
    parts: list[str | _Expression] = []
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
            parts.append(_Expression(text[at + 1 : end]))
            at = end + 1
        else:
            plain.append(char)
            at += 1
    parts.append("".join(plain))
    return parts


def _outside_quotes(text: str, start: int = 0) -> Iterator[tuple[int, str, int]]:
    """Where each character stands that is in no quotes, and how many brackets are open behind it."""
    depth = 0
    quote = ""
    for at in range(start, len(text)):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
            continue
        if char in "'\"":
            quote = char
            continue
        if char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        yield at, char, depth


def _closing_brace(text: str, start: int) -> int:
    for at, char, depth in _outside_quotes(text, start):
        if depth == 0 and char in _CLOSING:
            return at
    raise ValueError(f"The log message '{text}' has a brace that is not closed.")


def _split(text: str) -> tuple[str, str, str | None]:
    """The expression, the letter of its conversion, and its format: at the first `!r` or `:` outside of brackets and quotes."""
    for at, char, depth in _outside_quotes(text):
        if depth != 0:
            continue
        if char == "!" and text[at + 1 : at + 2] in _CONVERSIONS and text[at + 2 : at + 3] in ("", ":"):
            return text[:at], text[at + 1], text[at + 3 :] if text[at + 2 :] else None
        if char == ":" and _compiled(text[:at].rstrip().removesuffix("=")) is not None:
            return text[:at], "", text[at + 1 :]
    return text, "", None


def _compiled(expression: str) -> CodeType | None:
    try:
        return _compile(expression)
    except ValueError:
        return None


def _compile(expression: str) -> CodeType:
    if not expression.strip():
        raise ValueError("The log message has braces with nothing between them; write {{}} for plain braces.")
    try:
        return compile(expression.strip(), "<log message>", "eval", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"The log message's expression '{expression}' is not valid: {error}.") from None
