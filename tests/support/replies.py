"""Every reply of an application under test, compared with the type that its handler declares for it."""

import functools
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_webui.openapi import reply_types


@functools.cache
def decoders(endpoint: Any) -> tuple[msgspec.json.Decoder[Any], ...]:
    """They read what a route's function declares, each one of it; none where it declares nothing that JSON has."""
    return tuple(msgspec.json.Decoder(kind) for kind in reply_types(endpoint))


def misread(endpoint: Any, body: bytes) -> str:
    """How a reply is otherwise than declared; "" for one that isn't."""
    why = ""
    for decoder in decoders(endpoint):
        try:
            decoder.decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            why = str(error)
        else:
            return ""
    return why


class CheckedReplies:
    """An application around another. mismatches: what a reply has otherwise than declared, with its address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.mismatches: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, is_json, parts = 0, False, []

        async def seen(message: Message) -> None:
            nonlocal status, is_json
            if message["type"] == "http.response.start":
                status = message["status"]
                is_json = (b"content-type", b"application/json") in message.get("headers", ())
            elif status == 200 and is_json:
                parts.append(bytes(message.get("body", b"")))
            await send(message)

        await self._app(scope, receive, seen)
        endpoint = scope.get("endpoint")
        if parts and endpoint is not None and (why := misread(endpoint, b"".join(parts))):
            self.mismatches.append(f"{scope['method']} {scope['path']}: {why}")
