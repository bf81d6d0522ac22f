"""OpenAI's HTTP API over any backend, for the one client that has the key: the parent process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import secrets
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, Self

from aiohttp import web

from llamaforge.backends.base import (
    ALIVE_PATH,
    COUNT_PATH,
    DETOKENIZE_PATH,
    TOKENIZE_PATH,
    BaseBackend,
    checked_text,
    checked_tokens,
)
from llamaforge.exceptions import LlamaForgeError, ParameterError, UnsupportedError
from llamaforge.formats.completions import split_usage, whole
from llamaforge.formats.errors import Refusal
from llamaforge.formats.request import Kind, Request, normalise
from llamaforge.parameters import spellings
from llamaforge.threads import in_thread

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 256 * 2**20
_POLL: Final = 0.2
# A stream that has nothing to say for so long says that it lives.
SILENCE_SECONDS: Final = 20.0
_BACKEND = web.AppKey("backend", BaseBackend)
_NAME = web.AppKey("name", str)
_KEY = web.AppKey("key", str)
log = logging.getLogger(__name__)


class _Work:
    """waiting: answers whose next chunk is computed. steps: chunks that all answers have given so far."""

    def __init__(self) -> None:
        self.waiting = self.steps = 0

    async def counted(self, chunks: AsyncIterator[Json]) -> AsyncIterator[Json]:
        """The chunks. A client that is slow to take them is not waited for by the engine."""
        while True:
            self.waiting += 1
            try:
                chunk = await anext(chunks, None)
            finally:
                self.waiting -= 1
            if chunk is None:
                return
            self.steps += 1
            yield chunk


_WORK = web.AppKey("work", _Work)


def serve(backend: BaseBackend, name: str, ready: Callable[[str, str, str], object]) -> None:
    """Serve `backend` on a free port of 127.0.0.1 until the process ends. `ready` gets the address, the key and `ALIVE_PATH`."""
    key = secrets.token_urlsafe(32)

    async def run() -> None:
        # Cancelled when the client goes away, which ends the generation.
        runner = web.AppRunner(create_app(backend, name, key), access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        ready(f"http://127.0.0.1:{port}", key, ALIVE_PATH)
        await asyncio.Event().wait()

    asyncio.run(run())


def create_app(backend: BaseBackend, name: str, key: str) -> web.Application:
    """The application; every request but /health needs `key` as its bearer token."""
    app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY)
    app[_BACKEND], app[_NAME], app[_KEY], app[_WORK] = backend, name, key, _Work()
    app.router.add_get("/health", _health)
    app.router.add_get(ALIVE_PATH, _alive)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/completions", _completions)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/embeddings", _embeddings)
    app.router.add_post(COUNT_PATH, _count)
    app.router.add_post(TOKENIZE_PATH, _tokenize)
    app.router.add_post(DETOKENIZE_PATH, _detokenize)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path != "/health":
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), request.app[_KEY].encode()):
            return _refused(Refusal(401, "The key is missing or wrong.", "authentication_error"))
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _refused(Refusal(error.status, error.reason))
    except ConnectionError:
        raise  # the client is gone
    except Exception as error:  # noqa: BLE001 -- it is logged
        return _refused(_failure(error))


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _alive(request: web.Request) -> web.Response:
    """Answers when nothing is computed, or as soon as an answer has got one step further."""
    work = request.app[_WORK]
    before = work.steps
    while work.waiting and work.steps == before:  # noqa: ASYNC110 -- an event for each chunk would cost more than this
        await asyncio.sleep(_POLL)
    return web.json_response({"steps": work.steps})


async def _models(request: web.Request) -> web.Response:
    entry = {"id": request.app[_NAME], "object": "model", "created": int(time.time()), "owned_by": "llamaforge"}
    return web.json_response({"object": "list", "data": [entry]})


async def _completions(request: web.Request) -> web.StreamResponse:
    asked = await _asked(request, "completion")
    prompts = _texts(asked)
    backend, parameters = request.app[_BACKEND], asked.parameters
    if asked.suffix is not None:
        if "suffix" not in spellings(backend.generation_parameters or ()):
            raise UnsupportedError("This model can't fill in: 'suffix' can't be had.")
        parameters = {**parameters, "suffix": asked.suffix}
    return await _answer(request, asked, lambda: _each(prompts, lambda p: backend.completion_stream(p, parameters)))


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = await _asked(request, "chat")
    backend = request.app[_BACKEND]
    return await _answer(request, asked, lambda: backend.chat_completion_stream(asked.content, asked.parameters))


async def _embeddings(request: web.Request) -> web.Response:
    asked = await _asked(request, "embeddings")
    vectors = await request.app[_BACKEND].aembed(_texts(asked), asked.parameters)
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if asked.packed else vector}
        for index, vector in enumerate(vectors)
    ]
    return web.json_response({"object": "list", "data": data, "model": asked.model or request.app[_NAME]})


async def _count(request: web.Request) -> web.Response:
    """The tokens of a chat that is asked for, as llama.cpp's server has it."""
    asked = await _asked(request, "chat")
    count = await request.app[_BACKEND].acount_tokens(asked.content, asked.parameters.get("tools", ()))
    return web.json_response({"object": "response.input_tokens", "input_tokens": count})


