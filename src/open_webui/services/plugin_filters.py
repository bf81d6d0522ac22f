"""Filters: what changes a question before the model reads it, its words as they come, and the answer before it is stored."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final

import msgspec

from llamaforge.events import Event
from llamaforge.events.openai import Decoder
from open_webui.connections.render import Chunks
from open_webui.errors import BadRequest, OuiError
from open_webui.internal.log import get_logger
from open_webui.models import functions
from open_webui.models.functions import KIND, FunctionRow
from open_webui.plugins.host import PluginFailed, PluginSource
from open_webui.services import plugin_calls
from open_webui.services.plugin_calls import Deps
from open_webui.tools.port import Asked, Progress

log = get_logger(__name__)
INLET: Final = "inlet"
STREAM: Final = "stream"
OUTLET: Final = "outlet"
FAILED: Final = "The filter '{}' failed: {}"
NOBODY: Final = "There is no page that could be asked."
_NO_BODY: Final = "it did not give back the request with its messages."


class Filter(msgspec.Struct, frozen=True):
    """One filter of an answer. own: what the person who asks set of it."""

    name: str
    source: PluginSource
    hooks: frozenset[str]
    own: dict[str, Any]


def wanted(rows: Sequence[FunctionRow], meta: Any, chosen: Collection[str]) -> list[FunctionRow]:
    """Those of the active functions that filter the answers of a model, in the order in which they are run.

    meta: the model's. chosen: ids of those that the page switched on; some are run only then.
    """
    of_model = meta.get("filterIds") if isinstance(meta, dict) else None
    of_model = of_model if isinstance(of_model, list) else []
    return [
        row
        for row in rows
        if row.type == "filter"
        and (row.is_global or row.id in of_model)
        and (row.id in chosen or not row.members.get("toggle"))
    ]


class Filtering:
    """The filters of one answer. asked: what it is; progress: the answer as plugins may change it."""

    def __init__(self, deps: Deps, filters: Sequence[Filter], asked: Asked, progress: Progress) -> None:
        self._deps = deps
        self._filters = filters
        self._asked = asked
        self._progress = progress
        self._contexts = {
            one.source.id: plugin_calls.context_of(asked, one.source.id, progress.metadata, one.own) for one in filters
        }
        self._answer = plugin_calls.answering(deps, asked.principal, progress, asked.call)

    def have(self, hook: str) -> bool:
        """Whether one of them has a hook: `inlet`, `stream` or `outlet`."""
        return any(hook in one.hooks for one in self._filters)

    async def through(self, hook: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request or an answer after all that have this hook. Raises PluginFailed, Unavailable."""
        for one in self._filters:
            if hook in one.hooks:
                body = await self._through(one, hook, body)
        return body

    async def _through(self, one: Filter, hook: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            changed = await self._deps.plugins.call(
                one.source, hook, {"body": body}, context=self._contexts[one.source.id], answer=self._answer
            )
        except PluginFailed as error:
            raise PluginFailed(FAILED.format(one.name, error.detail), error.kind, error.trace) from error
        if not isinstance(changed, dict) or not _has_messages(changed):
            raise PluginFailed(FAILED.format(one.name, _NO_BODY))
        return changed

    async def stream(self, batches: AsyncIterator[list[Event]], model: str) -> AsyncIterator[list[Event]]:
        """A model's events after all that change them as they come, as OpenAI's chunks. Raises PluginFailed, Unavailable."""
        chunks, decoder = Chunks(model), Decoder()
        async for events in batches:
            rendered = [msgspec.json.decode(chunk) for chunk in chunks.render(events)]
            if not rendered:
                yield events
                continue
            for one in self._filters:
                if STREAM in one.hooks:
                    rendered = await self._batch(one, rendered)
            yield [event for chunk in rendered for event in decoder.read(chunk)]

    async def chunks(self, batches: AsyncIterator[list[bytes]]) -> AsyncIterator[list[bytes]]:
        """The same of chunks in JSON, as API clients get them."""
        async for batch in batches:
            changed = [msgspec.json.decode(chunk) for chunk in batch]
            for one in self._filters:
                if STREAM in one.hooks:
                    changed = await self._batch(one, changed)
            yield [msgspec.json.encode(chunk) for chunk in changed]

    async def _batch(self, one: Filter, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            changed = await self._deps.plugins.batch(
                one.source,
                STREAM,
                [{"event": chunk} for chunk in chunks],
                context=self._contexts[one.source.id],
                answer=self._answer,
            )
        except PluginFailed as error:
            raise PluginFailed(FAILED.format(one.name, error.detail), error.kind, error.trace) from error
        # One that answers nothing drops the chunk.
        return [chunk for chunk in changed if isinstance(chunk, dict)]

    async def outlet(self, body: dict[str, Any]) -> dict[str, Any]:
        """An answer after all filters. One that fails changes nothing, which the person is told; what others made of it stays."""
        for one in self._filters:
            if OUTLET not in one.hooks:
                continue
            try:
                body = await self._through(one, OUTLET, body)
            except OuiError as error:
                log.info("a filter failed after an answer", reason=error.detail)
                await self._progress.add_status({"description": error.detail, "done": True, "error": True})
        return body


def _has_messages(body: dict[str, Any]) -> bool:
    messages = body.get("messages")
    return isinstance(messages, list) and all(isinstance(message, dict) for message in messages)


class Unheard:
    """`tools.port.Progress` of an answer that has no page: nobody is told, and nobody can be asked."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def add_status(self, status: dict[str, Any]) -> None:
        """Nobody looks."""

    async def add_source(self, source: dict[str, Any]) -> list[int]:  # noqa: ARG002 - see tools.port.Progress
        """Nobody looks."""
        return []

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Nobody looks."""

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:  # noqa: ARG002 - see tools.port.Progress
        """Nobody answers."""
        raise BadRequest(NOBODY)


class Filters:
    """Makes the filters of answers ready."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def of(self, rows: Sequence[FunctionRow], asked: Asked, progress: Progress) -> Filtering:
        """These filters, for one answer."""
        deps = self._deps
        async with deps.database.read() as connection:
            whole = [await functions.repository.get(connection, row.id) for row in rows]
        there = [row for row in whole if row is not None]
        with_own = tuple(row.id for row in there if row.members.get("has_user_valves"))
        own = await plugin_calls.valves_of(deps, KIND, with_own, asked.principal.id) if with_own else {}
        filters = [
            Filter(
                row.name,
                plugin_calls.source_of(deps, KIND, row),
                frozenset(row.members.get("methods") or ()),
                own.get(row.id, {}),
            )
            for row in there
        ]
        return Filtering(deps, filters, asked, progress)
