"""The bodies of requests: read up to a limit, and what they say of themselves."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from llamaforge.server.errors import Refusal

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises Refusal for one over `limit` bytes, or that does not call itself JSON."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # Also a guard: a page of another site can send other types to this address without asking first.
        raise Refusal(415, f"The body must be application/json, not {kind}.")
    too_large = Refusal(413, f"The body is larger than {limit:,} bytes.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def parse(data: bytes) -> dict[str, Any]:
    """The fields of a body. Raises Refusal."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except _UNREADABLE as error:
        raise Refusal(400, f"The body is not a JSON object: {error}") from None


def text(body: dict[str, Any], name: str) -> str | None:
    """A field that is text, or None where it is missing or null. Raises Refusal for anything else."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise Refusal(400, f"'{name}' must be text.")
