"""Filters and attribute paths of SCIM (RFC 7644, 3.4.2.2 and 3.5.2): read with bounds, and matched against one value.

A filter may also have a part of a value behind its brackets, `emails[type eq "work"].value eq "x"`, as Entra sends it.
"""

import re
from typing import Any, Final, Literal, NoReturn

import msgspec

Operator = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"]
OPERATORS: Final = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"})
MAX_TEXT: Final = 2_000
# Comparisons of one filter, and brackets within brackets.
MAX_COMPARISONS: Final = 50
MAX_DEPTH: Final = 10
_TOKEN: Final = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign>[()\[\]])|(?P<name>\.?[A-Za-z$][A-Za-z0-9$_:.\-]*)|(?P<number>-?\d+(?:\.\d+)?))'
)
_NAME: Final = re.compile(r"\$?[A-Za-z][A-Za-z0-9$_-]*")


class FilterProblem(ValueError):
    """A filter or a path that can't be read; the sentence says why."""


class Comparison(msgspec.Struct, frozen=True):
    """path: the attribute, or the attribute and its part, in small letters. value: None for `pr`."""

    path: tuple[str, ...]
    operator: Operator
    value: str | bool | int | float | None = None


class Both(msgspec.Struct, frozen=True):
    """All parts hold (and), or at least one (or)."""

    word: Literal["and", "or"]
    parts: "tuple[Filter, ...]"


class Not(msgspec.Struct, frozen=True):
    of: "Filter"


class Within(msgspec.Struct, frozen=True):
    """One value of an attribute with several fulfils this; paths in it are parts of the value."""

    attribute: str
    of: "Filter"


Filter = Comparison | Both | Not | Within


class Path(msgspec.Struct, frozen=True):
    """What a PATCH is about, in small letters: an attribute, those of its values that fulfil a filter, a part of them."""

    attribute: str
    of: Filter | None = None
    part: str | None = None


def without_schema(name: str) -> tuple[str, str]:
    """The schema's URN in front of a name, in small letters ("" where there is none), and what is behind it."""
    if not name.lower().startswith("urn:"):
        return "", name
    # A version has a point in it (2.0), so the last colon is what parts them.
    head, _, tail = name.rpartition(":")
    return head.lower(), tail


def read_filter(text: str) -> Filter:
    """Raises FilterProblem."""
    reader = _Reader(text)
    found = reader.either()
    reader.end()
    return found


def read_path(text: str) -> tuple[str, Path]:
    """The schema that a path names, and the path. Raises FilterProblem."""
    opening = text.find("[")
    if opening < 0:
        schema, rest = without_schema(text.strip())
        names = _names(rest)
        return schema, Path(names[0], None, names[1] if len(names) == 2 else None)
    closing = text.rfind("]")
    schema, rest = without_schema(text[:opening].strip())
    names, behind = _names(rest), text[closing + 1 :].strip()
    if closing < opening or len(names) != 1 or (behind and not behind.startswith(".")):
        raise FilterProblem(f"'{text[:100]}' is no path of an attribute.")
    parts = _names(behind[1:]) if behind else ()
    if len(parts) > 1:
        raise FilterProblem(f"'{text[:100]}' names a part of a part, of which there is none.")
    return schema, Path(names[0], read_filter(text[opening + 1 : closing]), parts[0] if parts else None)


def _names(text: str) -> tuple[str, ...]:
    names = text.split(".")
    if len(names) > 2 or not all(_NAME.fullmatch(name) for name in names):
        raise FilterProblem(f"'{text[:100]}' is no name of an attribute.")
    return tuple(name.lower() for name in names)


