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
from typing import Any

from aiohttp import web

from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ContextLengthError, LlamaForgeError, ParameterError, UnsupportedError
from llamaforge.formats.request import Kind, Request, normalise
from llamaforge.threads import in_thread
from llamaforge.worker.answers import assemble, split_usage

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 256 * 2**20
_BACKEND = web.AppKey("backend", BaseBackend)
_NAME = web.AppKey("name", str)
_KEY = web.AppKey("key", str)
log = logging.getLogger(__name__)


def serve(backend: BaseBackend, name: str, ready: Callable[[str, str], object]) -> None:
    """Serve `backend` on a free port of 127.0.0.1 until the process ends. `ready` gets the address and the key."""
    key = secrets.token_urlsafe(32)

    async def run() -> None:
        # Cancelled when the client goes away, which ends the generation.
        runner = web.AppRunner(create_app(backend, name, key), access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        ready(f"http://127.0.0.1:{port}", key)
        await asyncio.Event().wait()

    asyncio.run(run())


def create_app(backend: BaseBackend, name: str, key: str) -> web.Application:
    """The application; every request but /health needs `key` as its bearer token."""
    app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY)
    app[_BACKEND], app[_NAME], app[_KEY] = backend, name, key
    app.router.add_get("/health", _health)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/completions", _completions)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/embeddings", _embeddings)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path != "/health":
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), request.app[_KEY].encode()):
            return _refusal(401, error_body("The key is missing or wrong.", "authentication_error"))
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _refusal(error.status, error_body(error.reason, "invalid_request_error"))
    except LlamaForgeError as error:
        return _refusal(*refusal(error))
    except Exception as error:  # a backend is anybody's code
        log.exception("The backend failed.")
        return _refusal(500, error_body(f"The model failed: {str(error) or type(error).__name__}", "server_error"))


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _models(request: web.Request) -> web.Response:
    entry = {"id": request.app[_NAME], "object": "model", "created": int(time.time()), "owned_by": "llamaforge"}
    return web.json_response({"object": "list", "data": [entry]})


async def _completions(request: web.Request) -> web.StreamResponse:
    asked = await _asked(request, "completion")
    prompts = _texts(asked)
    backend, parameters = request.app[_BACKEND], asked.parameters
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
    async with contextlib.aclosing(_named(in_thread(start), asked.model)) as chunks:  # type: ignore[type-var]
        if not asked.stream:
            return web.json_response(assemble([chunk async for chunk in chunks]))
        first = await anext(chunks, None)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        try:
            while first is not None:
                for chunk in split_usage(first, wanted=asked.include_usage):
                    await response.write(_event(chunk))
                first = await anext(chunks, None)
            await response.write(b"data: [DONE]\n\n")
        except LlamaForgeError as error:
            await response.write(_event(refusal(error)[1]))
        except ConnectionError:
            raise  # the client is gone
        except Exception as error:
            log.exception("The backend failed in the middle of an answer.")
            await response.write(
                _event(error_body(f"The model failed: {str(error) or type(error).__name__}", "server_error"))
            )
        await response.write_eof()
        return response


async def _named(chunks: AsyncIterator[Json], model: object) -> AsyncIterator[Json]:
    """The chunks with the name of the model that the client has asked for."""
    async for chunk in chunks:
        yield {**chunk, "model": model} if isinstance(model, str) else chunk


async def _asked(request: web.Request, kind: Kind) -> Request:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise ParameterError("The body is not JSON.") from None
    asked = normalise(body, kind)
    if asked.n > 1:
        raise UnsupportedError("This model gives one answer at a time: 'n' must be 1.")
    return asked


def refusal(error: LlamaForgeError) -> tuple[int, Json]:
    """An error as a status and a body, as llama.cpp's server has them."""
    message = str(error)
    if isinstance(error, ContextLengthError):
        body = error_body(message, "exceed_context_size_error", 400)
        body["error"] |= {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context_tokens}
        return 400, body
    if isinstance(error, ParameterError):
        return 400, error_body(message, "invalid_request_error", 400)
    if isinstance(error, UnsupportedError):
        return 501, error_body(message, "not_supported_error", 501)
    return 500, error_body(message, "server_error", 500)


def error_body(message: str, kind: str, code: int | str | None = None) -> Json:
    """OpenAI's shape of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _refusal(status: int, body: Json) -> web.Response:
    return web.json_response(body, status=status)


def _event(chunk: Json) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
