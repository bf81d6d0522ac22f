"""The models of this machine as a connection: each request leases a place at its engine, which speaks OpenAI's wire."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import msgspec

from llamaforge.events import Event, Notice
from llamaforge.events.openai import message_of
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.local.library import FoundModel
from open_webui.connections.local.models import LocalModels, Offer
from open_webui.connections.openai import OpenAIReply
from open_webui.connections.render import Chunks
from open_webui.connections.transport import encode_payload, read_all, refusal
from open_webui.errors import ProviderError

if TYPE_CHECKING:
    from llamaforge.pool import Lease

T = TypeVar("T")
KEY: Final = "local:1"
NO_TOOLS: Final = "{} was not told of the tools: its chat template knows none."
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
    takes_stream_options = True

    def __init__(self, http: aiohttp.ClientSession, models: LocalModels) -> None:
        self._http = http
        self._models = models

    async def list_models(self) -> list[ModelEntry]:
        await self._models.scan()
        return [_entry(offer) for offer in self._models.offers.values() if offer.is_usable]

    @contextlib.asynccontextmanager
    async def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,
        *,
        patient: bool = False,
    ) -> AsyncIterator[Reply]:
        name = entry.remote_id
        path, sent = self._models.request_for(name, engine_payload(payload), "chat")
        async with (
            self._asked(name, path, sent, user, tell, patient=patient) as (engine, response, url),
            OpenAIReply(response, url) as reply,
        ):
            notice = NO_TOOLS.format(name) if self._models.passes_tools_over(name, payload) else None
            yield LocalReply(reply, engine, notice)

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:
        path, sent = self._models.request_for(entry.remote_id, payload, "embeddings")
        async with self._asked(entry.remote_id, path, sent, user, None) as (engine, response, url):
            try:
                return await read_all(response, url)
            except ProviderError as error:
                raise await engine.explained(error) from error

    async def load(self, entry: ModelEntry, user: dict[str, str]) -> None:
        """Has a model in memory. Raises Unavailable, ProviderError."""
        await self._models.ready(entry.remote_id, user["id"])

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        name: str,
        path: str,
        payload: dict[str, Any],
        user: dict[str, str] | None,
        tell: Tell | None,
        *,
        patient: bool = False,
    ) -> "AsyncIterator[tuple[Engine, aiohttp.ClientResponse, str]]":
        """The engine at which a place is held, its open response, and the response's address.

        Raises ProviderError, Unavailable.
        """
        shown = False

        def say(text: str | None) -> None:
            nonlocal shown
            if tell is not None and (text is not None or shown):
                tell(text)
            shown = text is not None

        opened = self._models.opened(
            self._http,
            name,
            (path, encode_payload({**payload, "model": name})),
            user=(user or {}).get("id", ""),
            on_wait=lambda position: say(_queued(name, position)),
            on_progress=lambda _part: say(f"Loading {name}…"),
            on_lease=lambda: say(None),
            patient=patient,
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                lease, response = await stack.enter_async_context(opened)
            finally:
                say(None)
            engine, url = Engine(name, lease), lease.url + path
            if response.status >= 300:
                raise await engine.explained(await refusal(response, url))
            yield engine, response, url


def _queued(name: str, position: int) -> str:
    return f"Waiting for {name}: " + ("you are next." if position == 1 else f"{position - 1} before you.")


class Engine:
    """An engine as one request knows it."""

    def __init__(self, name: str, lease: "Lease") -> None:
        self.name = name
        self.lease = lease

    async def explained(self, error: ProviderError) -> ProviderError:
        """An engine's error in words about the model: who asks knows nothing of processes and ports."""
        if error.body is not None:
            said = message_of(error.body) or "it gave no reason"
            detail = f"The model {self.name} refused: {said}"
            return ProviderError(
                detail, status=error.status, body=error.body, retryable=error.retryable, untouched=error.untouched
            )
        why = await self.lease.failure()
        if why is not None:
            kept = "What had arrived is kept; ask again, and it is started anew."
            return ProviderError(f"{why} {kept}", retryable=True)
        return ProviderError(f"The model {self.name} broke off: {error.detail}", status=error.status, retryable=True)


class LocalReply:
    """An engine's answer, its errors in words about the model. notice: what is told at its end."""

    def __init__(self, reply: OpenAIReply, engine: Engine, notice: str | None = None) -> None:
        self._reply = reply
        self._notice = notice
        self._engine = engine

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""
        self._reply.pace(wait)

    def batches(self) -> AsyncIterator[list[bytes]]:
        last = [] if self._notice is None else Chunks(self._engine.name).render([Notice(self._notice)])
        return self._explained(self._reply.batches(), last)

    def events(self) -> AsyncIterator[list[Event]]:
        last: list[Event] = [] if self._notice is None else [Notice(self._notice)]
        return self._explained(self._reply.events(), last)

    async def _explained(self, answer: AsyncIterator[list[T]], last: list[T]) -> AsyncIterator[list[T]]:
        try:
            async for batch in answer:
                yield batch
            if last:
                yield last
        except ProviderError as error:
            raise await self._engine.explained(error) from error

    async def whole(self) -> bytes:
        try:
            body = await self._reply.whole()
        except ProviderError as error:
            raise await self._engine.explained(error) from error
        if self._notice is None:
            return body
        return msgspec.json.encode(msgspec.json.decode(body) | {"warning": self._notice})


def engine_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """A request with what Ollama's wire and the page's parameters say in their words in OpenAI's."""
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


def _entry(offer: Offer) -> ModelEntry:
    found = offer.found
    assert found is not None, "only what lies there is offered"
    return ModelEntry(
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


def ollama_wire(offer: Offer, found: FoundModel) -> dict[str, Any]:
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


def _description(found: FoundModel) -> str:
    facts = [found.architecture, found.quantization, f"{found.size / 2**20:,.0f} MB"]
    if found.context is not None:
        facts.append(f"{found.context:,} tokens of context")
    return "Runs on this server: " + ", ".join(fact for fact in facts if fact) + "."
