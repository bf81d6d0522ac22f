"""Which filters pipelines servers have, remembered: a server that is away, and a restart of ours, let nobody past them.

What a server lists counts as soon as it answers with something. Until then, and while it can't be asked, those that it had last
count. They are rows of the table `config`, one for each server, which no setting is read from.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from open_webui.connections import pipelines
from open_webui.connections.base import ModelEntry
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.source import Source
from open_webui.errors import OuiError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import configs

log = get_logger(__name__)
# A list with nothing in it is believed when the server has given no other for so many seconds: while it starts, it has none.
EMPTY_SECONDS: Final = 300.0
KEY: Final = "pipelines.known_filters."
# Of one server; of one filter, the names of models. Who names more means all of them.
MOST_FILTERS: Final = 200
MOST_NAMES: Final = 1_000
_LONGEST: Final = 500
_ALL: Final = ["*"]


class KnownFilters:
    """The filters of all servers, by address. To be opened before connections are asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, list[dict[str, Any]]] = {}
        # Since when servers that had filters list nothing.
        self._empty_since: dict[str, float] = {}
        self._storing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Reads what is stored."""
        async with self._database.read() as connection:
            rows = await configs.beginning_with(connection, KEY)
        self._known = {key: value for key, value in rows.items() if _is_list(value)}

    async def close(self) -> None:
        """Waits for what is being stored."""
        await asyncio.gather(*self._storing, return_exceptions=True)

    def entries(self, source: Source) -> Sequence[ModelEntry]:
        """What a source offers, and the filters that it had last where it can't be asked now."""
        server = source.connection
        if not isinstance(server, OpenAIConnection) or server.spec.model_ids:
            # Models that are named are not asked for: that is no answer that there are no filters.
            return source.entries
        key = _key(server)
        if source.tried and source.error is None and not self._says_nothing(key, source.entries):
            self._take(key, source.entries)
            return source.entries
        known = [server.entry(raw) for raw in self._known.get(key, ())]
        there = {entry.remote_id for entry in source.entries}
        return [*source.entries, *(entry for entry in known if entry.remote_id not in there)]

    def _says_nothing(self, key: str, entries: Sequence[ModelEntry]) -> bool:
        """Whether a server that had filters lists nothing at all since a short while: it may just be starting."""
        if entries or not self._known.get(key):
            self._empty_since.pop(key, None)
            return False
        now = time.monotonic()
        return now - self._empty_since.setdefault(key, now) < EMPTY_SECONDS

    def _take(self, key: str, entries: Iterable[ModelEntry]) -> None:
        found = told(entries)
        if found or key in self._known:
            self._known[key] = found

    def is_to_be_heard(self, source: Source) -> bool:
        """Whether a list that is as empty as before counts from now on, so that what is made of it has to be made anew."""
        server = source.connection
        if source.entries or not isinstance(server, OpenAIConnection) or (key := _key(server)) not in self._empty_since:
            return False
        return not self._says_nothing(key, source.entries)

    def fetched(self, source: Source) -> None:
        """A server has answered with its list: its filters are stored, where they are others than before."""
        server = source.connection
        if isinstance(server, OpenAIConnection) and not server.spec.model_ids and (key := _key(server)) in self._known:
            task = asyncio.create_task(self._store(key, self._known[key]), name="filters of a pipelines server")
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)

    async def _store(self, key: str, found: list[dict[str, Any]]) -> None:
        """Another process may have stored others meanwhile, so that the row is looked at each time."""
        try:
            async with self._database.read() as connection:
                rows = await configs.beginning_with(connection, key)
            if rows.get(key, []) != found:
                async with self._database.write() as unit:
                    await configs.put(unit.connection, {key: found})
        except (OuiError, SQLAlchemyError, OSError) as error:
            # The next list, a minute later, tries again.
            log.warning("the filters of a pipelines server could not be remembered", why=str(error)[:500])


def told(entries: Iterable[ModelEntry]) -> list[dict[str, Any]]:
    """The filters among what a server lists, as far as is needed to ask them."""
    out: list[dict[str, Any]] = []
    for entry in entries:
        if pipelines.is_filter(entry) and len(entry.remote_id) <= _LONGEST and len(out) < MOST_FILTERS:
            said = entry.raw["pipeline"]
            names = [name for name in _list(said.get("pipelines")) if isinstance(name, str)]
            fits = len(names) <= MOST_NAMES and all(len(name) <= _LONGEST for name in names)
            kept: dict[str, Any] = {"type": "filter", "pipelines": names if fits else _ALL}
            if isinstance(priority := said.get("priority"), int | float):
                kept["priority"] = priority
            out.append({"id": entry.remote_id, "name": entry.name[:_LONGEST], "pipeline": kept})
    return out


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in value)


def _key(server: OpenAIConnection) -> str:
    """The same for a server at every place of the list and with every key. Its address may hold a secret."""
    return KEY + hashlib.blake2b(msgspec.json.encode(server.spec.url), digest_size=16).hexdigest()
