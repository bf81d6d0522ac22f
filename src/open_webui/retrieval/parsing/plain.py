"""Reads what is text by itself: plain text, Markdown, source code, JSON, XML and tables of values, whatever its encoding."""

import codecs
import csv
import io
import re
from typing import Final

from open_webui.retrieval.parsing.base import Parsed, ParseError, clean
from open_webui.retrieval.parsing.html import parse_html

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED: Final = re.compile(
    rb"""(?:<meta[^>]{0,200}charset|<\?xml[^>]{0,100}encoding)\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE
)
_DECLARE: Final = frozenset({"html", "xml"})
# Values of a table that are no heading.
_NUMBER: Final = re.compile(r"\s*[-+]?[\d.,:/%$€£ -]+\s*")
_DELIMITERS: Final = ",;\t|"
_MAX_CELL: Final = 1_000_000


def parse_plain(content: bytes, kind: str, name: str) -> Parsed:
    """The text of a file of one of `kinds.TEXTS`. Its time rises with the size alone. Raises ParseError for bytes that are
    no text.
    """
    text = clean(decode(content, name, declares=kind in _DECLARE))
    if kind == "html":
        return parse_html(text)
    if kind in {"csv", "tsv"}:
        return Parsed(_table(text, "\t" if kind == "tsv" else None))
    return Parsed(text, title=_title(text) if kind == "markdown" else None, markdown=kind == "markdown")


def decode(content: bytes, name: str, *, declares: bool = False) -> str:
    """Bytes as text. declares: whether the text itself may say its encoding, as HTML and XML do.

    A mark at the beginning wins, then UTF-8 where the bytes are that, then what the text declares, then Windows-1252.
    Raises ParseError for bytes that are no text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    if b"\x00" in content:
        raise ParseError(
            f"'{name}' is not a text: it has bytes in it that no text has. Its format is not one that can be read."
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    if declares and (declared := _DECLARED.search(content[:2048])):
        try:
            return content.decode(declared[1].decode(), "replace")
        except (LookupError, ValueError):  # no such encoding
            pass
    # UTF-8 in which a few bytes are broken, as logs have it, is not Windows-1252.
    text = content.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken * 20 < len(content) - len(text):
        return text
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _title(text: str) -> str | None:
    found = re.search(r"^# +(\S.*)$", text[:10_000], re.MULTILINE)
    return found[1].strip(" #")[:300] if found else None


def _table(text: str, delimiter: str | None) -> str:
    """A line for each row, with the column's name before each value: a row says by itself what it means.

    A table without names in its first row, and what can't be read as one, stays as it is.
    """
    first = text.lstrip("\n").partition("\n")[0]
    if delimiter is None:
        delimiter = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(_MAX_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        names = [" ".join(cell.split()) for cell in next(rows, [])]
        if len(names) < 2 or len(set(names)) < len(names) or not all(names) or any(map(_NUMBER.fullmatch, names)):
            return text
        lines = []
        size, bound = 0, 20 * len(text) + 10_000
        for row in rows:
            cells = [" ".join(cell.split()) for cell in row]
            line = "; ".join(f"{n}: {c}" for n, c in zip(names, cells, strict=False) if c)
            line = "; ".join([line, *filter(None, cells[len(names) :])])
            size += len(line)
            if size > bound:  # long names over short values
                return text
            lines.append(line)
    except csv.Error:
        return text
    return "\n".join(line for line in lines if line) if lines else text
