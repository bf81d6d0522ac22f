"""JSON that clients make up themselves: cleaned, and bounded in depth and size, before it is stored."""

from collections.abc import Callable
from typing import Any

import msgspec

MAX_DEPTH = 100


def clean(value: Any, depth: int = 0) -> Any:
    """A JSON value without NUL characters, which PostgreSQL refuses. Raises ValueError for nesting without end."""
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deeply")
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [clean(v, depth + 1) for v in value]
    if isinstance(value, dict):
        return {clean(k): clean(v, depth + 1) for k, v in value.items()}
    return value


def bounded(limit: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A validator of objects whose JSON has at most `limit` bytes."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        cleaned: dict[str, Any] = clean(value)
        try:
            size = len(msgspec.json.encode(cleaned))
        except (OverflowError, TypeError):
            raise ValueError("holds a number that can't be stored") from None
        if size > limit:
            raise ValueError(f"is larger than {limit:,} bytes")
        return cleaned

    return check
