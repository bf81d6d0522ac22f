"""The application: OpenAI's endpoints over the models of a forge, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from llamaforge import threads
from llamaforge.backends.base import COUNT_PATH, DETOKENIZE_PATH, PATHS, TOKENIZE_PATH, checked_text, checked_tokens
from llamaforge.config import Config
from llamaforge.exceptions import ConfigError, LlamaForgeError, UnsupportedError
from llamaforge.formats import rerank
from llamaforge.library import Library, configured_budget
from llamaforge.loading import http_request
from llamaforge.pool import Limits, Pool
from llamaforge.server import bodies
from llamaforge.server.answers import Answer, OpenAIAnswer
from llamaforge.server.catalog import Catalog, Forge, Served
from llamaforge.server.codecs import FORMATS, TranslatedAnswer, WholeAnswer, error_writer
from llamaforge.server.errors import Refusal
from llamaforge.server.forward import Forward, Upstream
from llamaforge.server.metrics import CONTENT_TYPE, Metrics
from llamaforge.server.residence import Residence, keep_alive_seconds

T = TypeVar("T")
MAX_BODY = 64 * 2**20
SLOTS = 4
_LARGE = 2**14
_SMALL = 2**16
_OPEN = ("/health",)
_KINDS = {path: kind for kind, path in PATHS.items()}


def create_api_server(
    forge: Forge | None = None,
    *,
    enable_cors: bool = False,
    api_key: str | None = None,
    pool: Pool | None = None,
    idle_seconds: float | None = None,
    slots: int = SLOTS,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """An application that serves every model of `forge`, loaded when it is first asked for.

    forge: a LlamaForge; a new one where None. enable_cors: pages of any site may use it. api_key: asked of every request
    but /health. pool: runs the models and is closed by its owner; None for one of its own within the configuration's
    `memory_budget`, where models go after `idle_seconds` unused. slots: requests at a time for each model that does not
    say itself (`n_parallel`). max_body: bytes of a request.
    """
    if forge is None:
        forge = Library(Config())
    limits = Limits(hang_seconds=_seconds(forge))
    models = pool or Pool(memory_budget=configured_budget(forge.config), limits=limits)
    api = _Api(forge, models, slots, max_body, idle_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(api.residence.run(), name="models' residence")
        try:
            yield
        finally:
            watching.cancel()
            await api.close()
            if pool is None:
                await api.pool.close()

    app = FastAPI(title="LlamaForge", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.pool = api.pool
    app.add_api_route("/health", _health)
    app.add_api_route("/metrics", api.metrics_page)
    app.add_api_route("/v1/models", api.models)
    app.add_api_route("/v1/models/{name:path}", api.model)
    app.add_api_route("/v1/models/{name:path}", api.load_named, methods=["POST"])
    app.add_api_route("/api/ps", api.running)
    app.add_api_route("/api/load", api.load, methods=["POST"])
    app.add_api_route("/api/unload", api.unload, methods=["POST"])
    for path in (*_KINDS, *FORMATS):
        app.add_api_route(path, api.forward, methods=["POST"], response_model=None)
    for path in (TOKENIZE_PATH, DETOKENIZE_PATH):
        app.add_api_route(path, api.tokens, methods=["POST"], response_model=None)
    app.add_api_route("/v1/rerank", api.rerank, methods=["POST"], response_model=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(LlamaForgeError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)  # it is logged as well
    if api_key is not None:
        app.add_middleware(_KeyGuard, api_key=api_key)
    elif not enable_cors:
        app.add_middleware(_PageGuard)
    if enable_cors:
        app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return app


class _Api:
    """The endpoints and what they share."""

    def __init__(self, forge: Forge, pool: Pool, slots: int, max_body: int, idle_seconds: float | None) -> None:
        self.pool = pool
        self._catalog = Catalog(forge, slots)
        self.residence = Residence(pool, self._catalog, idle_seconds)
        self._metrics = Metrics()
        self._max_body = max_body
        self._timeout = _seconds(forge)
        self._upstream: Upstream | None = None
        self._started = int(time.time())

    def upstream(self) -> Upstream:
        """Made with the first request, in its event loop."""
        if self._upstream is None:
            # A connection for each request: the engine's server closes kept ones when it likes, and loopback is quick.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            # The time without a byte.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._timeout)
            session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, read_bufsize=2**18, auto_decompress=False, trust_env=False
            )
            self._upstream = Upstream(self.pool, session, self._metrics)
        return self._upstream

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.session.close()

    async def metrics_page(self) -> Response:
        return PlainTextResponse(self._metrics.text(self.pool.status()), media_type=CONTENT_TYPE)

    async def models(self) -> Response:
        return JSONResponse({"object": "list", "data": [self._entry(name) for name in await self._catalog.names()]})

    async def model(self, name: str) -> Response:
        served = await self._catalog.get(name)
        return JSONResponse(self._entry(served.spec.name))

    async def load_named(self, request: Request, name: str) -> Response:
        """Answers when the model is ready. The body says nothing."""
        if "origin" in request.headers:  # of a page in a browser
            bodies.check_type(request)
        return JSONResponse(self._entry(await self._load(name, None)))

    async def load(self, request: Request) -> Response:
        """The same, of the model that the body names, which may say how long it stays."""
        name, body = await self._named(request)
        loaded = await self._load(name, keep_alive_seconds(body.get("keep_alive")))
        return JSONResponse(self._running(loaded))

    async def _load(self, name: str, keep: float | None) -> str:
        served = await self._catalog.get(name)
        await self.pool.load(served.spec)
        self.residence.touch(served.spec.name, keep, served.keep_alive)
        return served.spec.name

    async def unload(self, request: Request) -> Response:
        """Answers when the model's process has ended, which it does with its running requests, or at once by `force`."""
        name, body = await self._named(request)
        force = body.get("force", False)
        if not isinstance(force, bool):
            raise Refusal(400, "'force' must be true or false.")
        # One that was removed may still be running.
        is_running = any(status.name == name for status in self.pool.status())
        name = name if is_running else (await self._catalog.get(name)).spec.name
        return JSONResponse({"model": name, "unloaded": await self.pool.unload(name, force=force)})

    async def running(self) -> Response:
        """What is loaded and what loads."""
        names = [status.name for status in self.pool.status() if status.state in {"ready", "loading"}]
        return JSONResponse({"models": [self._running(name) for name in names]})

    def _running(self, name: str) -> dict[str, Any]:
        """One of those, with the fields that Ollama's clients know among them."""
        [status] = [status for status in self.pool.status() if status.name == name]
        expires = self.residence.expires(status)
        when = None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat()
        return {**asdict(status), "model": name, "size": status.memory, "expires_at": when}

    async def _named(self, request: Request) -> tuple[str, dict[str, Any]]:
        """The model that a body names, and the body."""
        body = bodies.parse(await bodies.read(request, _SMALL))
        name = bodies.text(body, "model") or bodies.text(body, "name")
        if not name:
            raise Refusal(400, "'model' is missing.")
        return name, body

    async def forward(self, request: Request) -> Response:
        path = request.url.path
        other = FORMATS.get(path)
        data = await bodies.read(request, self._max_body)
        # A large body is read and checked beside the event loop.
        run = threads.call if len(data) > _LARGE else _at_once
        body = await run(bodies.parse if other is None else other.decode, data)
        served, user = await self._asked(request, body)
        if other is not None:
            _set_effort(body, served)
        kind = "chat" if other is not None else _KINDS[path]
        asked, to, sent = await run(http_request, served.plan, body, kind)
        answer: Answer | None = None
        if other is not None and other.renderer is None:
            to, answer = COUNT_PATH, WholeAnswer(error_writer(path))
            sent.pop("stream", None)
        elif other is not None and other.renderer is not None:
            renderer = await run(other.renderer, served.spec.name, data)
            answer = TranslatedAnswer(renderer, error_writer(path), streams=asked.stream)
        elif asked.kind != "embeddings":
            answer = OpenAIAnswer(asked)
        at_once = answer is not None and not answer.streams and answer.takes_whole
        at_once = at_once and served.plan.cls.alive_path() is not None
        if answer is not None and not answer.passes and not at_once:
            sent |= {"stream": True, "stream_options": {"include_usage": True}}
        encoded = await run(msgspec.json.encode, sent)
        return Forward(self.upstream(), served.spec, path, (to, encoded), user, answer, at_once=at_once)

    async def rerank(self, request: Request) -> Response:
        body = bodies.parse(await bodies.read(request, self._max_body))
        served, user = await self._asked(request, body)
        path = served.plan.cls.rerank_path(served.plan.load)
        if path is None:
            raise UnsupportedError(
                f"The model '{served.spec.name}' ranks no documents. On llama.cpp, a model made for it does, added with "
                "'embedding' and with 'pooling_type' as 'rank'."
            )
        sent = msgspec.json.encode(rerank.decode_request(body) | {"model": served.spec.name})
        return Forward(self.upstream(), served.spec, request.url.path, (path, sent), user, None)

    async def tokens(self, request: Request) -> Response:
        """A text as the model's tokens, or tokens as text."""
        path = request.url.path
        body = bodies.parse(await bodies.read(request, self._max_body))
        served, user = await self._asked(request, body)
        is_text = path == TOKENIZE_PATH
        sent = (
            {"content": checked_text(body.get("content"))}
            if is_text
            else {"tokens": checked_tokens(body.get("tokens"))}
        )
        return Forward(self.upstream(), served.spec, path, (path, msgspec.json.encode(sent)), user, None)

    async def _asked(self, request: Request, body: dict[str, Any]) -> tuple[Served, str]:
        """The model that a body names, which gets its own name there, and who takes turns with others."""
        name = bodies.text(body, "model") or self._catalog.default()
        if not name:
            raise Refusal(400, "'model' is missing.")
        keep = keep_alive_seconds(body.pop("keep_alive", None))
        served = await self._catalog.get(name)
        self.residence.touch(served.spec.name, keep, served.keep_alive)
        body["model"] = served.spec.name
        return served, bodies.text(body, "user") or (request.client.host if request.client else "")

    def _entry(self, name: str) -> dict[str, Any]:
        states = {status.name: status for status in self.pool.status()}
        status = states.get(name)
        state = {"value": "stopped"} if status is None else {"value": status.state, "error": status.error}
        return {"id": name, "object": "model", "created": self._started, "owned_by": "llamaforge", "status": state}


