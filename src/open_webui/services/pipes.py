"""Models that are plugins: a pipe's function answers in the place of a provider."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from llamaforge.events import Done, Event, Text
from llamaforge.events.openai import Decoder
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.render import as_chunks, as_completion
from open_webui.errors import BadRequest, OuiError, ProviderError
from open_webui.internal.log import get_logger
from open_webui.models import functions
from open_webui.models.functions import KIND, Function
from open_webui.plugins.host import PluginFailed
from open_webui.principal import Principal
from open_webui.services import plugin_calls
from open_webui.services.plugin_calls import Deps
from open_webui.tools.port import Asked, current

log = get_logger(__name__)
KEY: Final = "pipe:0"
FAILED: Final = "The pipe '{}' failed: {}"
GONE: Final = "This model's pipe is not there any more, or it was switched off."
# Models of one pipe.
_MOST: Final = 1_000


class Pipes:
    """All active pipes as one connection (`connections.base.Connection`). A pipe that names several models is one for each."""

    key = KEY
    kind: Kind = "openai"
    takes_stream_options = False

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        # What pipes offered when they were asked last, by their id and version: one that can't be asked now keeps its models.
        self._known: dict[str, tuple[str, list[ModelEntry]]] = {}

    async def list_models(self) -> list[ModelEntry]:
        """The models of all active pipes. A pipe that fails has those that it had before."""
        async with self._deps.database.read() as connection:
            rows: list[Function] = [
                row for row in await functions.repository.all(connection, functions.t.c.is_active) if row.type == "pipe"
            ]
        offered = [await self._of(row) for row in rows]
        self._known = {row.id: (row.content, entries) for row, entries in zip(rows, offered, strict=True)}
        return [entry for entries in offered for entry in entries]

    async def _of(self, row: Function) -> list[ModelEntry]:
        if "pipes" not in row.content:
            return [_entry(row, row.id, row.name)]
        known = self._known.get(row.id)
        try:
            named = await self._named(row)
        except OuiError as error:
            log.warning("a pipe does not say which models it has", pipe=row.id, reason=error.detail)
            return known[1] if known is not None and known[0] == row.content else []
        if named is None:
            return [_entry(row, row.id, row.name)]
        prefix = (await self._load(row)).attributes.get("name")
        prefix = prefix if isinstance(prefix, str) else ""
        return [
            _entry(row, f"{row.id}.{one['id']}", f"{prefix}{one.get('name') or one['id']}")
            for one in named[:_MOST]
            if isinstance(one, dict) and isinstance(one.get("id"), str) and 0 < len(one["id"]) <= 200
        ]

    async def _load(self, row: Function) -> Any:
        return await self._deps.plugins.load(plugin_calls.source_of(self._deps, KIND, row))

    async def _named(self, row: Function) -> list[Any] | None:
        """The models that a pipe names; None where it is one itself."""
        loaded = await self._load(row)
        if loaded.pipes is not None:
            return list(loaded.pipes)
        if "pipes" not in loaded.members:
            return None
        source = plugin_calls.source_of(self._deps, KIND, row)
        named = await self._deps.plugins.call(source, "pipes", {}, context={})
        if not isinstance(named, list):
            raise PluginFailed("its function 'pipes' gives no list.")
        return named

    @contextlib.asynccontextmanager
    async def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[Reply]:
        """See `connections.base.Connection`."""
        async with self._deps.database.read() as connection:
            row: Function | None = await functions.repository.get(connection, entry.raw["pipe"])
        if row is None or not row.is_active:
            raise ProviderError(GONE, status=404)
        turn = current.get()
        asked = turn[0] if turn is not None else Asked(principal=await self._principal(user), model_id=entry.id)
        progress = turn[1] if turn is not None else None
        own = await plugin_calls.valves_of(self._deps, KIND, (row.id,), asked.principal.id)
        context = plugin_calls.context_of(
            asked, row.id, progress.metadata if progress is not None else {}, own.get(row.id)
        )
        parts = self._deps.plugins.stream(
            plugin_calls.source_of(self._deps, KIND, row),
            "pipe",
            {"body": payload | {"model": entry.id}},
            context=context | {"body": None},
            answer=plugin_calls.answering(self._deps, asked.principal, progress, asked.call),
        )
        async with contextlib.aclosing(parts):
            yield PipeReply(parts, entry, row.name)

    async def _principal(self, user: dict[str, str] | None) -> Principal:
        """Who asks by the API, with all rights of theirs: the gate has checked the one to the model."""
        told = user or {}
        found = await self._deps.identifier.account(told["id"]) if told.get("id") else None
        return found or Principal(
            id=told.get("id", ""), role="user", name=told.get("name", ""), email=told.get("email", "")
        )

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:  # noqa: ARG002
        """A pipe makes none."""
        raise BadRequest(f"{entry.name} makes no embeddings. Connect a model that does.")


def _entry(row: Function, model_id: str, name: str) -> ModelEntry:
    return ModelEntry(
        id=model_id,
        name=name,
        remote_id=model_id,
        connection=KEY,
        kind="openai",
        created=row.created_at,
        raw={"pipe": row.id, "has_user_valves": row.members.get("has_user_valves") is True},
        answers_tasks=False,
    )


class PipeReply:
    """What a pipe says as a reply: texts, OpenAI's chunks as objects or lines, or a whole completion."""

    def __init__(self, parts: AsyncIterator[Any], entry: ModelEntry, name: str) -> None:
        self._parts = parts
        self._entry = entry
        self._name = name
        self._decoder = Decoder()

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""

    async def events(self) -> AsyncIterator[list[Event]]:
        """See `base.Reply`."""
        is_over = False
        try:
            async for part in self._parts:
                events = [event for one in _pieces(part) for event in self._read(one)]
                is_over = is_over or any(isinstance(event, Done) for event in events)
                yield events
        except PluginFailed as error:
            raise ProviderError(FAILED.format(self._name, error.detail)) from error
        if not is_over:
            yield [Done("stop")]

    def _read(self, piece: Any) -> list[Event]:
        if isinstance(piece, str):
            return [Text(piece)] if piece else []
        if isinstance(piece, dict) and "choices" in piece:
            return self._decoder.read(piece)
        if isinstance(piece, dict) and (error := piece.get("error")):
            said = error.get("message", error) if isinstance(error, dict) else error
            raise ProviderError(FAILED.format(self._name, said))
        return [Text(msgspec.json.encode(piece).decode())]

    def batches(self) -> AsyncIterator[list[bytes]]:
        """See `base.Reply`."""
        return as_chunks(self.events(), self._entry.id)

    async def whole(self) -> bytes:
        """See `base.Reply`."""
        return await as_completion(self.events(), self._entry.id)


def _pieces(part: Any) -> list[Any]:
    """A part as texts and objects: what a pipe takes from a provider comes as lines of its stream."""
    if isinstance(part, dict) and isinstance(response := part.get("$response"), dict):
        part = response.get("body")
    if not isinstance(part, str) or not part.lstrip().startswith("data:"):
        return [part]
    out = []
    for line in part.splitlines():
        told = line.strip().removeprefix("data:").strip()
        if told and told != "[DONE]":
            try:
                out.append(msgspec.json.decode(told))
            except msgspec.DecodeError:
                out.append(told)
    return out
