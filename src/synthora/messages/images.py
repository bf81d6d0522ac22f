"""Images of messages: an address, a data: URI or a file, checked to be an image."""

from __future__ import annotations

import base64
import binascii
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from synthora.exceptions import ImageError

# The first bytes of the formats that model providers take.
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
}
_PREFIX = 16


def parse_image(image: str | PathLike[str]) -> str:
    """What goes to a provider: an http(s) address or data: URI as it is, a file as a data: URI.

    Raises FileNotFoundError when the file does not exist, ImageError for what is no PNG, JPEG, GIF, WebP or BMP.
    """
    text = str(image)
    if text.startswith(("http://", "https://")):
        if not urlsplit(text).hostname:
            raise ImageError(f"The image's address {text!r} names no server.")
        return text
    if text.startswith("data:"):
        return _checked_data(text)
    return _file_as_data(Path(image))


def _checked_data(uri: str) -> str:
    head, comma, data = uri.partition(",")
    if not head.startswith("data:image/") or not comma:
        raise ImageError(f"The data: URI {_short(uri)} holds no image.")
    if head.endswith(";base64"):
        try:
            decoded = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ImageError(f"The data: URI {_short(uri)} is not base64.") from error
        # A vector image has no signature to look for.
        if not head.startswith("data:image/svg") and _kind(decoded) is None:
            raise ImageError(f"The data: URI {_short(uri)} says it holds an image, but its bytes are none.")
    return uri


def _file_as_data(path: Path) -> str:
    if not path.exists():
        raise FileNotFoundError(f"There is no image at '{path}'.")
    if not path.is_file():
        raise ImageError(f"'{path}' is no file.")
    with path.open("rb") as file:
        start = file.read(_PREFIX)
        kind = _kind(start)
        if kind is None:
            raise ImageError(f"'{path}' is no image that models take (PNG, JPEG, GIF, WebP or BMP).")
        data = start + file.read()
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _kind(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None)


def _short(uri: str) -> str:
    return repr(uri if len(uri) <= 40 else f"{uri[:40]}…")
