"""The short way of API clients: no chat, no events; the provider's answer passed on, its usage noted."""

import contextlib
import importlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from llamaforge.events import Event
from open_webui.chat.context.stage import Services
from open_webui.chat.delivery.sse import Events, Stream
from open_webui.chat.ollama_request import adapted, picture_parts
from open_webui.chat.permissions import check_api
from open_webui.chat.request import PAGE_FIELDS, ApiRequest
from open_webui.connections import remote_filters, taking_part
from open_webui.connections.base import Reply, Target
from open_webui.connections.params import merge, with_system
from open_webui.errors import BadRequest
from open_webui.principal import Principal
from open_webui.tools.port import Asked

if TYPE_CHECKING:
    from open_webui.services.plugin_filters import Filtering

# Fields of a prompt without a conversation that say something to a model, and that filters are not shown.
_HIDDEN: Final = ("suffix", "template", "context")
# What a prompt without a conversation is, as filters see it.
_PROMPT: Final = ("prompt", "system", "images")
UNSEEN: Final = "'{}' can't be used with a model that has filters: they would not see it."


def provider_payload(request: ApiRequest, target: Target) -> dict[str, Any]:
    """What the provider is sent: the client's payload, with the profile's parameters below and its prompt in front."""
    payload = request.payload
    if request.wire == "ollama":
        payload = adapted(payload, target.entry)
    elif request.wire == "anthropic" and not target.entry.returns_reasoning:
        # What a model has thought is told to those that want it back, and to no others.
        said = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in payload["messages"]]
        payload = payload | {"messages": said}
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


async def complete(
    services: Services, principal: Principal, request: ApiRequest, target: Target | None = None
) -> Response:
    """An OpenAI chat completion as a response, streamed or whole: with `sources` where attachments or the web are read for
    it, and with `selected_model_id` where an arena was asked.

    Raises NotFound for a model that the caller may not use, Forbidden for fields that he may not set, BadRequest and NotFound
    for attachments that can't be used, Forbidden and OuiError where the web is to be searched and may not be, or can't.
    """
    # What filters and attachments add is not the client's wish.
    check_api(principal, request)
    target = target or await services.gate.target(principal, request.model)
    request, filtering, sources = await prepared(services, principal, request, target)
    answer = await opening(services, principal, request, target, filtering)
    told: dict[str, Any] = {} if target.arena_id is None else {"selected_model_id": target.model_id}
    if sources:
        told["sources"] = sources
    if request.stream:
        first = b"".join(b"data: " + msgspec.json.encode({name: told[name]}) + b"\n\n" for name in told)
        return Stream(answer, Events(), first)
    async with answer as reply:
        whole = await reply.whole()
    if told:
        whole = msgspec.json.encode(msgspec.json.decode(whole) | told)
    return Response(whole, media_type="application/json")


async def prepared(
    services: Services, principal: Principal, request: ApiRequest, target: Target
) -> "tuple[ApiRequest, Filtering | None, list[dict[str, Any]]]":
    """The request with the skills of it and its model, after the filters, with what is then read for it; and the sources of that.

    Filters come before anything is read or searched for: what they take out of a question, or refuse, goes to no engine of
    embeddings and none of the web. Raises as `complete`.
    """
    sources: list[dict[str, Any]] = []
    if request.skill_ids or target.meta.get("skillIds"):
        # Not needed to start.
        skills: Any = importlib.import_module("open_webui.chat.context.skills")
        request = await skills.for_api(services, principal, request, target)
    request, filtering = await filtered(services, principal, request, target)
    if request.files or request.features or target.meta.get("knowledge"):
        # As above.
        reading: Any = importlib.import_module("open_webui.chat.reading")
        request, sources = await reading.for_api(services, principal, request, target)
    return request, filtering, sources


async def opening(
    services: Services, principal: Principal, request: ApiRequest, target: Target, filtering: "Filtering | None"
) -> AbstractAsyncContextManager[Reply]:
    """The answer to a client of any wire, not asked for yet: in rounds where this server runs tools for it. filtering: the
    filters that change its words, of `filtered`. Raises OuiError where a tool can't be used.
    """
    answer = await _opening(services, principal, request, target)
    return _streamed(answer, filtering, request.model) if filtering is not None and request.stream else answer


