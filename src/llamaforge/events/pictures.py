"""The forms in which providers give a picture, as one: an address or a `data:image/` URL. Pure; nothing is decoded."""

from __future__ import annotations

from typing import Any, Final

# Where a picture, or an object with it, may stand in an object: OpenAI's chat, its Responses and Images APIs, Anthropic's,
# Gemini's and Ollama's.
_NAMES: Final = (
    "image_url", "url", "b64_json", "result", "inlineData", "inline_data", "source", "image", "data", "image_base64",
)  # fmt: skip
_TYPES: Final = ("mimeType", "mime_type", "media_type", "content_type")
_ADDRESSES: Final = ("data:image/", "https://", "http://")
# How the base64 of a picture begins.
_BEGINNINGS: Final = (
    ("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"),
)  # fmt: skip
_DEEPEST: Final = 4


def url_of(value: Any) -> str | None:
    """The picture in a part of an answer: as an address, or as a data: URL. None where there is none that can be read."""
    mime: str | None = None
    for _ in range(_DEEPEST):
        if isinstance(value, str):
            return _of_text(value, mime)
        if not isinstance(value, dict):
            return None
        mime = next((value[name] for name in _TYPES if isinstance(value.get(name), str)), mime)
        value = next((value[name] for name in _NAMES if value.get(name)), None)
    return _of_text(value, mime) if isinstance(value, str) else None


def of_base64(text: str, mime: str | None = None) -> str | None:
    """The data: URL of base64 that begins as one of a picture, or of which the type is told."""
    found = next((kind for begins, kind in _BEGINNINGS if text.startswith(begins)), None)
    found = found or (mime if mime is not None and mime.startswith("image/") else None)
    return f"data:{found};base64,{text}" if found is not None and text else None


def _of_text(text: str, mime: str | None) -> str | None:
    return text if text.startswith(_ADDRESSES) else of_base64(text, mime)
