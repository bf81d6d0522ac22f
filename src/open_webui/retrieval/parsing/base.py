"""What reading a file comes to: its text, or a sentence that says why there is none."""

import re
from typing import Final

import msgspec

# Characters of text that are kept of one document.
MAX_TEXT: Final = 50_000_000
_BREAKS: Final = re.compile(r"\r\n?|\x85|\u2028|\u2029")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ud800-\udfff]+")


class Parsed(msgspec.Struct, frozen=True):
    r"""The text of a document.

    text: plain text or Markdown, its lines ended by \\n. pages: where each page starts in `text`, rising; empty where the
    document has no pages. title: what the document calls itself. markdown: its headings are lines that begin with "#".
    """

    text: str
    pages: tuple[int, ...] = ()
    title: str | None = None
    markdown: bool = False


class ParseError(Exception):
    """A document can't be read. Its text is a sentence for a person; it names the file. final: trying again is no use."""

    def __init__(self, message: str, *, final: bool = True) -> None:
        super().__init__(message)
        self.final = final


def clean(text: str) -> str:
    r"""The text with \\n as its only line break, and without characters that no database takes and nobody sees."""
    return _CONTROLS.sub("", _BREAKS.sub("\n", text))


def finished(parsed: Parsed, name: str) -> Parsed:
    """What was read, if it is text that can be kept. Raises ParseError where it is empty or too long."""
    if len(parsed.text) > MAX_TEXT:
        raise ParseError(f"'{name}' has more than {MAX_TEXT:,} characters of text. Split it into smaller files.")
    if not parsed.text.strip():
        raise ParseError(f"'{name}' has no text in it.")
    return parsed
