"""Pictures that stand as data: URLs on lines of their own among what code printed. Pure."""

import base64
import binascii
from typing import Final

_MARK: Final = "data:image/"
_LONGEST: Final = 16 * 2**20
MOST: Final = 10


def without_pictures(text: str) -> tuple[str, tuple[bytes, ...]]:
    """The text without them, and the pictures. A line that can't be decoded goes, too: nobody can read it."""
    if _MARK not in text:
        return text, ()
    lines: list[str] = []
    pictures: list[bytes] = []
    for line in text.split("\n"):
        if not line.startswith(_MARK):
            lines.append(line)
            continue
        _, _, encoded = line.strip().partition(";base64,")
        if encoded and len(encoded) <= _LONGEST and len(pictures) < MOST:
            try:
                pictures.append(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                continue
    return "\n".join(lines), tuple(pictures)
