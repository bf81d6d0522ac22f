"""A provider for the tests: OpenAI-compatible and Ollama on one port, real HTTP, playing the parts of script.py.

It runs in a thread with an event loop of its own, so that synchronous tests, browsers and the server under test can
all talk to it, and a test that blocks does not block it.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support import script
from tests.support.script import ERRORS, MODELS

EMBEDDING_SIZE = 384
_MAX_BODY = 256 * 1024 * 1024


@dataclass(slots=True)
class Received:
    """One request as the provider got it. `ended` is set when its answer is over, `disconnected` if the client left."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    ended: threading.Event = field(default_factory=threading.Event)
    disconnected: bool = False

    @property
    def model(self) -> str:
        return str(self.body.get("model", "")) if isinstance(self.body, dict) else ""


class Upstream:
    """The running provider. Change its attributes while it runs to change its mood.

    api_key: what it demands as bearer token, None for nothing. models: the ids it lists. models_status: that of its
    model list. silent: it accepts connections and answers nothing, as a machine that hangs. refuses_stream_options: the
    status with which it refuses a chat that has them, as providers do that don't know them, and `refusal` what it says.
    """

    def __init__(self) -> None:
        self.api_key: str | None = None
        self.models: tuple[str, ...] = MODELS
        self.models_status = 200
        self.silent = False
        self.refuses_stream_options: int | None = None
        self.refusal = "Unrecognized request argument supplied: stream_options"
        # A field of chats that it does not know.
        self.refuses: str | None = None
        self.rounds: list[list[script.Event]] = []
        # The same for questions that have these words.
        self.rounds_of: dict[str, list[list[script.Event]]] = {}
        self.received: list[Received] = []
        self._answers: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._gate = asyncio.Semaphore(0)
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._runner: web.AppRunner | None = None
        self.port = 0

    # -- what tests ask and say ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address of the Ollama side."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def chats(self) -> list[Received]:
        """The requests for an answer, oldest first, the server's own background tasks among them."""
        return [r for r in self.received if r.path.endswith(("/chat/completions", "/api/chat"))]

    def answer_when(self, contains: str, text: str) -> None:
        """From now on a request whose messages contain a text gets this answer, whichever plain part is asked."""
        self._answers.insert(0, (contains, text))

    def release(self, words: int = 1) -> None:
        """Lets `gated` answers say so many more words."""
        for _ in range(words):
            self._loop.call_soon_threadsafe(self._gate.release)

    def wait_for(self, condition: Callable[["Upstream"], bool], timeout: float = 30) -> None:
        """Blocks until the condition holds; looked at with each request that comes or ends. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"The provider has seen {[(r.path, r.model) for r in self.received]} and no more.")

    async def wait_for_async(self, condition: Callable[["Upstream"], bool], timeout: float = 30) -> None:
        await asyncio.to_thread(self.wait_for, condition, timeout)

    # -- its life ------------------------------------------------------------------------------------------------------

    def start(self) -> "Upstream":
        self._thread.start()
        self._run(self._open())
        return self

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.result(timeout=20)

    async def _open(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A handler that is cancelled when its client goes is how `disconnected` is known.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- its wire ------------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw and "json" in request.content_type else raw.decode(errors="replace")
        received = Received(request.method, request.path, dict(request.headers), body)
        self._note(lambda: self.received.append(received))
        try:
            if self.silent:
                await self._closing.wait()
            return await self._route(request, received)
        except (asyncio.CancelledError, ConnectionError):
            received.disconnected = True
            raise
        finally:
            self._note(received.ended.set)

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    async def _route(self, request: web.Request, received: Received) -> web.StreamResponse:
        path = request.path
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _error(401, ERRORS[401])
        for suffix, handler in self._routes().items():
            if path.endswith(suffix):
                return await handler(request, received)
        return _error(404, f"no such path: {path}")

    def _routes(self) -> Mapping[str, Callable[[web.Request, Received], Awaitable[web.StreamResponse]]]:
        return {
            "/chat/completions": self._openai_chat,
            "/completions": self._openai_text,
            "/v1/embeddings": self._embed,
            "/v1/messages": self._other_wire,
            "/v1/responses": self._other_wire,
            "/models": self._list_models,
            "/api/tags": self._tags,
            "/api/ps": self._tags,
            "/api/version": self._version,
            "/api/show": self._show,
            "/api/chat": self._ollama_chat,
            "/api/generate": self._ollama_chat,
            "/api/embed": self._embed,
            "/api/embeddings": self._embed,
            "/api/pull": self._work,
            "/api/create": self._work,
            "/api/push": self._work,
            "/api/copy": self._change,
            "/api/delete": self._change,
        }

    async def _list_models(self, _request: web.Request, _received: Received) -> web.StreamResponse:
        if self.models_status != 200:
            return _error(self.models_status, ERRORS.get(self.models_status, "no models today"))
        models = [{"id": m, "object": "model", "created": 1_700_000_000, "owned_by": "fake"} for m in self.models]
        return web.json_response({"object": "list", "data": models})

    async def _tags(self, _request: web.Request, _received: Received) -> web.StreamResponse:
        if self.models_status != 200:
            return _error(self.models_status, ERRORS.get(self.models_status, "no models today"))
        details = {"format": "gguf", "family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"}
        models = [
            {"name": f"{m}:latest", "model": f"{m}:latest", "modified_at": "2026-01-01T00:00:00Z", "size": 1_000_000,
             "digest": hashlib.sha256(m.encode()).hexdigest(), "details": details}
            for m in self.models
        ]  # fmt: skip
        return web.json_response({"models": models})

    async def _version(self, _request: web.Request, _received: Received) -> web.StreamResponse:
        return web.json_response({"version": "0.99.0"})

    async def _show(self, _request: web.Request, received: Received) -> web.StreamResponse:
        if received.model.split(":")[0] not in self.models:
            return _error(404, f"model '{received.model}' not found", ollama=True)
        return web.json_response({"details": {"family": "llama"}, "model_info": {}, "capabilities": ["completion"]})

    async def _embed(self, _request: web.Request, received: Received) -> web.StreamResponse:
        texts = received.body.get("input", received.body.get("prompt"))
        vectors = [embedding(str(t)) for t in (texts if isinstance(texts, list) else [texts])]
        if received.path.endswith("/api/embeddings"):
            return web.json_response({"embedding": vectors[0]})
        if received.path.endswith("/api/embed"):
            return web.json_response({"model": received.model, "embeddings": vectors, "prompt_eval_count": 1})
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "model": received.model, "data": data, "usage": usage})

    async def _work(self, _request: web.Request, received: Received) -> web.StreamResponse:
        if received.model.split(":")[0] not in self.models:
            return _error(404, f"model '{received.model}' not found", ollama=True)
        return web.Response(text='{"status": "working"}\n{"status": "success"}\n', content_type="application/x-ndjson")

    async def _other_wire(self, request: web.Request, received: Received) -> web.StreamResponse:
        """An answer of Anthropic's wire, or of OpenAI's Responses, as Ollama gives it."""
        if received.model.split(":")[0] not in self.models:
            return _error(404, f"model '{received.model}' not found")
        counts = {"input_tokens": 7, "output_tokens": 11}
        of_anthropic = received.path.endswith("/messages")
        whole = {"type": "message" if of_anthropic else "response", "model": received.model, "usage": counts}
        if not received.body.get("stream"):
            return web.json_response(whole)
        if of_anthropic:
            events = [
                {"type": "message_start", "message": {"usage": {"input_tokens": 7}}},
                {"type": "message_delta", "usage": {"output_tokens": 11}},
            ]
        else:
            events = [{"type": "response.completed", "response": whole}]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write_eof()
        return response

    async def _change(self, _request: web.Request, _received: Received) -> web.StreamResponse:
        return web.Response()

    async def _openai_chat(self, request: web.Request, received: Received) -> web.StreamResponse:
        if self.refuses_stream_options is not None and "stream_options" in received.body:
            return _error(self.refuses_stream_options, self.refusal)
        if self.refuses is not None and self.refuses in received.body:
            return _error(400, f"Unrecognized request argument supplied: {self.refuses}")
        return await self._answer(request, received, OpenAIChat(received.model, received.body))

    async def _openai_text(self, request: web.Request, received: Received) -> web.StreamResponse:
        return await self._answer(request, received, OpenAIText(received.model, received.body))

    async def _ollama_chat(self, request: web.Request, received: Received) -> web.StreamResponse:
        return await self._answer(request, received, Ollama(received.model, received.body))

    async def _answer(self, request: web.Request, received: Received, wire: "Wire") -> web.StreamResponse:
        part = received.model.split(":")[0]
        if (refusal := _refusal(part, self.models, ollama=isinstance(wire, Ollama))) is not None:
            return refusal
        events = script.play(part, received.body, self._set_answer(received.body))
        if part == "rounds":
            asked = script.last_user_text(received.body)
            rounds = next((r for words, r in self.rounds_of.items() if words in asked), self.rounds)
            events = iter(rounds[min(script.rounds_before(received.body), len(rounds) - 1)])
        if not wire.streamed:
            return await self._whole(request, wire, events)
        response = web.StreamResponse(headers={"Content-Type": wire.content_type})
        await response.prepare(request)
        for event in events:
            match event:
                case script.Cut():
                    return response
                case script.Drop():
                    _abort(request)
                    return response
                case script.Wait() | script.Gate() | script.Stall():
                    await self._pause(event)
                case _:
                    for piece in wire.encode(event):
                        await response.write(piece)
        return response

    async def _whole(self, request: web.Request, wire: "Wire", events: Iterator[script.Event]) -> web.StreamResponse:
        kept: list[script.Event] = []
        for event in events:
            match event:
                case script.Drop() | script.Cut():
                    _abort(request)
                case script.Wait() | script.Gate():
                    pass
                case script.Stall():
                    await self._pause(event)
                case script.Failure(message):
                    return _error(500, message, ollama=isinstance(wire, Ollama))
                case _:
                    kept.append(event)
        return web.json_response(wire.whole(kept))

    async def _pause(self, event: script.Wait | script.Gate | script.Stall) -> None:
        match event:
            case script.Wait(seconds):
                await asyncio.sleep(seconds)
            case script.Gate():
                await self._gate.acquire()
            case script.Stall():
                await self._closing.wait()

    def _set_answer(self, body: Mapping[str, Any]) -> str | None:
        said = "\n".join(
            script.text_of(message) for message in body.get("messages") or [{"content": body.get("prompt")}]
        )
        return next((text for contains, text in self._answers if contains in said), None)


class Wire:
    """One protocol's way to say the events of a script."""

    content_type = "text/event-stream"

    def __init__(self, model: str, body: Mapping[str, Any]) -> None:
        self.model = model
        self.body = body
        self.streamed = bool(body.get("stream", False))

    def encode(self, event: script.Event) -> Iterator[bytes]:
        raise NotImplementedError

    def whole(self, events: list[script.Event]) -> dict[str, Any]:
        raise NotImplementedError