async def _opening(
    services: Services, principal: Principal, request: ApiRequest, target: Target
) -> AbstractAsyncContextManager[Reply]:
    """The answer, not asked for yet: in rounds, where this server runs tools for it."""
    payload, gate = provider_payload(request, target), services.gate
    runs = services.config["tools.api.enable"]
    if (request.tool_ids or (runs and target.meta.get("toolIds"))) and "messages" in payload:
        # Not needed to start.
        api_tools: Any = importlib.import_module("open_webui.chat.api_tools")
        tools = await api_tools.tools_of(services, principal, request, target)
        if tools and runs:
            opened = partial(gate.chat, principal, target, kind="api")
            rounds = api_tools.rounds_of(services)
            answer: AbstractAsyncContextManager[Reply] = api_tools.answering(
                payload, tools, target, opened, rounds, tells_usage=request.wire != "openai"
            )
            return answer
        # The client runs what is called.
        payload = api_tools.offered(payload, tools)
    return gate.chat(principal, target, payload, kind="api")


async def filtered(
    services: Services, principal: Principal, request: ApiRequest, target: Target
) -> "tuple[ApiRequest, Filtering | None]":
    """The request after the filters of pipelines servers, of this server and of the model, and those of them that change words
    as they come.

    Raises OuiError where one of them fails.
    """
    if "messages" not in request.payload and "prompt" in request.payload:
        return await _filtered_prompt(services, principal, request, target)
    if isinstance(request.payload.get("messages"), list):
        payload = await remote_filters.inlet(services.gate, principal, target, request.payload)
        request = msgspec.structs.replace(request, payload=payload)
    functions, messages = services.gate.models.functions, request.payload.get("messages")
    if not functions or not isinstance(messages, list):
        return request, None
    # Not needed to start.
    plugin_filters: Any = importlib.import_module("open_webui.services.plugin_filters")
    rows = plugin_filters.wanted(functions, target.meta, ())
    if not rows:
        return request, None
    asked = Asked(principal=principal, model_id=target.model_id, meta=target.meta, messages=tuple(messages))
    filtering: Filtering = await services.filters().of(rows, asked, plugin_filters.Unheard())
    body = await filtering.through("inlet", request.payload | {"model": target.model_id})
    payload = {name: value for name, value in body.items() if name in request.payload or name not in PAGE_FIELDS}
    changed = msgspec.structs.replace(request, payload=payload | {"model": request.payload.get("model")})
    return changed, filtering if filtering.have("stream") else None


def goes_through_filters(services: Services, target: Target) -> bool:
    """Whether a model's questions are looked at by a filter, a function's or a server's."""
    models = services.gate.models
    return bool(models.remote_filters(target) or taking_part.filters_of(models.functions, target.meta))


async def _filtered_prompt(
    services: Services, principal: Principal, request: ApiRequest, target: Target
) -> "tuple[ApiRequest, Filtering | None]":
    """The same for a prompt without a conversation: filters look at it as at a question."""
    functions = services.gate.models.functions
    if not functions and not services.gate.models.remote_filters(target):
        return request, None
    hidden = [name for name in _HIDDEN if request.payload.get(name)]
    if hidden and goes_through_filters(services, target):
        raise BadRequest(UNSEEN.format(hidden[0]))
    rest = {name: value for name, value in request.payload.items() if name not in _PROMPT}
    pictures = picture_parts(request.payload.get("images"))
    asked = rest | {"messages": remote_filters.as_conversation(request.payload, pictures)}
    changed, filtering = await filtered(services, principal, msgspec.structs.replace(request, payload=asked), target)
    messages = changed.payload["messages"]
    prompt: dict[str, Any] = {name: request.payload[name] for name in _PROMPT if name in request.payload}
    if messages != asked["messages"]:
        prompt = remote_filters.as_prompt(messages)
    payload = {name: value for name, value in changed.payload.items() if name != "messages"} | prompt
    return msgspec.structs.replace(request, payload=payload), filtering


@contextlib.asynccontextmanager
async def _streamed(
    answer: AbstractAsyncContextManager[Reply], filtering: "Filtering", model: str
) -> AsyncIterator[Reply]:
    async with answer as reply:
        yield _Filtered(reply, filtering, model)


class _Filtered:
    """A reply whose chunks filters change as they come."""

    def __init__(self, reply: Reply, filtering: "Filtering", model: str) -> None:
        self.pace = reply.pace
        self.whole = reply.whole
        self._reply = reply
        self._filtering = filtering
        self._model = model

    def events(self) -> AsyncIterator[list[Event]]:
        """See `connections.base.Reply`."""
        return self._filtering.stream(self._reply.events(), self._model)

    def batches(self) -> AsyncIterator[list[bytes]]:
        """See `connections.base.Reply`."""
        return self._filtering.chunks(self._reply.batches())
