"""The short way of API clients: no chat, no events; the provider's answer passed on, its usage noted."""

from typing import Any, Protocol

from starlette.responses import Response

from open_webui.chat.delivery.sse import Stream
from open_webui.chat.params import merge, with_system
from open_webui.chat.request import ApiRequest
from open_webui.chat.usage_log import Call, UsageLog, call_of
from open_webui.chat.wire import usage_of
from open_webui.connections.base import Models, Reply, Target
from open_webui.errors import BadRequest, ProviderError
from open_webui.principal import Principal


class Desk(Protocol):
    """What API calls are answered with; the state has it."""

    usage: UsageLog

    @property
    def catalogue(self) -> Models: ...


def provider_payload(request: ApiRequest, target: Target) -> dict[str, Any]:
    """What the provider is sent: the client's payload, with the profile's parameters below and its prompt in front."""
    payload = request.payload
    if target.params:
        payload = merge(target.entry.kind, target.params) | payload
    if target.system:
        messages = payload.get("messages")
        if not isinstance(messages, list):
            raise BadRequest("'messages' should be a list.")
        payload = payload | {"messages": with_system(target.system, messages)}
    return payload


class Meter:
    """Sees a stream's chunks go by and remembers the usage that the last of them tells."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None

    def see(self, batch: list[bytes]) -> None:
        # The usage comes with one of the last chunks; looking for its name is cheaper than decoding each.
        for payload in batch:
            if b'"usage"' in payload:
                self.usage = usage_of(payload) or self.usage


async def opened(desk: Desk, principal: Principal, request: ApiRequest) -> tuple[Call, Reply]:
    """The provider's opened reply, and the call to account for.

    Raises NotFound for a model that the caller may not use, ProviderError (accounted for already).
    """
    await desk.catalogue.heard_of(request.model)
    target = desk.catalogue.resolve(principal, request.model)
    asker = {"id": principal.id, "name": principal.name, "email": principal.email, "role": principal.role}
    call = call_of(principal, target, "api")
    try:
        return call, await target.connection.open(target.entry, provider_payload(request, target), asker)
    except ProviderError as error:
        desk.usage.count(call, error.status, None)
        raise


async def complete(desk: Desk, principal: Principal, request: ApiRequest) -> Response:
    """An OpenAI chat completion as a response, streamed or whole."""
    call, reply = await opened(desk, principal, request)
    if request.stream:
        meter = Meter()
        return Stream(reply, meter.see, lambda status: desk.usage.count(call, status, meter.usage))
    return Response(await whole(desk, call, reply), media_type="application/json")


async def whole(desk: Desk, call: Call, reply: Reply) -> bytes:
    """The provider's whole answer, accounted for."""
    status = 200
    body = b""
    try:
        async with reply:
            body = await reply.whole()
    except ProviderError as error:
        status = error.status
        raise
    finally:
        desk.usage.count(call, status, usage_of(body))
    return body
