"""Ollama servers: their settings; their API, which answers for models of this machine too. Chat is in completions.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Final, NoReturn

import aiohttp
from fastapi import Path, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from open_webui.access.policy import ADMIN, PUBLIC, USER
from open_webui.connections.base import ModelEntry, Target
from open_webui.connections.calls import Kind
from open_webui.connections.catalogue import unavailable
from open_webui.connections.local.connection import KEY as LOCAL
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.specs import build, check_secret, check_url
from open_webui.connections.transport import FAILURES, read_all
from open_webui.constants import MODEL_NOT_FOUND
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest, NotFound, OuiError, ProviderError
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.routers.openai import page_error
from open_webui.routing import Json, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.ollama import About, Copy, OllamaConfig, VerifyOllama
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import local_ollama
from open_webui.state import State

log = get_logger(__name__)
router = new_router(prefix="/ollama", tag="ollama")
UNREACHABLE: Final = "None of the connected Ollama servers can be reached."
# A question to all servers does not wait longer for a dead one.
ASK_SECONDS: Final = 3.0
Index = Annotated[int, Path(ge=0, le=1_000)]
USE = USER.on("model", "use")
NO_FILES: Final = (
    "Files of models are not passed on. Pull the model by its name instead: one of Hugging Face is hf.co/OWNER/NAME."
)


def _wire(state: State) -> dict[str, Any]:
    return {
        "ENABLE_OLLAMA_API": state.config["ollama.enable"],
        "OLLAMA_BASE_URLS": state.config["ollama.base_urls"],
        "OLLAMA_API_CONFIGS": state.config["ollama.api_configs"],
    }


def _servers(state: State) -> list[OllamaConnection]:
    """The servers that are switched on. Raises an OuiError (503) when the whole API is off."""
    if not state.config["ollama.enable"]:
        raise unavailable("Ollama")
    return [c for c in state.catalogue.remotes("ollama") if isinstance(c, OllamaConnection)]


def _server(state: State, index: int | None) -> OllamaConnection:
    """The server at a place in the list, or the first. Raises NotFound when there is none."""
    servers = _servers(state)
    for server in servers:
        if index is None or server.spec.index == index:
            return server
    raise NotFound("There is no such Ollama server, or it is switched off.")


def target_at(state: State, caller: Principal, model: str, index: int | None) -> Target:
    """A server's model that the caller may use; admins may also name one that is not listed yet.

    Raises NotFound (400).
    """
    servers = _servers(state)
    if index is not None:
        connection, entry = state.catalogue.named(caller, "ollama", index, model)
    else:
        found = state.catalogue.snapshot.find(model)
        usable = found is not None and state.catalogue.may_use(caller, found) and found.entry.kind == "ollama"
        entry = found.entry if found is not None and usable else None
        connection = next((s for s in servers if entry is not None and s.key == entry.connection), None)  # type: ignore[assignment]
    if not isinstance(connection, OllamaConnection) or (entry is None and not caller.is_admin):
        raise NotFound(MODEL_NOT_FOUND, status=400)
    if entry is None:
        entry = ModelEntry(id=model, name=model, remote_id=model, connection=connection.key, kind="ollama")
    return Target(model_id=entry.id, entry=entry, connection=connection, user_id=caller.id)


def placed(state: State, caller: Principal, model: str, index: int) -> Target | None:
    """The model at one server; None for one that is at no server by itself: of another kind, or made of another model.

    Raises NotFound (400).
    """
    found = state.catalogue.snapshot.find(model)
    if found is not None and (found.is_custom or found.entry.kind != "ollama"):
        return None
    return target_at(state, caller, model, index)


@router.get("/")
@router.head("/")
@allow(PUBLIC)
async def root() -> "Annotated[dict[str, bool], Shape(replies.server.Done)]":
    """Clients of Ollama look here whether somebody answers."""
    return {"status": True}


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaConfig)]":
    """The servers as they are in force."""
    return _wire(state)


@router.post("/config/update")
@allow(ADMIN)
async def update_config(
    form: OllamaConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaConfig)]":
    """Replaces the servers; refused where the environment fixes them otherwise."""
    for entry in form.OLLAMA_API_CONFIGS.values():
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            check_secret(entry["key"], "A key")
    changes: dict[str, object] = {
        "ollama.base_urls": [check_url(url) for url in form.OLLAMA_BASE_URLS],
        "ollama.api_configs": form.OLLAMA_API_CONFIGS,
    }
    if form.ENABLE_OLLAMA_API is not None:
        changes["ollama.enable"] = form.ENABLE_OLLAMA_API
    await state.save_config(changes)
    return _wire(state)


@router.post("/verify")
@allow(ADMIN)
async def verify(
    form: VerifyOllama, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaVersion)]":
    """Asks an address for its version, to see whether it answers; nothing is stored."""
    timeout = state.settings.aiohttp_client_timeout_model_list
    spec = build("ollama", 0, check_url(form.url), check_secret(form.key or "", "The key"), form.config or {})
    try:
        server = OllamaConnection(state.http, spec, timeout)
        return await state.gate.ask_server(caller, server, "/api/version", timeout=timeout)
    except ProviderError as error:
        raise page_error(error) from error


# What the servers offer


def _visible(state: State, caller: Principal, index: int | None) -> list[ModelEntry]:
    """The models that the caller may use: of one server, or of all and of this machine."""
    entries = [p.entry for p in state.catalogue.visible(caller) if not p.is_custom]
    own = [e for e in entries if e.connection == LOCAL and index is None]
    if own and not state.config["ollama.enable"]:
        return own
    _servers(state)
    return [e for e in entries if e.kind == "ollama" and index in {None, e.index}] + own


def _tags(entries: list[ModelEntry]) -> dict[str, Any]:
    return {"models": [_tag(e) for e in entries]}


def _tag(entry: ModelEntry) -> dict[str, Any]:
    urls = {} if entry.connection == LOCAL else {"urls": [entry.index]}
    return entry.raw | {"name": entry.id, "model": entry.id} | urls


@router.get("/api/tags")
@allow(USER.on("model", "list"))
async def tags(state: AppState, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaTags)]":
    """The models of all servers and of this machine that the caller may use, from the catalogue."""
    await state.catalogue.wait_for_lists()
    return _tags(_visible(state, caller, None))


@router.get("/api/tags/{url_idx}")
@allow(USER.on("model", "list"))
async def server_tags(
    url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaTags)]":
    """The models of one server that the caller may use, from the catalogue."""
    return _tags(_visible(state, caller, url_idx))


def _listed(entries: list[ModelEntry]) -> dict[str, Any]:
    data = [{"id": e.id, "object": "model", "created": e.created, "owned_by": "openai"} for e in entries]
    return {"data": data, "object": "list"}


@router.get("/v1/models")
@allow(USER.on("model", "list"))
async def openai_models(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.PlainModels)]":
    """The models of all servers and of this machine in OpenAI's form."""
    await state.catalogue.wait_for_lists()
    return _listed(_visible(state, caller, None))


