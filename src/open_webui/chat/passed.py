"""Requests of OpenAI's and Anthropic's wires that Ollama's servers answer themselves: whose they may be, and their answers."""

from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import Response

from open_webui.chat.delivery.sse import HEADERS, PING, Stream, error_event
from open_webui.chat.permissions import check_api
from open_webui.chat.request import PAGE_FIELDS, ApiRequest, text_field
from open_webui.connections import taking_part
from open_webui.connections.base import Target
from open_webui.connections.gate import Gate
from open_webui.connections.passing import Passed
from open_webui.errors import BadRequest, OuiError
from open_webui.principal import Principal

FILTERED: Final = "This model has filters, which can't read a request in this form. Ask it at /api/chat/completions."


class _Form:
    """The server's own events as `delivery.sse.Form`: nothing is added to them."""

    headers: Final = HEADERS
    ping: Final = PING

    def read(self, reply: Any) -> AsyncIterator[bytes]:
        passed: Passed = reply
        return passed.parts()

    def batch(self, batch: bytes) -> bytes:
        return batch

    def end(self) -> bytes:
        return b""

    def error(self, error: OuiError) -> bytes:
        return error_event(error)


def parse(body: dict[str, Any]) -> ApiRequest:
    """Raises BadRequest naming the field that can't be used; the server judges the others."""
    model = str(text_field(body, "model", required=True))
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise BadRequest("'stream' should be true or false.")
    payload = {name: value for name, value in body.items() if name not in PAGE_FIELDS}
    return ApiRequest(model=model, stream=stream is True, payload=payload, wire="ollama")


# Names of these wires for what others call otherwise.
_ALSO: Final = {
    "max_output_tokens": "max_tokens", "stop_sequences": "stop", "thinking": "reasoning_effort", "reasoning": "reasoning_effort",
}  # fmt: skip


def check(principal: Principal, request: ApiRequest) -> None:
    """Raises Forbidden for fields that an API client may not set, by whichever names these wires have for them."""
    payload = dict(request.payload)
    if isinstance(payload.get("input"), list):
        messages = payload.get("messages")
        payload["messages"] = [*(messages if isinstance(messages, list) else ()), *payload["input"]]
    for theirs, ours in _ALSO.items():
        if payload.get(theirs) is not None:
            payload[ours] = payload[theirs]
    check_api(principal, ApiRequest(model=request.model, stream=request.stream, payload=payload))


async def answer(gate: Gate, principal: Principal, request: ApiRequest, target: Target, path: str) -> Response:
    """The server's answer as a response, streamed or whole. Raises as `Gate.chat`, BadRequest for a model with filters: nobody
    goes round them.
    """
    if gate.models.remote_filters(target) or taking_part.filters_of(gate.models.functions, target.meta):
        raise BadRequest(FILTERED)
    opening: Any = gate.passed(principal, target, path, request.payload)
    if request.stream:
        return Stream(opening, _Form())
    async with opening as passed:
        return Response(await passed.whole(), media_type="application/json")
