"""The catalogue: all models there are, from memory at any moment, kept fresh in the background."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.config import Config
from open_webui.connections import pipelines, profiles
from open_webui.connections.base import Connection, ModelEntry, RemoteFilter, Target
from open_webui.connections.known_filters import KnownFilters
from open_webui.connections.listing import Listing
from open_webui.connections.local.connection import LocalConnection
from open_webui.connections.local.eliza import WORD_SECONDS, ElizaConnection
from open_webui.connections.local.models import LocalModels
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.profiles import Defaults, ModelProfile, Snapshot
from open_webui.connections.sharing import SharedLists
from open_webui.connections.source import Source
from open_webui.connections.specs import KEYS, PersonToken, Spec, specs
from open_webui.constants import MODEL_NOT_FOUND
from open_webui.env import Settings
from open_webui.errors import NotFound, OuiError
from open_webui.internal.bus.followed import Followed
from open_webui.internal.bus.port import Bus
from open_webui.internal.cache import RedisCache
from open_webui.internal.db import Database
from open_webui.models import functions, models
from open_webui.models.functions import FunctionRow
from open_webui.models.models import Model
from open_webui.principal import Principal

# The most that a list waits for the first answer of a connection.
FIRST_SECONDS: Final = 0.3
# The most that a list waits which an admin asks to be fresh.
FRESH_SECONDS: Final = 2.0
_DEFAULTS: Final = frozenset(
    {
        "models.default_params", "models.default_metadata", "ui.model_order_list", "evaluation.arena.enable",
        "evaluation.arena.models",
    }
)  # fmt: skip
NOBODY: Final = "None of this arena's models is yours to use, or can be reached."
Remote = OpenAIConnection | OllamaConnection


class Catalogue:
    """What the chat turn and the model routes ask. What is no coroutine answers from memory, without a wait."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        database: Database,
        http: aiohttp.ClientSession,
        local_models: LocalModels,
        *,
        bus: Bus,
        cache: RedisCache | None = None,
        word_seconds: float = WORD_SECONDS,
    ) -> None:
        """cache: that all processes share, if they do. word_seconds: how fast the built-in model speaks when it streams."""
        self._settings = settings
        self._config = config
        self._database = database
        self._http = http
        # Gives what connections send that sign in as who asks.
        self.person_token: PersonToken | None = None
        self._eliza = ElizaConnection(word_seconds)
        self._eliza_entries: list[ModelEntry] = []
        self._local = LocalConnection(http, local_models)
        self._local_source: Source | None = None
        self._pipes: Callable[[], Connection] | None = None
        self._pipe_source: Source | None = None
        self._sources: dict[Spec, Source] = {}
        self._filters = KnownFilters(database)
        self._lists = SharedLists(bus, lambda: self._sources, cache, settings.models_cache_ttl)
        self._closing: set[asyncio.Task[None]] = set()
        self._rows: list[Model] = []
        self._functions: list[FunctionRow] = []
        self._stored_rows = Followed("models", bus, self.reload, every=settings.models_cache_ttl)
        self._snapshot = Snapshot()
        self._listing = Listing(self._snapshot, bypass=settings.bypass_model_access_control)

    # Its life

    async def open(self) -> None:
        """Reads the model rows and begins to ask the connections.

        Waits shortly for their first answers, so that what was possible before a restart is possible right after it.
        """
        self._eliza_entries = await self._eliza.list_models()
        await self._filters.open()
        self._config.on_change(self._on_change)
        self._connect()
        if self._settings.enable_local_models:
            pause = self._settings.local_models_scan_seconds
            timeout = self._settings.aiohttp_client_timeout_model_list
            self._local_source = Source(self._local, pause, timeout, self._rebuild)
        await self._stored_rows.renew()
        self._rebuild()
        if not self._database.is_sqlite:
            self._stored_rows.open()
        await self.wait_for_lists()

    async def close(self) -> None:
        await self._stored_rows.close()
        await self._lists.close()
        await asyncio.gather(*(source.close() for source in self._watched()), *self._closing)
        await self._filters.close()
        self._sources, self._local_source, self._pipe_source = {}, None, None

    async def reload(self) -> None:
        """Takes over the model rows and grants, and the functions that are switched on, as the database holds them now."""
        async with self._database.read() as connection:
            rows = await models.repository.all(connection)
            active = await functions.active(connection)
        if active != self._functions:
            self._functions = active
            self._follow_pipes()
            self._rebuild()
        if rows != self._rows:
            self._rows = rows
            self._rebuild()

    async def changed(self) -> None:
        """To be called when rows, grants or functions were stored: this process and all others take them over."""
        await self._stored_rows.changed()

    def has_pipes(self, pipes: Callable[[], Connection]) -> None:
        """From now on models that are plugins are among the models, while there are any. To be called before it is opened."""
        self._pipes = pipes

    def _follow_pipes(self) -> None:
        """Asks the pipes for their models, from the first one on that there is."""
        if self._pipe_source is not None:
            self._pipe_source.refresh()
        elif self._pipes is not None and any(row.type == "pipe" for row in self.functions):
            timeout = self._settings.plugin_call_seconds
            self._pipe_source = Source(self._pipes(), self._settings.models_cache_ttl, timeout, self._rebuild)

    def _on_change(self, keys: frozenset[str]) -> None:
        if keys & KEYS:
            self._connect()
        if keys & (KEYS | _DEFAULTS):
            self._rebuild()

    def _connect(self) -> None:
        """Makes the sources those of the config; one that stayed as it was is kept with what it knows."""
        wanted = dict.fromkeys(specs(self._config))
        for spec in [s for s in self._sources if s not in wanted]:
            closing = asyncio.get_running_loop().create_task(self._sources.pop(spec).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        timeout = self._settings.aiohttp_client_timeout_model_list
        self._sources = {
            spec: self._sources.get(spec)
            or Source(
                self._connection(spec),
                self._settings.models_cache_ttl,
                timeout,
                self._rebuild,
                place=self._lists.place,
                fetched=self._fetched,
                recall=self._lists.recall,
            )
            for spec in wanted
        }

    def _fetched(self, source: Source) -> None:
        self._lists.fetched(source)
        if self._filters.is_to_be_heard(source):
            self._rebuild()
        self._filters.fetched(source)

    def _connection(self, spec: Spec) -> Remote:
        kind = OllamaConnection if spec.kind == "ollama" else OpenAIConnection
        return kind(self._http, spec, self._settings.aiohttp_client_timeout_model_list, self.person_token)

    def _watched(self) -> list[Source]:
        """All sources. Models of this machine come last: no file takes the name of a connection's model."""
        own = [source for source in (self._pipe_source, self._local_source) if source is not None]
        return [*self._sources.values(), *own]

    def _rebuild(self) -> None:
        offered: list[tuple[Connection, Iterable[ModelEntry]]] = [
            (source.connection, self._filters.entries(source)) for source in self._watched()
        ]
        builtin = self._config["models.builtin"]
        nothing = all(s.tried and not s.entries for s in self._watched())
        if builtin == "always" or (builtin != "never" and nothing):
            offered.append((self._eliza, self._eliza_entries))
        self._snapshot = profiles.build(
            self._snapshot.version + 1,
            [(connection, list(entries)) for connection, entries in offered],
            self._rows,
            Defaults(
                params=self._config["models.default_params"],
                meta=self._config["models.default_metadata"],
                order=[m for m in self._config["ui.model_order_list"] if isinstance(m, str)],
                arenas=self._config["evaluation.arena.models"] if self._config["evaluation.arena.enable"] else None,
            ),
            self._functions,
        )
        self._listing = Listing(self._snapshot, bypass=self._settings.bypass_model_access_control)

    # What is asked of it

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def functions(self) -> Sequence[FunctionRow]:
        """Those that are switched on, in the order in which they are run."""
        return self._functions

    def may_use(self, principal: Principal, profile: ModelProfile) -> bool:
        return profile.readable(principal, bypass=self._settings.bypass_model_access_control)

    def profile(self, principal: Principal, model_id: str) -> ModelProfile:
        """A model that the caller may use. Raises NotFound (status 400), also for one that is somebody else's."""
        found = self._snapshot.find(model_id)
        if found is None or not self.may_use(principal, found):
            raise NotFound(MODEL_NOT_FOUND, status=400)
        return found

    def remote_filters(self, target: Target) -> Sequence[RemoteFilter]:
        """See `base.Models`."""
        found = pipelines.concerning(self._snapshot.filters, target)
        if found and not self._config["pipelines.filters.required"]:
            return [msgspec.structs.replace(one, required=False) for one in found]
        return found

    def resolve(self, principal: Principal, model_id: str) -> Target:
        """See `base.Models`."""
        if (asked := self._snapshot.arenas.get(model_id)) is None or not asked.open_to(principal):
            return self._snapshot.target(self.profile(principal, model_id), principal.id)
        members = self._snapshot.members(asked, principal, bypass=self._settings.bypass_model_access_control)
        if not members:
            raise NotFound(NOBODY, status=400)
        return self._snapshot.target(secrets.choice(members), principal.id, arena_id=asked.id)

    def find(self, model_id: str) -> Target | None:
        """See `base.Models`."""
        found = self._snapshot.find(model_id)
        return None if found is None else self._snapshot.target(found)

    def visible(self, principal: Principal) -> list[ModelProfile]:
        """The models that the caller may use, in the order of the list."""
        return [p for p in self._snapshot.models.values() if self.may_use(principal, p)]

    def remote(self, kind: str, index: int) -> Remote:
        """The connection at a place in the admin's list. Raises NotFound when there is none that is switched on."""
        for spec, source in self._sources.items():
            if spec.kind == kind and spec.index == index:
                connection = source.connection
                assert isinstance(connection, OpenAIConnection | OllamaConnection)
                return connection
        raise NotFound("There is no such connection, or it is switched off.")

    def remotes(self, kind: str) -> list[Remote]:
        """All connections of a kind that are switched on."""
        found = [s.connection for spec, s in self._sources.items() if spec.kind == kind]
        return [c for c in found if isinstance(c, OpenAIConnection | OllamaConnection)]

    def problems(self) -> dict[str, str]:
        """Why connections can't be listed at the moment, by their key."""
        return {s.connection.key: s.error for s in self._watched() if s.error is not None}

    # The list on the wire

    async def listed(self, principal: Principal, *, refresh: bool = False) -> bytes:
        """`/api/models` for one person, encoded.

        From memory; only connections that were never heard of are waited for, shortly. refresh: the connections are
        asked again first (admins only; one that is known to be dead is not waited for).
        """
        await self.wait_for_lists(refresh=refresh and principal.is_admin)
        return self._listing.encoded(principal)

    async def wait_until_listed(self, model_id: str) -> None:
        """See `base.Models`."""
        if self._snapshot.find(model_id) is None and not all(source.tried for source in self._watched()):
            await self.wait_for_lists(limit=FRESH_SECONDS)

    async def wait_for_lists(self, *, refresh: bool = False, limit: float = FIRST_SECONDS) -> None:
        """Waits for connections that were never heard of; with refresh, asks all again and waits for those alive."""
        waits = [source.settled for source in self._watched() if not source.tried]
        if refresh:
            limit = FRESH_SECONDS
            fresh = [(source.breaker.state, source.refresh()) for source in self._watched()]
            waits += [event for state, event in fresh if state == "closed"]
        if not waits:
            return
        tasks = [asyncio.ensure_future(event.wait()) for event in waits]
        _done, late = await asyncio.wait(tasks, timeout=limit)
        for task in late:
            task.cancel()

    def look_again(self) -> None:
        """Has providers' lists fetched anew soon: one of them was changed."""
        for source in self._sources.values():
            source.refresh()

    async def relist_local(self) -> None:
        """Takes over the models of this machine as they are now; to be called after they changed."""
        if self._local_source is not None:
            await self._local_source.refresh().wait()

    def base_models(self) -> list[dict[str, Any]]:
        """What the connections list, for admins, hidden models included."""
        rows = self._snapshot.rows
        out = []
        for entry in self._snapshot.entries.values():
            shown = profiles.base_wire(entry)
            row = rows.get(entry.id)
            if row is not None and row.base_model_id is None:
                shown["name"] = row.name
                shown["info"] = profiles.row_wire(row, params=True)
            out.append(shown)
        return out

    def named(self, principal: Principal, kind: str, index: int, model: str) -> tuple[Remote, ModelEntry | None]:
        """A connection by its place, for a request about one of its models, under either of that model's names.

        Raises NotFound (status 400) when the caller may not use it there; admins may name models not listed yet.
        """
        connection = self.remote(kind, index)
        for profile in self._snapshot.models.values():
            entry = profile.entry
            if profile.is_custom or entry.connection != connection.key or not self.may_use(principal, profile):
                continue
            if model in {entry.id, entry.remote_id, entry.remote_id.removesuffix(":latest")}:
                return connection, entry
        if not principal.is_admin:
            raise NotFound(MODEL_NOT_FOUND, status=400)
        return connection, None


def unavailable(kind: str) -> OuiError:
    """What a call gets whose kind of connection is switched off."""
    return OuiError(f"The {kind} API is switched off on this server. An administrator can switch it on.", status=503)