class _Reader:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise FilterProblem(f"A filter has {MAX_TEXT:,} characters at most.")
        self._tokens: list[tuple[str, str]] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise FilterProblem(f"The filter can't be read from its character {at + 1} on.")
            kind = str(found.lastgroup)
            self._tokens.append((kind, found.group(kind)))
            at = found.end()
        self._at = 0
        self._depth = 0
        self._count = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        found = self._peek()
        self._at += 1
        return found

    def _is(self, word: str) -> bool:
        """Whether this word or sign is next; it is passed then."""
        kind, text = self._peek()
        if kind in {"name", "sign"} and text.lower() == word:
            self._at += 1
            return True
        return False

    def end(self) -> None:
        if self._at < len(self._tokens):
            self._wrong()

    def _wrong(self) -> NoReturn:
        at = self._peek()[1]
        raise FilterProblem(f"The filter can't be read at '{at[:50]}'." if at else "The filter ends too early.")

    def either(self) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterProblem(f"A filter has brackets within brackets {MAX_DEPTH} times at most.")
        parts = [self._all()]
        while self._is("or"):
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Both("or", tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._is("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Both("and", tuple(parts))

    def _one(self) -> Filter:
        negated = self._peek()[1].lower() == "not" and self._after("(")
        if negated:
            self._at += 1
        if self._is("("):
            inside = self.either()
            if not self._is(")"):
                self._wrong()
            return Not(inside) if negated else inside
        kind, name = self._next()
        if kind != "name" or name.startswith("."):
            self._at -= 1
            self._wrong()
        names = _names(without_schema(name)[1])
        return self._values(names) if self._is("[") else self._comparison(names)

    def _after(self, sign: str) -> bool:
        return self._at + 1 < len(self._tokens) and self._tokens[self._at + 1] == ("sign", sign)

    def _values(self, names: tuple[str, ...]) -> Filter:
        inside = self.either()
        if not self._is("]") or len(names) != 1:
            self._wrong()
        kind, part = self._peek()
        if kind == "name" and part.startswith("."):
            self._at += 1
            inside = Both("and", (inside, self._comparison(_names(part[1:]))))
        return Within(names[0], inside)

    def _comparison(self, names: tuple[str, ...]) -> Comparison:
        self._count += 1
        if self._count > MAX_COMPARISONS:
            raise FilterProblem(f"A filter has {MAX_COMPARISONS} comparisons at most.")
        kind, word = self._next()
        operator: Any = word.lower()
        if kind != "name" or operator not in OPERATORS:
            self._at -= 1
            self._wrong()
        return Comparison(names, operator) if operator == "pr" else Comparison(names, operator, self._value())

    def _value(self) -> str | bool | int | float | None:
        kind, text = self._next()
        if kind not in {"text", "number"} and text.lower() not in {"true", "false", "null"}:
            self._at -= 1
            self._wrong()
        try:
            value: str | bool | int | float | None = msgspec.json.decode(text if kind == "text" else text.lower())
        except msgspec.DecodeError:
            raise FilterProblem("A text in the filter has a sign in it that JSON has not.") from None
        return value


def matches(wanted: Filter, value: Any) -> bool:
    """Whether one value of an attribute fulfils a filter about its parts."""
    if isinstance(wanted, Both):
        decide = all if wanted.word == "and" else any
        return decide(matches(part, value) for part in wanted.parts)
    if isinstance(wanted, Not):
        return not matches(wanted.of, value)
    if isinstance(wanted, Within) or len(wanted.path) != 1:
        raise FilterProblem("Between the brackets are parts of the attribute only.")
    own = {str(k).lower(): v for k, v in value.items()} if isinstance(value, dict) else {"value": value}
    return _holds(own.get(wanted.path[0]), wanted.operator, wanted.value)


def _holds(own: Any, operator: Operator, given: Any) -> bool:
    if operator == "pr":
        return own not in (None, "")
    own, given = (one.lower() if isinstance(one, str) else one for one in (own, given))
    if operator in {"eq", "ne"}:
        return bool(own == given) is (operator == "eq")
    if not isinstance(own, str) or not isinstance(given, str):
        return False
    if operator in {"co", "sw", "ew"}:
        return {"co": given in own, "sw": own.startswith(given), "ew": own.endswith(given)}[operator]
    return {"gt": own > given, "ge": own >= given, "lt": own < given, "le": own <= given}[operator]


def wanted_of(wanted: Filter) -> dict[str, Any] | None:
    """The parts that a value must have to fulfil a filter of equals only, such as `type eq "work"`; None for any other."""
    if isinstance(wanted, Comparison) and wanted.operator == "eq" and len(wanted.path) == 1:
        return {wanted.path[0]: wanted.value}
    if isinstance(wanted, Both) and wanted.word == "and":
        parts = [wanted_of(part) for part in wanted.parts]
        return None if None in parts else {k: v for part in parts for k, v in (part or {}).items()}
    return None
