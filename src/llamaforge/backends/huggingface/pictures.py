"""Pictures in messages, decoded for a model's processor: of bounded size, and refused in a sentence where they are none."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llamaforge.exceptions import MissingExtraError, ParameterError

MOST: Final = 16
MOST_PIXELS: Final = 32_000_000
_LIMIT: Final = f"at most {MOST_PIXELS // 10**6} million pixels are read. Send a smaller one."
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def with_pictures(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Checked messages as a processor's chat template has them: lists of parts, each picture decoded.

    Raises ParameterError for a picture that can't be read, is too large, or is one too many.
    """
    made: list[dict[str, Any]] = []
    count = 0
    for message in messages:
        content = message.get("content") or ""
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        for place, part in enumerate(parts):
            if part["type"] == "image_url":
                count += 1
                if count > MOST:
                    raise ParameterError(f"One request may have at most {MOST} pictures.")
                parts[place] = {"type": "image", "image": decoded(part["image_url"]["url"])}
        made.append({**message, "content": parts})
    return made


def decoded(url: str) -> Any:
    """The picture in a data: URL, as Pillow's in RGB. Raises ParameterError."""
    try:
        from PIL import Image  # noqa: PLC0415 -- of an extra, and of use for models that see only
    except ImportError as error:
        raise MissingExtraError("transformers", "pillow") from error
    head, _, data = url.partition(",")
    if not head.lower().endswith(";base64"):
        raise ParameterError("A picture must be given as 'data:image/...;base64,...'.")
    known, faults = ", ".join(FORMATS), (binascii.Error, OSError, ValueError, SyntaxError, EOFError)
    unreadable = f"A picture can't be read; it must be whole and one of {known}, in base64."
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ParameterError(f"A picture is too large; {_LIMIT}") from error
    except faults as error:
        raise ParameterError(unreadable) from error
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ParameterError(f"A picture has {width} x {height} pixels; {_LIMIT}")
    try:
        return picture.convert("RGB")
    except faults as error:
        raise ParameterError(unreadable) from error