@router.get("/v1/models/{url_idx:int}")
@allow(USER.on("model", "list"))
async def server_openai_models(
    url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.PlainModels)]":
    """The models of one server in OpenAI's form."""
    return _listed(_visible(state, caller, url_idx))


async def _ask_all(state: State, caller: Principal, path: str) -> list[dict[str, Any]]:
    """The answers of the servers that answer."""

    async def ask(server: OllamaConnection) -> dict[str, Any] | None:
        try:
            return await state.gate.ask_server(caller, server, path, timeout=ASK_SECONDS)
        except ProviderError as error:
            log.info("an Ollama server did not answer", connection=server.key, error=error.detail)
            return None

    return [answer for answer in await asyncio.gather(*map(ask, _servers(state))) if answer is not None]


@router.get("/api/version")
@allow(USER)
async def version(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaVersion)]":
    """The oldest version among the servers: what clients can count on."""
    # A page asks on every load and takes False for "there is none": with no server connected that is no failure.
    if not state.config["ollama.enable"] or not _servers(state):
        has_own = any(p.entry.connection == LOCAL for p in state.catalogue.visible(caller))
        return {"version": local_ollama.VERSION if has_own else False}
    found = [str(a["version"]) for a in await _ask_all(state, caller, "/api/version") if a.get("version")]
    if not found:
        raise OuiError(UNREACHABLE, status=502)
    return {"version": min(found, key=_numbers)}


