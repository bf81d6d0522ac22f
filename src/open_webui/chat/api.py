"""The short way of API clients: no chat, no events; the provider's answer passed on, its usage noted."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.responses import Response

from open_webui.chat.delivery.sse import Events, Stream
from open_webui.chat.ollama_request import adapted
from open_webui.chat.permissions import check_api
from open_webui.chat.request import ApiRequest
from open_webui.connections.base import Reply, Target
from open_webui.connections.gate import Gate
from open_webui.connections.params import merge, with_system
from open_webui.errors import BadRequest
from open_webui.principal import Principal


def provider_payload(request: ApiRequest, target: Target) -> dict[str, Any]:
    """What the provider is sent: the client's payload, with the profile's parameters below and its prompt in front."""
    payload = request.payload
    if request.wire == "ollama":
        payload = adapted(payload, target.entry)
    if target.params:
        payload = merge(target.entry.kind, target.params) | payload
    if target.system and "messages" not in payload and "prompt" in payload:
        if payload.get("raw") or payload.get("template"):
            raise BadRequest("This model has a system prompt of its own, which 'raw' and 'template' would leave out.")
        payload = payload | {"system": "\n\n".join(filter(None, (target.system, payload.get("system"))))}
    elif target.system:
        messages = payload.get("messages")
        if not isinstance(messages, list):
            raise BadRequest("'messages' should be a list.")
        payload = payload | {"messages": with_system(target.system, messages)}
    return payload


async def opening(
    gate: Gate, principal: Principal, request: ApiRequest, target: Target | None = None
) -> AbstractAsyncContextManager[Reply]:
    """The answer, not asked for yet. target: the model, where the caller named its server, too.

    Raises NotFound for a model that the caller may not use, Forbidden for fields that he may not set, BadRequest.
    """
    check_api(principal, request)
    target = target or await gate.target(principal, request.model)
    return gate.chat(principal, target, provider_payload(request, target), kind="api")


async def complete(gate: Gate, principal: Principal, request: ApiRequest, target: Target | None = None) -> Response:
    """An OpenAI chat completion as a response, streamed or whole. Raises as `opening`."""
    answer = await opening(gate, principal, request, target)
    if request.stream:
        return Stream(answer, Events())
    async with answer as reply:
        return Response(await reply.whole(), media_type="application/json")
