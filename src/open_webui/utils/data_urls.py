"""Finds data: URLs in JSON before it is decoded. Pure functions over bytes, for threads: none holds the interpreter for long."""

import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from open_webui.utils.pictures import sniff

# Shorter ones cost less in a row than as a file.
LEAST: Final = 1024
_HEAD: Final = re.compile(rb"data:([\w.+-]+\\?/[\w.+-]+)?((?:;[\w.+=-]+)*),")
_RASTER: Final = frozenset({b"image/png", b"image/jpeg", b"image/jpg", b"image/gif", b"image/webp"})
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=\\]")
# Characters of base64 that are looked at or decoded in one go, a multiple of four.
_PIECE: Final = 1 << 20
_QUOTE: Final = ord('"')
MARK: Final = b"data:"


# A string of a document that is a data: URL, of whatever length.
_STRING: Final = re.compile(rb'"data:[\w.+-]+\\?/')


class BadDataUrl(ValueError):
    """A picture's data: URL that can't be decoded; the text says why."""


class DataUrl(msgspec.Struct, frozen=True):
    """A data: URL in a document, which stands at [start:end]. data: what it holds."""

    start: int
    end: int
    data: bytes


def holds_any(document: bytes) -> bool:
    """Whether a string of the document is a data: URL, also one that is too short to be made a file."""
    return _STRING.search(document) is not None


def find(document: bytes, at: int = 0, strict: bool = True, least: int = LEAST) -> DataUrl | None:
    """The first data: URL from a position on that is to be a file: one that is long and is either a whole string or,
    inside of a text, a raster picture.

    strict: raises BadDataUrl for a string that says it is a picture and can't be decoded; else that is a text. least:
    characters of one that is long.
    """
    while (start := document.find(MARK, at)) >= 0:
        head = _HEAD.match(document, start, start + 300)
        at = start + len(MARK)
        if head is None:
            continue
        found = _whole(document, head, least) if _begins_string(document, start) else None
        found = found or _inside(document, head)
        if found is None and strict and _is_broken(document, head, least):
            raise BadDataUrl("A picture in this request is not valid base64.")
        if found is not None:
            return found
    return None


def _whole(document: bytes, head: "re.Match[bytes]", least: int) -> DataUrl | None:
    """The URL that takes all of a JSON string."""
    end = _closing_quote(document, head.end())
    if end - head.start() < least:
        return None
    body = document[head.end() : end]
    is_picture = _type(head).startswith(b"image/")
    if head[2].endswith(b";base64"):
        data = decoded(body.replace(b"\\/", b"/"))
    else:
        data = unquote_to_bytes(_text(body)) if is_picture else None
    return None if data is None else DataUrl(head.start(), end, data)


def _is_broken(document: bytes, head: "re.Match[bytes]", least: int) -> bool:
    """Whether a long string says that it is a picture, in base64."""
    if not head[2].endswith(b";base64") or not _begins_string(document, head.start()):
        return False
    return _type(head).startswith(b"image/") and _closing_quote(document, head.end()) - head.start() >= least


def _inside(document: bytes, head: "re.Match[bytes]") -> DataUrl | None:
    """A raster picture in the middle of a text, such as Markdown."""
    if _type(head) not in _RASTER or not head[2].endswith(b";base64"):
        return None
    start = end = head.end()
    while (other := _NOT_BASE64.search(document, end, end + _PIECE)) is None and end < len(document):
        end += _PIECE
    end = min(len(document), end) if other is None else other.start()
    body = document[start:end]
    # What follows a backslash that escapes no slash is not the picture's any more.
    escape = re.search(rb"\\(?!/)", body)
    if escape is not None:
        end = start + escape.start()
        body = body[: escape.start()]
    if end - head.start() < LEAST:
        return None
    data = decoded(body.replace(b"\\/", b"/"))
    return None if data is None or sniff(data) is None else DataUrl(head.start(), end, data)


def _type(head: "re.Match[bytes]") -> bytes:
    return (head[1] or b"").replace(b"\\/", b"/")


def _begins_string(document: bytes, at: int) -> bool:
    """Whether a JSON string begins here: a quote stands before it that no backslash escapes."""
    if at == 0 or document[at - 1] != _QUOTE:
        return False
    return not _is_escaped(document, at - 1)


def _is_escaped(document: bytes, at: int) -> bool:
    before = document[max(0, at - 64) : at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _closing_quote(document: bytes, at: int) -> int:
    while (end := document.find(b'"', at)) >= 0:
        if not _is_escaped(document, end):
            return end
        at = end + 1
    return len(document)


def _text(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(b'"' + body + b'"'))
    except msgspec.DecodeError:
        return body.decode(errors="replace")


def decoded(body: bytes) -> bytes | None:
    """The bytes of a base64 text; None for one that is not valid."""
    out = bytearray()
    try:
        for k in range(0, len(body), _PIECE):
            out += binascii.a2b_base64(body[k : k + _PIECE], strict_mode=True)
    except binascii.Error:
        return None
    return bytes(out)