class OpenAIChat(Wire):
    """`/chat/completions`."""

    _first = True

    def encode(self, event: script.Event) -> Iterator[bytes]:
        match event:
            case script.Raw(data):
                yield data
            case script.Text(text):
                yield self._chunk({"content": text})
            case script.Reasoning(text):
                yield self._chunk({"reasoning_content": text})
            case script.ToolCall(name, arguments, id_):
                call = {"index": 0, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
                yield self._chunk({"tool_calls": [call]})
                for piece in arguments:
                    yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            case script.Failure(message):
                yield sse({"error": {"message": message, "type": "server_error"}})
            case script.Finish(reason, usage):
                yield self._chunk({}, reason)
                asked = (self.body.get("stream_options") or {}).get("include_usage")
                if usage is not None and asked:
                    yield sse(self._base() | {"choices": [], "usage": dict(usage)})
                yield b"data: [DONE]\n\n"
            case _:
                raise TypeError(event)

    def whole(self, events: list[script.Event]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": _text(events)}
        if reasoning := "".join(e.text for e in events if isinstance(e, script.Reasoning)):
            message["reasoning_content"] = reasoning
        if calls := [e for e in events if isinstance(e, script.ToolCall)]:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": "".join(c.arguments)}}
                for c in calls
            ]
        finish = next(e for e in events if isinstance(e, script.Finish))
        choice = {"index": 0, "message": message, "finish_reason": finish.reason}
        if self.body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "the", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
        answer = self._base() | {"object": "chat.completion", "choices": [choice]}
        return answer if finish.usage is None else answer | {"usage": dict(finish.usage)}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        if self._first:
            delta = {"role": "assistant", **delta}
            self._first = False
        return sse(self._base() | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def _base(self) -> dict[str, Any]:
        created = 1_700_000_000
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": created, "model": self.model}


class OpenAIText(Wire):
    """`/completions`, the one without roles."""

    def encode(self, event: script.Event) -> Iterator[bytes]:
        match event:
            case script.Raw(data):
                yield data
            case script.Text(text) | script.Reasoning(text):
                yield sse(self._body(text, None))
            case script.Failure(message):
                yield sse({"error": {"message": message}})
            case script.Finish(reason, _):
                yield sse(self._body("", reason))
                yield b"data: [DONE]\n\n"
            case _:
                raise TypeError(event)

    def whole(self, events: list[script.Event]) -> dict[str, Any]:
        return self._body(_text(events), "stop") | {
            "usage": {"prompt_tokens": 7, "completion_tokens": 20, "total_tokens": 27}
        }

    def _body(self, text: str, reason: str | None) -> dict[str, Any]:
        choices = [{"index": 0, "text": text, "finish_reason": reason}]
        return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.model, "choices": choices}


class Ollama(Wire):
    """`/api/chat` and `/api/generate`: a JSON object a line, streamed unless told otherwise."""

    content_type = "application/x-ndjson"

    def __init__(self, model: str, body: Mapping[str, Any]) -> None:
        super().__init__(model, body)
        self.streamed = bool(body.get("stream", True))

    def encode(self, event: script.Event) -> Iterator[bytes]:
        match event:
            case script.Raw(data):
                yield data
            case script.Failure(message):
                yield self._line({"error": message})
            case script.Finish():
                yield self._line(self._body("") | self._end(event))
            case script.Text(text):
                yield self._line(self._body(text) | {"done": False})
            case script.Reasoning(text):
                yield self._line(self._body("", thinking=text) | {"done": False})
            case script.ToolCall():
                yield self._line(self._body("", tool_calls=[self._call(event)]) | {"done": False})
            case _:
                raise TypeError(event)

    def whole(self, events: list[script.Event]) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if thinking := "".join(e.text for e in events if isinstance(e, script.Reasoning)):
            extra["thinking"] = thinking
        if calls := [self._call(e) for e in events if isinstance(e, script.ToolCall)]:
            extra["tool_calls"] = calls
        finish = next(e for e in events if isinstance(e, script.Finish))
        return self._body(_text(events), **extra) | self._end(finish)

    def _body(self, text: str, **extra: Any) -> dict[str, Any]:
        base = {"model": self.model, "created_at": "2026-01-01T00:00:00Z"}
        if "messages" not in self.body:
            return base | {"response": text} | extra
        return base | {"message": {"role": "assistant", "content": text, **extra}}

    @staticmethod
    def _call(event: script.ToolCall) -> dict[str, Any]:
        return {"function": {"name": event.name, "arguments": json.loads("".join(event.arguments))}}

    @staticmethod
    def _end(event: script.Finish) -> dict[str, Any]:
        usage = event.usage or {}
        return {
            "done": True, "done_reason": "stop", "total_duration": 1, "load_duration": 1, "prompt_eval_duration": 1,
            "prompt_eval_count": usage.get("prompt_tokens", 0), "eval_count": usage.get("completion_tokens", 0),
            "eval_duration": 1,
        }  # fmt: skip

    @staticmethod
    def _line(value: dict[str, Any]) -> bytes:
        return json.dumps(value).encode() + b"\n"


async def entered(opening: AbstractAsyncContextManager[Any]) -> None:
    """Opens something and closes it: for what fails to open."""
    async with opening:
        pass


def sse(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def embedding(text: str) -> list[float]:
    """A vector that is the same for the same text, and of no meaning."""
    numbers: list[float] = []
    while len(numbers) < EMBEDDING_SIZE:
        digest = hashlib.sha256(f"{len(numbers)}:{text}".encode()).digest()
        numbers += [(byte - 127.5) / 127.5 for byte in digest]
    return numbers[:EMBEDDING_SIZE]


def _text(events: list[script.Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, script.Text))


def _refusal(part: str, models: tuple[str, ...], *, ollama: bool) -> web.Response | None:
    if part == "html502":
        return web.Response(status=502, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html")
    if part not in models:
        return _error(404, f"The model `{part}` does not exist", ollama=ollama)
    if part.startswith("error"):
        status = int(part.removeprefix("error"))
        return _error(status, ERRORS[status], ollama=ollama)
    return None


def _error(status: int, message: str, *, ollama: bool = False) -> web.Response:
    body: dict[str, Any] = {"error": message if ollama else {"message": message, "type": "fake_error", "code": status}}
    return web.json_response(body, status=status, headers={"Retry-After": "7"} if status == 429 else None)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
