"""Anthropic's messages for any model: a request becomes ours, and an answer's events become its events or its message."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.responses import Response

from llamaforge.events import Event
from llamaforge.exceptions import ParameterError
from llamaforge.formats.anthropic_server import Renderer, decode_request
from open_webui.chat.api import opening, prepared, provider_payload
from open_webui.chat.context.stage import Services
from open_webui.chat.delivery.sse import HEADERS, Stream
from open_webui.chat.permissions import check_api
from open_webui.chat.request import ApiRequest, text_field, texts_field
from open_webui.connections.base import Reply
from open_webui.connections.estimate import estimate_of
from open_webui.errors import BadRequest, OuiError
from open_webui.principal import Principal

NO_MODEL: Final = "The request names no model."
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


def parse_counted(body: dict[str, Any]) -> ApiRequest:
    """A request to count tokens: one for a message, but for the length of the answer. Raises BadRequest."""
    if body.get("model") is None:
        raise BadRequest(NO_MODEL)
    return parse({"max_tokens": 1} | body)


def parse(body: dict[str, Any]) -> ApiRequest:
    """A request of Anthropic's clients as ours. `tool_ids` and `skill_ids` are this server's own. Raises BadRequest."""
    model = str(text_field(body, "model", required=True))
    try:
        payload = decode_request(body)
    except ParameterError as error:
        raise BadRequest(str(error)) from None
    return ApiRequest(
        model=model,
        stream=payload.get("stream") is True,
        payload=payload | {"stream": payload.get("stream") is True},
        wire="anthropic",
        tool_ids=texts_field(body, "tool_ids"),
        skill_ids=texts_field(body, "skill_ids"),
    )


async def counted(services: Services, principal: Principal, request: ApiRequest) -> dict[str, Any]:
    """How many tokens a model would read, as Anthropic tells it. `estimated`: it is a guess from the length of the text, since
    no other kind of provider can be asked beforehand. What is read from attachments and by tools is not in it.

    Raises NotFound for a model that the caller may not use, Forbidden for fields that he may not set.
    """
    check_api(principal, request)
    target = await services.gate.target(principal, request.model)
    tokens = estimate_of(provider_payload(request, target)).prompt
    return {"input_tokens": tokens, "estimated": True}


class MessageForm:
    """Anthropic's events as `delivery.sse.Form`."""

    headers: Final = HEADERS
    ping: Final = PING

    def __init__(self, model: str) -> None:
        self._renderer = Renderer(model)
        self._has_begun = False

    def read(self, reply: Reply) -> AsyncIterator[list[Event]]:
        return reply.events()

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._renderer.begin()

    def batch(self, batch: list[Event]) -> bytes:
        # Other choices are other answers, which this form has no place for.
        return self._begin() + b"".join(
            [self._renderer.add(event) for event in batch if not getattr(event, "choice", 0)]
        )

    def end(self) -> bytes:
        return self._begin() + self._renderer.end()

    def error(self, error: OuiError) -> bytes:
        return self._begin() + self._renderer.error(error.status, error.detail)


async def answer(services: Services, principal: Principal, request: ApiRequest) -> Response:
    """A message as a response, streamed or whole.

    Raises NotFound for a model that the caller may not use, Forbidden for fields that he may not set, BadRequest, and OuiError
    where a filter fails.
    """
    check_api(principal, request)
    target = await services.gate.target(principal, request.model)
    request, filtering, _ = await prepared(services, principal, request, target)
    asked = await opening(services, principal, request, target, filtering)
    if request.stream:
        return Stream(asked, MessageForm(request.model))
    renderer = Renderer(request.model)
    async with asked as reply:
        async for batch in reply.events():
            for event in batch:
                if not getattr(event, "choice", 0):
                    renderer.add(event)
    return Response(msgspec.json.encode(renderer.whole()), media_type="application/json")
