"""Small pictures of people: recognised by their bytes, taken out of data: URLs, and one to show for who has none."""

import base64
import binascii
import codecs
import functools
import struct
import zlib
from typing import Final

MAX_DATA_URL: Final = 1_500_000
_SIGNATURES: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def sniff(data: bytes) -> str | None:
    """The media type of a PNG, JPEG, GIF or WebP, by its first bytes; None for anything else (an SVG runs scripts)."""
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


RASTER: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
TEXT: Final = "text/plain; charset=utf-8"
UNKNOWN: Final = "application/octet-stream"
_EXTENSIONS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    TEXT: ".txt",
}


def media_type(head: bytes) -> str:
    """The media type of a file by its first bytes: a picture as `sniff` knows it, PDF, text, or UNKNOWN.

    Never one that a browser runs: HTML and SVG are text.
    """
    picture = sniff(head)
    if picture is not None:
        return picture
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    try:
        # The last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return UNKNOWN
    return UNKNOWN if "\x00" in text else TEXT


def extension(mime: str) -> str:
    """The end of a file's name, with its dot, for a type that `media_type` gives."""
    return _EXTENSIONS.get(mime, ".bin")


def from_data_url(url: str) -> tuple[bytes, str] | None:
    """The bytes and media type of a picture in a data: URL; None when it is none that `sniff` knows."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64") or len(url) > MAX_DATA_URL:
        return None
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return None
    media_type = sniff(data)
    return None if media_type is None else (data, media_type)


@functools.cache
def nobody(size: int = 96) -> bytes:
    """A PNG of a head and shoulders, light on grey."""
    ground, figure = b"\x9a\xa0\xa8", b"\xee\xf0\xf2"
    middle = size / 2
    rows = bytearray()
    for y in range(size):
        rows.append(0)
        for x in range(size):
            head = (x - middle) ** 2 + (y - size * 0.38) ** 2 < (size * 0.18) ** 2
            shoulders = ((x - middle) / (size * 0.34)) ** 2 + ((y - size) / (size * 0.36)) ** 2 < 1
            rows += figure if head or shoulders else ground
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
