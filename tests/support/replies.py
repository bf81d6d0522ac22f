"""Every reply of an application under test, compared with the type that its handler declares for it."""

import functools
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from open_webui.openapi import reply_type


@functools.cache
def decoder(endpoint: Any) -> msgspec.json.Decoder[Any] | None:
    """Reads what a route's function declares; None where it declares nothing that JSON has."""
    declared = reply_type(endpoint)
    return None if declared is None else msgspec.json.Decoder(declared)


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
        if parts and (endpoint := scope.get("endpoint")) is not None and (expected := decoder(endpoint)) is not None:
            try:
                expected.decode(b"".join(parts))
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                self.mismatches.append(f"{scope['method']} {scope['path']}: {error}")
