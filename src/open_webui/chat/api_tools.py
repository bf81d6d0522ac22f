"""Tools of this server for API clients: offered, or run in rounds of which the client gets the words and its own calls."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from llamaforge.events import Done, Event, ToolCall, Usage
from llamaforge.events.openai import usage_event
from open_webui.chat.assemble import Answer, Call
from open_webui.chat.context.history import round_messages
from open_webui.chat.context.stage import Services
from open_webui.chat.request import ApiRequest
from open_webui.chat.tools import run_calls
from open_webui.connections.base import Reply, Target
from open_webui.connections.render import as_chunks, as_completion
from open_webui.errors import OuiError
from open_webui.principal import Principal
from open_webui.services.plugin_filters import Unheard
from open_webui.tools.port import Asked, Tool

# Rounds, whatever an admin says.
MOST_ROUNDS: Final = 1_000
ENDLESS: Final = "The model went on calling tools after {} rounds of calls, and was stopped."

Open = Callable[[dict[str, Any]], AbstractAsyncContextManager[Reply]]


def rounds_of(services: Services) -> int:
    """How often the calls of one answer are run, and the model is asked again."""
    return min(max(int(services.config["tools.api.max_rounds"]), 0), MOST_ROUNDS)


async def tools_of(services: Services, principal: Principal, request: ApiRequest, target: Target) -> dict[str, Tool]:
    """The tools that a request names, by the names that the model calls; and those of its model, where the server runs tools
    for clients.

    A client's own tool counts where both have one of a name. Raises OuiError where one that the request names can't be used.
    """
    of_model = target.meta.get("toolIds") if services.config["tools.api.enable"] else None
    brought = [i for i in of_model if isinstance(i, str)] if isinstance(of_model, list) else []
    ids = tuple(dict.fromkeys([*request.tool_ids, *brought]))
    if not ids:
        return {}
    messages = request.payload.get("messages")
    asked = Asked(
        principal=principal,
        ids=ids,
        brought=frozenset(brought) - frozenset(request.tool_ids),
        model_id=target.model_id,
        meta=target.meta,
        messages=tuple(messages) if isinstance(messages, list) else (),
    )
    found = await services.toolbox().tools(asked)
    return {name: tool for name, tool in found.items() if name not in _names(request.payload)}


def offered(payload: dict[str, Any], tools: dict[str, Tool]) -> dict[str, Any]:
    """A request of which the model is told these tools, too."""
    if not tools:
        return payload
    given = payload.get("tools")
    own = [{"type": "function", "function": tool.definition} for tool in tools.values()]
    return payload | {"tools": [*(given if isinstance(given, list) else ()), *own]}


def _names(payload: dict[str, Any]) -> list[str]:
    """The names of the client's own tools."""
    given = payload.get("tools")
    functions = [one.get("function") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [f["name"] for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]


@contextlib.asynccontextmanager
async def answering(
    payload: dict[str, Any],
    tools: dict[str, Tool],
    target: Target,
    opened: Open,
    max_rounds: int,
    *,
    tells_usage: bool = False,
) -> AsyncIterator[Reply]:
    """An answer in rounds. Entering asks for the first one: what the provider refuses is raised there.

    payload: as the provider gets it but for the tools. opened: asks it once. max_rounds: how often calls are run.
    tells_usage: also in a stream that did not ask for it.
    """
    rounds = _Rounds(payload, tools, target, opened, max_rounds, tells_usage=tells_usage)
    async with contextlib.AsyncExitStack() as first:
        rounds.first = await first.enter_async_context(opened(rounds.payload(0)))
        rounds.leave_first = first.aclose
        events = rounds.events()
        async with contextlib.aclosing(events):
            yield ToolReply(events, target.model_id)


class ToolReply:
    """The rounds of an answer as one reply: `connections.base.Reply`."""

    def __init__(self, events: AsyncIterator[list[Event]], model_id: str) -> None:
        self._events = events
        self._model_id = model_id

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""

    def events(self) -> AsyncIterator[list[Event]]:
        """See `base.Reply`."""
        return self._events

    def batches(self) -> AsyncIterator[list[bytes]]:
        """See `base.Reply`."""
        return as_chunks(self._events, self._model_id)

    async def whole(self) -> bytes:
        """See `base.Reply`."""
        return await as_completion(self._events, self._model_id)


class _Rounds:
    """Asks, runs what is called of this server's tools, and asks again."""

    first: Reply
    leave_first: Callable[[], Any]

    def __init__(
        self,
        payload: dict[str, Any],
        tools: dict[str, Tool],
        target: Target,
        opened: Open,
        max_rounds: int,
        *,
        tells_usage: bool,
    ) -> None:
        self._max_rounds = max_rounds
        self._payload = offered(payload, tools)
        options = payload.get("stream_options")
        asks_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._tells_usage = tells_usage or asks_usage or not payload.get("stream")
        self._tools = tools
        self._reasoning = target.entry.returns_reasoning
        self._opened = opened
        self._progress = Unheard()
        # Of the rounds that are over, and of this one: its last count is the whole.
        self._usage: dict[str, Any] = {}
        self._counted: dict[str, Any] = {}

    def payload(self, number: int) -> dict[str, Any]:
        last = {"tool_choice": "none"} if number == self._max_rounds else {}
        return self._payload | last

    async def events(self) -> AsyncGenerator[list[Event], None]:
        for number in range(self._max_rounds + 1):
            answer = Answer(time.time)
            async with self._asked(number) as reply:
                async for events in reply.events():
                    if passed := self._taken(answer, events):
                        yield passed
            self._usage, self._counted = _sum(self._usage, self._counted), {}
            calls = answer.calls()
            theirs = [call for call in calls if call.name not in self._tools]
            if not calls or theirs:
                yield self._end(answer, theirs)
                return
            if number == self._max_rounds:
                break
            await self._run(answer, calls)
        raise OuiError(ENDLESS.format(self._max_rounds), status=502)

    @contextlib.asynccontextmanager
    async def _asked(self, number: int) -> AsyncIterator[Reply]:
        if number == 0:
            try:
                yield self.first
            finally:
                await self.leave_first()
        else:
            async with self._opened(self.payload(number)) as reply:
                yield reply

    def _taken(self, answer: Answer, events: Collection[Event]) -> list[Event]:
        """Those events that the client hears at once: calls and the end wait until it is known whose the calls are."""
        answer.feed(events)
        if answer.is_full:
            raise OuiError("The answer is longer than this server takes.", status=502)
        for event in events:
            if isinstance(event, Usage):
                self._counted = event.raw
        return [e for e in events if not isinstance(e, ToolCall | Done | Usage) and not getattr(e, "choice", 0)]

    def _end(self, answer: Answer, calls: list[Call]) -> list[Event]:
        end: list[Event] = [
            ToolCall(index=n, id=call.call_id, name=call.name, arguments=call.arguments) for n, call in enumerate(calls)
        ]
        reason = "tool_calls" if calls else answer.finish_reason or "stop"
        end.append(Done(reason))
        if self._usage and self._tells_usage:
            end.append(usage_event(self._usage))
        return end

    async def _run(self, answer: Answer, calls: list[Call]) -> None:
        for call_id, result in await run_calls(calls, self._tools, self._progress):
            answer.add_output(call_id, result.text)
        said = round_messages(answer.output(), reasoning=self._reasoning)
        messages = self._payload.get("messages")
        self._payload["messages"] = [*(messages if isinstance(messages, list) else ()), *said]
        if self._payload.get("tool_choice") not in (None, "auto", "none"):
            # Who has to call a tool has done so.
            self._payload["tool_choice"] = "auto"


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The counts of two requests together; what is no count is as the later one says."""
    out = one | other
    for name, value in other.items():
        before = one.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            out[name] = _sum(before, value)
        elif _is_number(value) and _is_number(before):
            out[name] = before + value
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
