"""Ollama's chat wire for any model: its request becomes an OpenAI payload, the answer's events become its lines."""

import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from llamaforge.events import Event, Reasoning, Refusal, Text
from llamaforge.events.openai import Decoder
from llamaforge.events.parts import Growing, Part, Reducer
from open_webui.chat.api import opening
from open_webui.chat.delivery.sse import Stream
from open_webui.chat.request import ApiRequest, text_field
from open_webui.connections.base import Reply
from open_webui.connections.gate import Gate
from open_webui.errors import BadRequest, OuiError
from open_webui.principal import Principal

# Ollama's option on the left, OpenAI's field on the right.
OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "num_predict": "max_tokens",
    "stop": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty",
}
NDJSON: Final = "application/x-ndjson"


def parse_chat(body: dict[str, Any]) -> ApiRequest:
    """An Ollama chat request as ours. Raises BadRequest naming what can't be used."""
    messages = body.get("messages")
    if messages is not None and (not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages)):
        raise BadRequest("'messages' should be a list of objects.")
    return _request(body, [_openai_message(m) for m in messages or []])


def parse_generate(body: dict[str, Any]) -> ApiRequest:
    """An Ollama generate request as a chat of one question."""
    prompt = text_field(body, "prompt", limit=10_000_000) if body.get("prompt") else ""
    system = text_field(body, "system", limit=1_000_000) if body.get("system") else None
    question = _openai_message({"role": "user", "content": prompt, "images": body.get("images")})
    return _request(body, ([{"role": "system", "content": system}] if system else []) + [question])


def _request(body: dict[str, Any], messages: list[dict[str, Any]]) -> ApiRequest:
    model = str(text_field(body, "model", required=True))
    # Ollama streams unless told otherwise.
    stream = body.get("stream") is not False
    payload: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
    if stream:
        # The last line tells the counts.
        payload["stream_options"] = {"include_usage": True}
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise BadRequest("'options' should be an object.")
    payload |= {OPTIONS.get(str(name), str(name)): value for name, value in options.items() if value is not None}
    for name in ("tools", "think", "keep_alive"):
        if body.get(name) is not None:
            payload[name] = body[name]
    form = body.get("format")
    if form == "json":
        payload["response_format"] = {"type": "json_object"}
    elif isinstance(form, dict):
        payload["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
    return ApiRequest(model=model, stream=stream, payload=payload, wire="ollama")


def _openai_message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    images = message.get("images")
    out: dict[str, Any] = {"role": message.get("role", "user"), "content": content}
    if isinstance(images, list) and images and isinstance(content, str):
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}]
        # Ollama's pictures are bare base64; PNG is what most of them are, and decoders look at the bytes.
        parts += [
            {"type": "image_url", "image_url": {"url": i if i.startswith("data:") else f"data:image/png;base64,{i}"}}
            for i in images
            if isinstance(i, str)
        ]
        out["content"] = parts
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        out["tool_calls"] = [_openai_call(n, call) for n, call in enumerate(calls) if isinstance(call, dict)]
    if message.get("role") == "tool":
        out["tool_call_id"] = str(message.get("tool_call_id") or message.get("tool_name") or "call_0")
    return out


def _openai_call(number: int, call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = msgspec.json.encode(function.get("arguments") or {}).decode()
    return {
        "id": str(call.get("id") or f"call_{number}"),
        "type": "function",
        "function": {"name": str(function.get("name", "")), "arguments": arguments},
    }


class Lines:
    """Makes Ollama's lines out of an answer's events. generate: the shape of /api/generate instead of /api/chat.

    What is said goes out as it comes; calls, pictures and counts are kept for the last line.
    """

    def __init__(self, model: str, *, generate: bool) -> None:
        self._model = model
        self._generate = generate
        self._started = time.monotonic()
        self._kept: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))

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
                out.append(self._line({**self._said(*said), "done": False}))
        return b"".join(out)

    def _take(self, event: Event) -> tuple[str, str] | None:
        """Content and thinking that an event says; anything else is kept. Other choices are other answers."""
        if isinstance(event, Text | Refusal):
            return None if event.choice else (event.text, "")
        if isinstance(event, Reasoning):
            return ("", event.text) if event.text and not event.choice else None
        if not getattr(event, "choice", 0):
            self._kept.add(event)
        return None

    def end(self, content: str = "", thinking: str = "") -> bytes:
        """The last line, with the counts."""
        calls = [{"function": {"name": c.name, "arguments": _arguments(c.text)}} for c in self._kept.calls]
        images = [image.url.partition(",")[2] for image in self._kept.images if image.url.startswith("data:")]
        took = int((time.monotonic() - self._started) * 1e9)
        usage = self.usage or {}
        counts = {
            "total_duration": took,
            "prompt_eval_count": usage.get("prompt_tokens", 0),
            "eval_count": usage.get("completion_tokens", 0),
            "eval_duration": took,
        }
        reason = "length" if self._kept.finish_reason == "length" else "stop"
        said = self._said(content, thinking)
        if not self._generate:
            said["message"] |= {name: values for name, values in (("tool_calls", calls), ("images", images)) if values}
        return self._line(said | {"done": True, "done_reason": reason} | counts)

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


async def answer(gate: Gate, principal: Principal, request: ApiRequest, *, generate: bool = False) -> Response:
    """An Ollama answer as a response, streamed as lines or whole."""
    asked = await opening(gate, principal, request)
    lines = Lines(request.model, generate=generate)
    if request.stream:
        return Stream(asked, LineForm(lines))
    async with asked as reply:
        events = Decoder().decode(await reply.whole())
    return Response(lines.whole(events), media_type="application/json")
