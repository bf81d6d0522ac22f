"""The models of this machine as a connection: each request leases a place at its engine, which speaks OpenAI's wire."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from llamaforge import ParameterError
from llamaforge.wire import refuse_addresses
from open_webui.connections.base import Entry, Kind, Reply, Tell
from open_webui.connections.chunks import message_of
from open_webui.connections.local.library import Found
from open_webui.connections.local.models import LocalModels, Offer
from open_webui.connections.openai import OpenAIReply
from open_webui.connections.transport import read_all, request
from open_webui.errors import BadRequest, ProviderError

if TYPE_CHECKING:
    from llamaforge.pool import Lease

KEY: Final = "local:1"
# Fields of other wires, which mean nothing to an engine.
_FOREIGN: Final = frozenset(
    (
        "keep_alive options format think num_ctx num_batch num_thread num_gpu num_keep num_gqa main_gpu low_vram numa"
        " use_mmap use_mlock vocab_only penalize_newline f16_kv logits_all tfs_z truncate shift"
    ).split()
)


class LocalConnection:
    """The models that lie on this machine."""

    key = KEY
    kind: Kind = "local"

    def __init__(self, http: aiohttp.ClientSession, models: LocalModels) -> None:
        self._http = http
        self._models = models

    async def list_models(self) -> list[Entry]:
        await self._models.look()
        return [_entry(offer) for offer in self._models.offers.values() if offer.is_usable]

    async def open(
        self, entry: Entry, payload: dict[str, Any], user: dict[str, str] | None = None, tell: Tell | None = None
    ) -> Reply:
        messages = payload.get("messages")
        if not isinstance(messages, list):
            raise BadRequest("'messages' should be a list.")
        _check_media(messages)
        name = entry.remote_id
        sent = self._models.with_defaults(name, engine_payload(payload))
        place, response, url = await self._ask(name, "/v1/chat/completions", sent, user, tell)
        return LocalReply(OpenAIReply(response, url), place)

    async def embed(self, entry: Entry, payload: dict[str, Any]) -> bytes:
        name = entry.remote_id
        place, response, url = await self._ask(name, "/v1/embeddings", payload, None, None)
        async with place, response:
            try:
                return await read_all(response, url)
            except ProviderError as error:
                raise await place.explained(error) from error

    async def _ask(
        self, name: str, path: str, payload: dict[str, Any], user: dict[str, str] | None, tell: Tell | None
    ) -> "tuple[Place, aiohttp.ClientResponse, str]":
        """A place at the engine, its open response, and the response's address. Raises ProviderError, Unavailable."""
        # Where an engine died since it was last used, a new one is started for this request.
        for is_last in (False, True):
            async with AsyncExitStack() as stack:
                place = await stack.enter_async_context(await self._place(name, user, tell))
                lease, url = place.lease, place.lease.url + path
                headers = {"authorization": f"Bearer {lease.key}"}
                sent = {**payload, "model": lease.model}
                try:
                    response = await request(self._http, "POST", url, headers=headers, payload=sent)
                except ProviderError as error:
                    why = await place.explained(error)
                    if is_last or why.body is not None or not lease.failed.is_set():
                        raise why from error
                    continue
                # From here on the place is its reply's to give back.
                stack.pop_all()
                return place, response, url
        raise AssertionError("unreachable: the last try returns or raises")

    async def _place(self, name: str, user: dict[str, str] | None, tell: Tell | None) -> "Place":
        say = tell or (lambda _text: None)
        held = self._models.leased(
            name,
            (user or {}).get("id", ""),
            lambda position: say(_queued(name, position)),
            lambda _part: say(f"Loading {name}…"),
        )
        try:
            return Place(name, held, await held.__aenter__())
        finally:
            say(None)


def _check_media(messages: list[Any]) -> None:
    """Raises BadRequest for a picture's address, which the engine would fetch from inside this network."""
    for message in messages:
        try:
            refuse_addresses(message.get("content") if isinstance(message, dict) else None)
        except ParameterError as error:
            raise BadRequest(str(error)) from None


def _queued(name: str, position: int) -> str:
    return f"Waiting for {name}: " + ("you are next." if position == 1 else f"{position - 1} before you.")


