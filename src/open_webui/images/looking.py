"""What a picture's bytes say of themselves, and the same picture without what it says of where it was made. Pure.

Nothing is decoded: sizes come from headers, and what is taken out are whole blocks. So the picture stays as it is.
"""

import struct
from typing import Final

import msgspec

from open_webui.utils.pictures import sniff

# Of one picture: a width or a height, and both together.
LONGEST: Final = 16_384
MOST_PIXELS: Final = 64_000_000
# Blocks of PNG that only describe the picture.
_PNG_TELLS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"})
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# APP1 (EXIF, XMP), APP13 (Photoshop) and comments.
_JPEG_TELLS: Final = frozenset({0xE1, 0xED, 0xFE})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_WEBP_TELLS: Final = frozenset({b"EXIF", b"XMP "})


class BadPicture(Exception):
    """Why bytes are no picture that is taken, as a sentence."""


class Looks(msgspec.Struct, frozen=True):
    """mime: PNG, JPEG, GIF or WebP. width, height: in pixels."""

    mime: str
    width: int
    height: int


def look(data: bytes) -> Looks:
    """What a picture is, by its header. Raises BadPicture for what is none, or is larger than one is taken."""
    mime = sniff(data[:64])
    if mime is None:
        raise BadPicture("It is no PNG, JPEG, GIF or WebP.")
    try:
        width, height = _SIZES[mime](data)
    except (struct.error, IndexError):
        raise BadPicture("It ends before it says how large it is.") from None
    if width < 1 or height < 1:
        raise BadPicture("It has no pixels.")
    if width > LONGEST or height > LONGEST or width * height > MOST_PIXELS:
        raise BadPicture(f"It has {width} x {height} pixels, more than are taken.")
    return Looks(mime, width, height)


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise BadPicture("It is no whole PNG.")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    for marker, start, _ in _segments(data):
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, start + 5)
            return width, height
    raise BadPicture("It is no whole JPEG.")


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        (low, _) = struct.unpack_from("<II", data, 24)
        (high,) = struct.unpack_from("<I", data[27:30] + b"\0", 0)
        return (low & 0xFFFFFF) + 1, high + 1
    raise BadPicture("It is no whole WebP.")


_SIZES: Final = {"image/png": _png, "image/gif": _gif, "image/jpeg": _jpeg, "image/webp": _webp}


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """The blocks of a JPEG before its pixels: marker, where it begins (at 0xFF), where it ends. Raises struct.error."""
    out: list[tuple[int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and len(out) < 10_000:
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker in {0xD9, 0xDA}:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            break
        out.append((marker, at, at + 2 + length))
        at += 2 + length
    return out


def bare(data: bytes, mime: str) -> bytes:
    """The picture without descriptions: where and with what it was made, which prompt it came of. Raises BadPicture where its
    blocks don't fit together. A GIF stays as it is.
    """
    try:
        if mime == "image/png":
            return _bare_png(data)
        if mime == "image/webp":
            return _bare_webp(data)
        if mime == "image/jpeg":
            left = [(start, end) for marker, start, end in _segments(data) if marker in _JPEG_TELLS]
            return _without(data, left)
    except (struct.error, IndexError):
        raise BadPicture("It ends in its middle.") from None
    return data


def _bare_png(data: bytes) -> bytes:
    left: list[tuple[int, int]] = []
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise BadPicture("It ends in its middle.")
        if kind in _PNG_TELLS:
            left.append((at, end))
        if kind == b"IEND":
            left.append((end, len(data)))
            break
        at = end
    else:
        raise BadPicture("It ends in its middle.")
    return _without(data, left)


def _bare_webp(data: bytes) -> bytes:
    left: list[tuple[int, int]] = []
    (size,) = struct.unpack_from("<I", data, 4)
    if 8 + size > len(data):
        raise BadPicture("It ends in its middle.")
    at, flags = 12, -1
    while at + 8 <= 8 + size:
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + (length & 1)
        if kind == b"VP8X":
            flags = at + 8
        if kind in _WEBP_TELLS:
            left.append((at, end))
        at = end
    if not left:
        return data
    out = bytearray(_without(data[: 8 + size], left))
    struct.pack_into("<I", out, 4, len(out) - 8)
    if flags >= 0:
        # Neither EXIF nor XMP any more.
        out[flags] &= ~0x0C
    return bytes(out)


def _without(data: bytes, left: list[tuple[int, int]]) -> bytes:
    if not any(end > start for start, end in left):
        return data
    parts, at = [], 0
    for start, end in left:
        parts.append(data[at:start])
        at = max(at, end)
    return b"".join([*parts, data[at:]])