class _KeyGuard:
    """Lets nobody in without the key, as a bearer token or as Anthropic's clients send it."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._expected = {"authorization": f"Bearer {api_key}".encode(), "x-api-key": api_key.encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            headers = Headers(scope=scope)
            given = {name: headers.get(name, "").encode("latin-1") for name in self._expected}
            if not any(hmac.compare_digest(given[name], key) for name, key in self._expected.items()):
                refusal = Refusal(401, "The API key is missing or wrong.", code="invalid_api_key")
                await _response(refusal, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _PageGuard:
    """Refuses pages that reach this address by a name of their own: a site can have its name lead to 127.0.0.1, and is then,
    to a browser, the origin of what answers there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "origin" in headers and not bodies.is_local(headers.get("host", "")):
                refusal = Refusal(403, "Pages of other sites may not use this server. Set an API key, or enable CORS.")
                await _response(refusal, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _health() -> Response:
    return JSONResponse({"status": "ok"})


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, LlamaForgeError):
        error = Refusal.of(error)
    elif isinstance(error, HTTPException):
        error = Refusal(error.status_code, error.detail)
    elif not isinstance(error, Refusal):
        error = Refusal(500, "The server failed; its log says why.", "server_error")
    return _response(error, request.url.path)


def _response(refusal: Refusal, path: str) -> Response:
    """The error in the shape of the API that the path belongs to."""
    write = error_writer(path)
    body = refusal.body if write is None else write(refusal.status, refusal.message)
    return Response(body, refusal.status, refusal.headers)


async def _at_once(work: Callable[..., T], *arguments: Any) -> T:
    return work(*arguments)


def _set_effort(body: dict[str, Any], served: Served) -> None:
    """How much is thought, as far as the model can be asked for it: most models here think as they do."""
    effort = body.pop("reasoning_effort", None)
    known = served.plan.canonical
    if effort is not None and "reasoning_effort" in known:
        body["reasoning_effort"] = effort
    elif effort is not None and "chat_template_kwargs" in known:
        body["chat_template_kwargs"] = {"enable_thinking": False} if effort == "none" else {"reasoning_effort": effort}


def _seconds(forge: Forge) -> float:
    """How long a model may take for its next byte. Raises ConfigError."""
    value = forge.config.get("server.request_timeout", 300)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError("'request_timeout' in 'server' must be a number of seconds above 0.")
    return float(value)