async def _tokenize(request: web.Request) -> web.Response:
    text = checked_text((await _json(request)).get("content"))
    return web.json_response({"tokens": await request.app[_BACKEND].atokenize(text)})


async def _detokenize(request: web.Request) -> web.Response:
    tokens = checked_tokens((await _json(request)).get("tokens"))
    return web.json_response({"content": await request.app[_BACKEND].adetokenize(tokens)})


def _texts(asked: Request) -> list[str]:
    if all(isinstance(text, str) for text in asked.content):
        return asked.content
    raise UnsupportedError("This model takes text, not tokens.")


def _each(prompts: list[str], start: Callable[[str], Iterator[Json]]) -> Iterator[Json]:
    """The answers to several prompts, one after the other, each under its index."""
    for place, prompt in enumerate(prompts):
        with contextlib.closing(start(prompt)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                yield {**chunk, "choices": [{**one, "index": place} for one in chunk["choices"]]} if place else chunk


async def _answer(request: web.Request, asked: Request, start: Callable[[], Iterator[Json]]) -> web.StreamResponse:
    """The chunks of `start` as they come, or put together. What fails before the first one has a status of its own."""
    named = _named(in_thread(start), asked.model)
    async with contextlib.aclosing(named):  # type: ignore[type-var]
        chunks = request.app[_WORK].counted(named)
        if not asked.stream:
            return web.json_response(whole([chunk async for chunk in chunks]))
        async with _Stream(request) as stream:
            try:
                async for made in chunks:
                    for chunk in split_usage(made, wanted=asked.include_usage):
                        await stream.write(_event(chunk))
                await stream.write(b"data: [DONE]\n\n")
            except ConnectionError:
                raise  # the client is gone
            except Exception as error:
                if not stream.response.prepared:
                    raise
                await stream.write(_failure(error).event)
        await stream.response.write_eof()
        return stream.response


class _Stream:
    """A stream of events. While nothing comes it says that it lives, as a comment that clients pass over."""

    def __init__(self, request: web.Request) -> None:
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        self._request = request
        self._lock = asyncio.Lock()
        self._wrote = True

    async def write(self, events: bytes) -> None:
        self._wrote = True
        async with self._lock:
            if not self.response.prepared:
                await self.response.prepare(self._request)
            await self.response.write(events)

    async def __aenter__(self) -> Self:
        self._pulse = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pulse.cancel()
        await asyncio.wait({self._pulse})

    async def _beat(self) -> None:
        while True:
            self._wrote = False
            await asyncio.sleep(SILENCE_SECONDS)
            if not self._wrote:
                await self.write(b": at work\n\n")


async def _named(chunks: AsyncIterator[Json], model: object) -> AsyncIterator[Json]:
    """The chunks with the name of the model that the client has asked for."""
    async for chunk in chunks:
        yield {**chunk, "model": model} if isinstance(model, str) else chunk


async def _asked(request: web.Request, kind: Kind) -> Request:
    asked = normalise(await _json(request), kind)
    if asked.n > 1:
        raise UnsupportedError("This model gives one answer at a time: 'n' must be 1.")
    return asked


async def _json(request: web.Request) -> Json:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise ParameterError("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise ParameterError("The body must be an object.")
    return body


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(body=refusal.body, status=refusal.status, headers=refusal.headers)


def _failure(error: Exception) -> Refusal:
    """What an error of a backend is to a client; a backend is anybody's code."""
    if isinstance(error, LlamaForgeError):
        return Refusal.of(error)
    log.error("The backend failed.", exc_info=error)
    return Refusal(500, f"The model failed: {str(error) or type(error).__name__}", "server_error")


def _event(chunk: Json) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
