"""The bodies of requests: read up to a limit, checked as far as it takes to hand them on, values kept as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from llamaforge.exceptions import ParameterError
from llamaforge.formats.completions import refuse_addresses
from llamaforge.server.catalog import Served
from llamaforge.server.errors import Refusal

Raw = dict[str, msgspec.Raw]
_object = msgspec.json.Decoder(Raw)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Of each endpoint, what it can't do without, and what that may be.
_NEEDS: Mapping[str, tuple[str, Any, str]] = {
    "/v1/completions": ("prompt", str | list[Any], "text, or a list"),
    "/v1/chat/completions": ("messages", list[dict[str, msgspec.Raw]], "a list of objects"),
    "/v1/embeddings": ("input", str | list[Any], "text, or a list"),
}


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


def parse(path: str, data: bytes) -> Raw:
    """The fields, each as the JSON it came as. Raises Refusal."""
    try:
        body = _object.decode(data)
    except _UNREADABLE as error:
        raise Refusal(400, f"The body is not a JSON object: {error}") from None
    name, kind, words = _NEEDS[path]
    if name not in body:
        raise Refusal(400, f"'{name}' is missing.")
    try:
        msgspec.json.decode(body[name], type=kind)
    except _UNREADABLE:
        raise Refusal(400, f"'{name}' must be {words}.") from None
    if name == "messages":
        _check_messages(body[name])
    return body


class _Message(msgspec.Struct):
    content: Any = None


_messages = msgspec.json.Decoder(list[_Message])


def _check_messages(raw: msgspec.Raw) -> None:
    for message in _messages.decode(raw):
        try:
            refuse_addresses(message.content)
        except ParameterError as error:
            raise Refusal(400, str(error)) from None


def text(body: Raw, name: str) -> str | None:
    """A field that is text, or None where it is missing or null. Raises Refusal for anything else."""
    try:
        return msgspec.json.decode(body.get(name, b"null"), type=str | None)
    except _UNREADABLE:
        raise Refusal(400, f"'{name}' must be text.") from None


def for_model(body: Raw, data: bytes, served: Served, asked: str | None, *, defaults: bool) -> bytes:
    """The body as the model's process gets it: under the model's own name, the defaults of its generations beneath.

    `data`, which `body` was made of, is handed on untouched where nothing is to be changed.
    """
    changes: dict[str, Any] = {} if asked == served.spec.name else {"model": served.spec.name}
    if defaults:
        given = {served.canonical.get(name, name) for name, value in body.items() if bytes(value) != b"null"}
        changes |= {name: value for name, value in served.defaults.items() if name not in given}
    return msgspec.json.encode({**body, **changes}) if changes else data
