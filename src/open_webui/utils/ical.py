"""Files of calendars (iCalendar, RFC 5545): read into components with their properties, and written.

Nothing is interpreted here but the form: lines that are folded, parameters, texts with escapes. Reading is bounded by the file's
size and by MAX_LINES; what a component need not have is left out on the way (`wanted`).
"""

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from open_webui.errors import BadRequest

MAX_LINES: Final = 500_000
MAX_DEPTH: Final = 4
# Octets of a line that is written.
FOLD: Final = 75
NO_CALENDAR: Final = "This is no calendar file: it should begin with BEGIN:VCALENDAR."
TRUNCATED: Final = "The file ends in the middle: the end of a {} is missing. Nothing was taken from it."
ASTRAY: Final = "Line {}: END:{} stands where no {} has begun. Nothing was taken from the file."
TOO_DEEP: Final = "Line {}: components stand in each other more than {} deep. Nothing was taken from the file."
TOO_LONG: Final = f"The file has more than {MAX_LINES:,} lines."
_FOLDED: Final = re.compile(rb"\r?\n[ \t]|\r(?!\n)[ \t]")
_PARAMETER: Final = re.compile(r';([A-Za-z0-9-]+)=((?:"[^"]*"|[^";])*)')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_CARET: Final = re.compile(r"\^(.)")
# Nothing but line ends and tabs is a control character in a text.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Property(msgspec.Struct, frozen=True):
    """A line: its name in capitals, its value as it is written, its parameters by their names in capitals."""

    name: str
    value: str
    parameters: dict[str, str] = {}

    @property
    def text(self) -> str:
        """The value of a text."""
        return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], self.value)


class Component(msgspec.Struct):
    """What stands between BEGIN and END. line: where it begins."""

    name: str
    line: int
    properties: list[Property] = []
    parts: "list[Component]" = []

    def get(self, name: str) -> Property | None:
        """The first property of a name."""
        return next((one for one in self.properties if one.name == name), None)

    def all(self, name: str) -> list[Property]:
        return [one for one in self.properties if one.name == name]

    def text(self, name: str) -> str:
        """The text of the first property of a name, without spaces around it; empty where there is none."""
        found = self.get(name)
        return "" if found is None else found.text.strip()


# Reading


def read(data: bytes, wanted: Callable[[str, str], bool]) -> list[Component]:
    """The calendars of a file. wanted: whether a property, by its component's name and its own, is kept. In a thread.

    Raises BadRequest for what is no calendar file, or only a part of one.
    """
    root = Component("", 0)
    stack = [root]
    for number, line in _lines(data):
        name, parameters, value = _parsed(line)
        if name == "BEGIN":
            if len(stack) > MAX_DEPTH:
                raise BadRequest(TOO_DEEP.format(number, MAX_DEPTH))
            inner = Component(value.strip().upper(), number)
            stack[-1].parts.append(inner)
            stack.append(inner)
        elif name == "END":
            kind = value.strip().upper()
            if len(stack) == 1 or stack[-1].name != kind:
                raise BadRequest(ASTRAY.format(number, kind[:40], kind[:40]))
            stack.pop()
        elif len(stack) > 1 and name and wanted(stack[-1].name, name):
            stack[-1].properties.append(Property(name, value, parameters))
        if not root.parts:
            raise BadRequest(NO_CALENDAR)
    if len(stack) > 1:
        raise BadRequest(TRUNCATED.format(stack[-1].name[:40]))
    calendars = [one for one in root.parts if one.name == "VCALENDAR"]
    if not calendars:
        raise BadRequest(NO_CALENDAR)
    return calendars


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines of a file that aren't empty, each with its number, counted as they are folded."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    # In bytes: some fold in the middle of a character.
    data = _FOLDED.sub(b"", data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    start, number = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        if number > MAX_LINES:
            raise BadRequest(TOO_LONG)
        line = _CONTROL.sub("", text[start:end].rstrip("\r"))
        start = end + 1
        if line.strip():
            yield number, line


def _parsed(line: str) -> tuple[str, dict[str, str], str]:
    """Name, parameters and value of a line; an empty name for what is no property."""
    place, is_quoted = 0, False
    for place, sign in enumerate(line):  # noqa: B007 - where it ended
        if sign == '"':
            is_quoted = not is_quoted
        elif sign == ":" and not is_quoted:
            break
    else:
        return "", {}, ""
    head, value = line[:place], line[place + 1 :]
    name, semicolon, rest = head.partition(";")
    found = {}
    for key, told in _PARAMETER.findall(semicolon + rest):
        found[key.upper()] = _CARET.sub(_unescaped, told.strip().strip('"'))
    return name.strip().upper(), found, value


def _unescaped(found: re.Match[str]) -> str:
    """RFC 6868."""
    return {"n": "\n", "'": '"', "^": "^"}.get(found[1], found[0])


# Writing


def escaped(text: str) -> str:
    """A text as it stands in a value."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def quoted(text: str) -> str:
    """A text as it stands in a parameter (RFC 6868)."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\t", " ")
    return '"' + text.replace("^", "^^").replace('"', "^'").replace("\n", "^n") + '"'


def line(name: str, value: str) -> str:
    """A line with its end, folded. name: with its parameters."""
    left = f"{name}:{value}".encode()
    out = []
    most = FOLD
    while len(left) > most:
        cut = most
        # Not within a character.
        while left[cut] & 0xC0 == 0x80:
            cut -= 1
        out.append(left[:cut])
        left = left[cut:]
        # The space before it counts.
        most = FOLD - 1
    out.append(left)
    return b"\r\n ".join(out).decode() + "\r\n"