class Place:
    """A slot of an engine that is held for one request."""

    def __init__(self, name: str, held: "AbstractAsyncContextManager[Lease]", lease: "Lease") -> None:
        self.name = name
        self.lease = lease
        self._held: AbstractAsyncContextManager[Lease] | None = held
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Gives it back, once however often it is called."""
        held, self._held = self._held, None
        if held is not None:
            await held.__aexit__(None, None, None)

    def __del__(self) -> None:
        # A client that goes away in the wrong moment leaves a reply that nobody enters; its slot must come free.
        held, self._held = self._held, None
        if held is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_give_back, self._loop, held)

    async def explained(self, error: ProviderError) -> ProviderError:
        """An engine's error in words about the model: who asks knows nothing of processes and ports."""
        if error.body is not None:
            said = message_of(error.body) or "it gave no reason"
            detail = f"The model {self.name} refused: {said}"
            return ProviderError(detail, status=error.status, body=error.body, retryable=error.retryable)
        why = await self.lease.failure()
        if why is not None:
            kept = "What had arrived is kept; ask again, and it is started anew."
            return ProviderError(f"{why} {kept}", retryable=True)
        return ProviderError(f"The model {self.name} broke off: {error.detail}", status=error.status, retryable=True)


_given_back: Final[set["asyncio.Task[bool | None]"]] = set()


def _give_back(loop: asyncio.AbstractEventLoop, held: "AbstractAsyncContextManager[Lease]") -> None:
    async def leave() -> bool | None:
        return await held.__aexit__(None, None, None)

    task = loop.create_task(leave())
    _given_back.add(task)
    task.add_done_callback(_given_back.discard)


class LocalReply:
    """An engine's answer. The place is given back when it is left."""

    def __init__(self, reply: OpenAIReply, place: Place) -> None:
        self._reply = reply
        self._place = place

    async def __aenter__(self) -> Self:
        await self._reply.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._reply.__aexit__(*error)
        finally:
            await self._place.leave()

    async def batches(self) -> AsyncIterator[list[bytes]]:
        try:
            async for batch in self._reply.batches():
                yield batch
        except ProviderError as error:
            raise await self._place.explained(error) from error

    async def whole(self) -> bytes:
        try:
            return await self._reply.whole()
        except ProviderError as error:
            raise await self._place.explained(error) from error


def engine_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """A request as engines take it: what Ollama's wire and the page's parameters say in their words, in OpenAI's."""
    sent = {name: value for name, value in payload.items() if name not in _FOREIGN}
    form = payload.get("format")
    if form == "json":
        sent.setdefault("response_format", {"type": "json_object"})
    elif isinstance(form, dict):
        schema = {"name": "answer", "schema": form}
        sent.setdefault("response_format", {"type": "json_schema", "json_schema": schema})
    if isinstance(payload.get("think"), bool):
        given = sent.get("chat_template_kwargs")
        thinks = {"enable_thinking": payload["think"]}
        sent["chat_template_kwargs"] = thinks | (given if isinstance(given, dict) else {})
    return sent


def _entry(offer: Offer) -> Entry:
    found = offer.found
    assert found is not None, "only what lies there is offered"
    return Entry(
        id=offer.name,
        name=offer.name,
        remote_id=offer.name,
        connection=KEY,
        kind="local",
        created=found.changed,
        connection_type="local",
        raw=ollama_wire(offer, found),
        description=_description(found),
        answers_tasks=not found.embeds,
    )


def ollama_wire(offer: Offer, found: Found) -> dict[str, Any]:
    """A model as Ollama lists one: what its clients, and pages, know where to find."""
    family = found.architecture or ""
    shown: dict[str, Any] = {
        "name": offer.name,
        "model": offer.name,
        "modified_at": datetime.fromtimestamp(found.changed, UTC).isoformat().replace("+00:00", "Z"),
        "size": found.size,
        # Clients show its beginning; it tells one state of the file from another.
        "digest": hashlib.sha256(f"{offer.name}\0{found.size}\0{found.changed}".encode()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf" if offer.backend == "llama.cpp" else "safetensors",
            "family": family,
            "families": [family] if family else [],
            "parameter_size": _count(found.parameters),
            "quantization_level": found.quantization or "",
        },
    }
    if found.context is not None:
        shown["context_length"] = found.context
    return shown


def _count(parameters: int | None) -> str:
    """7241732096 as "7.2B", as Ollama writes it."""
    if not parameters:
        return ""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)


def _description(found: Found) -> str:
    facts = [found.architecture, found.quantization, f"{found.size / 2**20:,.0f} MB"]
    if found.context is not None:
        facts.append(f"{found.context:,} tokens of context")
    return "Runs on this server: " + ", ".join(fact for fact in facts if fact) + "."