def _numbers(version: str) -> list[int]:
    parts = version.lstrip("v").partition("-")[0].split(".")
    return [int(part) if part.isdecimal() else 0 for part in parts]


@router.get("/api/version/{url_idx}")
@allow(USER)
async def server_version(
    url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaVersion)]":
    """The version of one server."""
    server = _server(state, url_idx)
    try:
        return await state.gate.ask_server(caller, server, "/api/version", timeout=ASK_SECONDS)
    except ProviderError as error:
        raise page_error(error) from error


@router.get("/api/ps")
@allow(ADMIN)
async def loaded(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OllamaLoaded)]":
    """The models that are in memory now, on all servers and on this machine."""
    await state.local_models.look()
    own = local_ollama.loaded(state.local_models)
    if own and not state.config["ollama.enable"]:
        return {"models": own}
    answers = await _ask_all(state, caller, "/api/ps")
    return {"models": [m for a in answers for m in (a.get("models") or []) if isinstance(m, dict)] + own}


# Calls about one model


def _own(state: State, caller: Principal, model: str, index: int | None) -> Target | None:
    """A model of this machine that the caller may use."""
    found = state.catalogue.snapshot.find(model) if index is None else None
    if found is None or found.entry.connection != LOCAL or not state.catalogue.may_use(caller, found):
        return None
    return state.catalogue.resolve(caller, model)


async def _about_own(state: State, caller: Principal, target: Target, form: About, path: str) -> Response:
    body = form.model_dump()
    if path == "/api/show":
        return Json(await local_ollama.show(state.local_models, target.entry.remote_id))
    if path == "/api/embed":
        return Json(await local_ollama.embed(state.gate, caller, target, body))
    if path == "/api/embeddings":
        return Json(await local_ollama.embedding(state.gate, caller, target, body))
    return Response(await state.gate.embed(caller, target, body), media_type="application/json")


async def _about(state: State, caller: Principal, form: About, path: str, index: int | None) -> Response:
    with state.streams.reserve(caller):
        await state.catalogue.wait_until_listed(form.model)
        if (own := _own(state, caller, form.model, index)) is not None:
            return await _about_own(state, caller, own, form, path)
        target = target_at(state, caller, form.model, index)
        kind: Kind = "operation" if path == "/api/show" else "embedding"
        body = await state.gate.call(caller, target, path, form.model_dump(), kind)
        return Response(body, media_type="application/json")


def _add_call(path: str, about: str) -> None:
    """A call about a model that the caller may use, passed through; also with a server's place at the end."""

    async def call(
        form: About, state: AppState, caller: Caller
    ) -> "Annotated[Response, Shape(replies.connections.CALLS[path])]":
        return await _about(state, caller, form, path, None)

    async def call_at(
        form: About, url_idx: Index, state: AppState, caller: Caller
    ) -> "Annotated[Response, Shape(replies.connections.CALLS[path])]":
        return await _about(state, caller, form, path, url_idx)

    call.__doc__ = call_at.__doc__ = about
    router.add_api_route(path, allow(USE)(call), methods=["POST"])
    if path != "/api/show":
        router.add_api_route(f"{path}/{{url_idx}}", allow(USE)(call_at), methods=["POST"])


