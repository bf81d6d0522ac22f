"""Ollama's chat for any model: an answer's events as its lines. Its requests are read in ollama_request.py."""

import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from llamaforge.events import Done, Event, Notice, Reasoning, Refusal, Text
from llamaforge.events.parts import Growing, Part, Reducer
from open_webui.chat.api import filtered, opening, provider_payload
from open_webui.chat.context.stage import Services
from open_webui.chat.delivery.sse import Stream
from open_webui.chat.ollama_request import says_nothing
from open_webui.chat.permissions import check_api
from open_webui.chat.request import ApiRequest
from open_webui.connections.base import Reply, Target
from open_webui.errors import OuiError
from open_webui.principal import Principal

NDJSON: Final = "application/x-ndjson"
DURATIONS: Final = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


class Lines:
    """Makes Ollama's lines out of an answer's events. generate: the shape of /api/generate instead of /api/chat.

    What is said goes out as it comes; calls, pictures and counts are kept for the last line.
    """

    def __init__(self, model: str, *, generate: bool) -> None:
        self._model = model
        self._generate = generate
        self._started = time.monotonic()
        self._kept: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
        # What Ollama itself said of its answer's end.
        self._end: dict[str, Any] = {}

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._kept.usage

    def _line(self, fields: dict[str, Any]) -> bytes:
        line = {"model": self._model, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"), **fields}
        return msgspec.json.encode(line) + b"\n"

    def _said(self, content: str, thinking: str = "") -> dict[str, Any]:
        said = {"thinking": thinking} if thinking else {}
        if self._generate:
            return {"response": content, **said}
        return {"message": {"role": "assistant", "content": content, **said}}

    def feed(self, events: Iterable[Event]) -> bytes:
        """The lines for these events, empty when they say nothing."""
        out = []
        for event in events:
            said = self._take(event)
            if said is not None:
                more: dict[str, Any] = (event.details or {}) if isinstance(event, Text) else {}
                out.append(self._line({**self._said(*said), "done": False, **more}))
        return b"".join(out)

    def _take(self, event: Event) -> tuple[str, str] | None:
        """Content and thinking that an event says; anything else is kept. Other choices are other answers."""
        if isinstance(event, Text | Refusal):
            return None if event.choice else (event.text, "")
        if isinstance(event, Reasoning):
            return ("", event.text) if event.text and not event.choice else None
        if isinstance(event, Notice):
            self._end = self._end | {"warning": event.text}
        elif not getattr(event, "choice", 0):
            self._kept.add(event)
            if isinstance(event, Done) and event.details:
                self._end = self._end | event.details
        return None

    def end(self, content: str = "", thinking: str = "") -> bytes:
        """The last line, with the counts."""
        calls = [{"function": {"name": c.name, "arguments": _arguments(c.text)}} for c in self._kept.calls]
        images = [image.url.partition(",")[2] for image in self._kept.images if image.url.startswith("data:")]
        took = int((time.monotonic() - self._started) * 1e9)
        usage = self.usage or {}
        counts: dict[str, Any] = {
            "total_duration": took,
            "prompt_eval_count": usage.get("prompt_tokens", 0),
            "eval_count": usage.get("completion_tokens", 0),
            "eval_duration": took,
            **{name: usage[name] for name in DURATIONS if name in usage},
        }
        reason = "length" if self._kept.finish_reason == "length" else "stop"
        counts |= self._end
        said = self._said(content, thinking)
        if not self._generate:
            said["message"] |= {name: values for name, values in (("tool_calls", calls), ("images", images)) if values}
        return self._line(said | {"done": True, "done_reason": reason} | counts)

    def nothing(self) -> bytes:
        """The one line of an answer to a request that asks nothing, of a model that is always there."""
        return self._line(self._said("") | {"done": True, "done_reason": "load"})

    def whole(self, events: Iterable[Event]) -> bytes:
        """The one line of an answer that was not streamed."""
        said = [one for event in events if (one := self._take(event)) is not None]
        return self.end("".join(content for content, _ in said), "".join(thinking for _, thinking in said))


def _arguments(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode()) if text else {}
    except msgspec.DecodeError:
        return {}


class LineForm:
    """Ollama's lines as `delivery.sse.Form`."""

    headers: Final = [(b"content-type", NDJSON.encode())]
    # A line is an answer's; there is none that says nothing.
    ping: Final = None

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def read(self, reply: Reply) -> AsyncIterator[list[Event]]:
        return reply.events()

    def batch(self, batch: list[Event]) -> bytes:
        return self._lines.feed(batch)

    def end(self) -> bytes:
        return self._lines.end()

    def error(self, error: OuiError) -> bytes:
        return msgspec.json.encode({"error": error.detail}) + b"\n"


async def answer(
    services: Services,
    principal: Principal,
    request: ApiRequest,
    *,
    generate: bool = False,
    target: Target | None = None,
) -> Response:
    """An Ollama answer as a response, streamed as lines or whole. target: where the caller named the server, too.

    The model's filters look at the question, and the server runs its tools where it does so for clients. Raises NotFound for a
    model that the caller may not use, Forbidden for fields that he may not set, BadRequest, and OuiError where a filter fails.
    """
    check_api(principal, request)
    if target is None:
        target = await services.gate.target(principal, request.model)
    lines = Lines(request.model, generate=generate)
    if not says_nothing(request):
        request, filtering = await filtered(services, principal, request, target)
        asked = await opening(services, principal, request, target, filtering)
    elif target.entry.kind == "ollama":
        asked = services.gate.chat(principal, target, provider_payload(request, target), kind="api")
    else:
        return Response(lines.nothing(), media_type=NDJSON if request.stream else "application/json")
    if request.stream:
        return Stream(asked, LineForm(lines))
    async with asked as reply:
        events = [event async for batch in reply.events() for event in batch]
    return Response(lines.whole(events), media_type="application/json")
