"""Requests, and their bodies: read up to a limit, and what they say of themselves."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from llamaforge.server.errors import Refusal

# Names that no registry gives away.
_LOCAL = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def check_type(request: Request) -> None:
    """Raises Refusal for a body that does not call itself JSON, or, sent by a page in a browser, that calls itself nothing.

    This is also a guard: a page of another site can send such bodies to this address without asking first.
    """
    is_from_page = "origin" in request.headers
    kind = request.headers.get("content-type", "" if is_from_page else "application/json")
    kind = kind.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refusal(415, f"The body must be application/json, not {kind or 'one without a type'}.")


def is_local(host: str) -> bool:
    """Whether a Host is an address, or a name that nobody outside of the network can have lead here."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.lower().rstrip(".").endswith(_LOCAL)
    return True


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises Refusal for one over `limit` bytes, of another type than JSON, or of which only a part came."""
    check_type(request)
    too_large = Refusal(413, f"The body is larger than {limit:,} bytes.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise Refusal(400, "The client went away before all of the body was there.") from None
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