_add_call("/api/show", "What a model is.")
_add_call("/api/embed", "Embeddings of texts.")
_add_call("/api/embeddings", "The embedding of one text.")
_add_call("/v1/embeddings", "Embeddings of texts in OpenAI's form.")


@router.post("/models/download")
@router.post("/models/download/{url_idx}")
@router.post("/models/upload")
@router.post("/models/upload/{url_idx}")
@allow(ADMIN)
async def no_files(state: AppState) -> NoReturn:
    """Models come to a server of Ollama by their names, `hf.co/...` too: this server takes no file for it on its disk."""
    _servers(state)
    raise BadRequest(NO_FILES)


@router.post("/api/unload")
@allow(ADMIN)
async def unload(form: About, state: AppState, caller: Caller) -> bool:
    """Lets go of a model's memory."""
    if (own := _own(state, caller, form.model, None)) is not None:
        await state.llamaforge.unload(own.entry.remote_id)
        return True
    await state.gate.call(caller, target_at(state, caller, form.model, None), "/api/generate", {"keep_alive": 0})
    return True


# Changing what a server holds


class Progress(Response):
    """A server's answer as it comes: it tells its progress line by line, for minutes.

    It is asked for when the response is sent; its refusal is raised then.
    """

    def __init__(self, opening: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> None:
        self._opening = opening
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._opening as response:
            await StreamingResponse(self._lines(response), media_type=response.content_type)(scope, receive, send)

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            while part := await response.content.readany():
                yield part
        except FAILURES as error:
            log.info("an Ollama server cut its answer off", address=response.url.host, error=str(error))
            yield b'{"error":"The connection to the Ollama server was lost."}\n'


def _add_change(path: str, method: str, form_type: type[About | Copy], about: str) -> None:
    """A change that only admins may make, streamed through; without a server's place to the first one."""

    async def change(
        form: Any, state: AppState, caller: Caller
    ) -> "Annotated[Response, Media(replies.connections.CHANGES.get(path, '*/*'))]":
        return Progress(state.gate.change_server(caller, _server(state, None), method, path, form.model_dump()))

    async def change_at(
        form: Any, url_idx: Index, state: AppState, caller: Caller
    ) -> "Annotated[Response, Media(replies.connections.CHANGES.get(path, '*/*'))]":
        return Progress(state.gate.change_server(caller, _server(state, url_idx), method, path, form.model_dump()))

    for function, suffix in ((change, ""), (change_at, "/{url_idx}")):
        function.__annotations__["form"] = form_type
        function.__doc__ = about
        wire_method = "DELETE" if path == "/api/push" else method
        router.add_api_route(path + suffix, allow(ADMIN)(function), methods=[wire_method])


def _add_done(path: str, method: str, form_type: type[About | Copy], about: str) -> None:
    """The same of a change that takes a moment, answered with true when it is done."""

    async def done(state: State, caller: Principal, form: Any, index: int | None) -> bool:
        server = _server(state, index)
        async with state.gate.change_server(caller, server, method, path, form.model_dump()) as response:
            await read_all(response, server.spec.url)
        return True

    async def change(form: Any, state: AppState, caller: Caller) -> bool:
        return await done(state, caller, form, None)

    async def change_at(form: Any, url_idx: Index, state: AppState, caller: Caller) -> bool:
        return await done(state, caller, form, url_idx)

    for function, suffix in ((change, ""), (change_at, "/{url_idx}")):
        function.__annotations__["form"] = form_type
        function.__doc__ = about
        router.add_api_route(path + suffix, allow(ADMIN)(function), methods=[method])


_add_change("/api/pull", "POST", About, "Fetches a model.")
_add_change("/api/create", "POST", About, "Makes a model.")
_add_done("/api/copy", "POST", Copy, "Copies a model.")
_add_done("/api/delete", "DELETE", About, "Removes a model.")
# The wire's own oddity: Ollama takes a POST, clients of this API send a DELETE.
_add_change("/api/push", "POST", About, "Sends a model to Ollama's library.")
