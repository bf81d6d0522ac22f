"""What the lifespan opens and the server works with while it runs: one object, handed to every route and event."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import aiohttp

from open_webui.access.api_keys import Sealer
from open_webui.access.identify import Identifier
from open_webui.access.passwords import Passwords
from open_webui.access.tokens import Tokens, fingerprint, secret_key
from open_webui.access.uses import Uses
from open_webui.chat import channel_jobs
from open_webui.chat.background import Background
from open_webui.chat.delivery.streams import Streams
from open_webui.chat.registry import RunningAnswers
from open_webui.chat.scheduled import Scheduled
from open_webui.chat.service import ChatParts
from open_webui.chat.starter import Starter
from open_webui.config import Config, refusal
from open_webui.connections.base import Connection
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.gate import Gate
from open_webui.connections.local.eliza import WORD_SECONDS
from open_webui.connections.local.models import LocalModels
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.events import Caller, Emitter, Messenger
from open_webui.internal.bus.followed import LOOK_SECONDS, Followed
from open_webui.internal.bus.opening import open_bus
from open_webui.internal.bus.port import Bus
from open_webui.internal.cache import open_cache
from open_webui.internal.db import Database, open_database
from open_webui.internal.http import open_http
from open_webui.internal.load import Load
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Kind
from open_webui.jobs.queue import Queue
from open_webui.jobs.runner import Runner
from open_webui.models import configs
from open_webui.plugins.sources import Sources
from open_webui.principal import Principal
from open_webui.retrieval.parsing.readers import Readers
from open_webui.services import accounts, intake
from open_webui.services.attempts import SharedSignInAttempts, SignInAttempts
from open_webui.services.audit.record import Audit, opened
from open_webui.services.audit.retention import retention
from open_webui.services.chats import serve_changes
from open_webui.services.event_names import Happened
from open_webui.services.event_webhooks import EventWebhooks
from open_webui.services.file_keeper import keeping_files
from open_webui.services.images.making import Pictures
from open_webui.services.indexing import Indexing, LazyEngines
from open_webui.services.ingestion import Ingestion
from open_webui.services.llamaforge import Llamaforge
from open_webui.services.mcp_endpoint.calls import RunningCalls
from open_webui.services.note_documents import NoteJobs
from open_webui.services.notifications import Notifier
from open_webui.services.processes import Lease, check_secret
from open_webui.services.reindexing import Reindexing
from open_webui.services.reminders import Reminders
from open_webui.services.schedule import Schedule
from open_webui.services.staging import leftovers, remove_leftovers
from open_webui.storage import open_store
from open_webui.storage.base import BlobStore

if TYPE_CHECKING:
    from open_webui.plugins.host import PluginHost
    from open_webui.services.audio import Audio
    from open_webui.services.code.running import Code
    from open_webui.services.leaderboard import Leaderboard
    from open_webui.services.library import Library
    from open_webui.services.oauth.sign_in import ProviderSignIn
    from open_webui.services.plugin_events import EventFunctions
    from open_webui.services.plugin_filters import Filters
    from open_webui.services.retrieval import Retrieval
    from open_webui.services.terminals.servers import Terminals
    from open_webui.services.tool_servers import ToolServers
    from open_webui.services.toolbox import Toolbox

log = get_logger(__name__)
FIXED = "The environment fixes {}. Nothing was saved. Change the variable, or its line in .env, and restart the server."


class State:
    """Everything opened at start. Attributes are set once by `open_state`."""

    settings: Settings
    config: Config
    database: Database
    # Says to the other processes that share the database that this one lives.
    lease: Lease
    # News to and from the other processes that share the database. Opened by who has this state, once everybody has said
    # what they want to hear.
    bus: Bus
    # Work in the background, once over all processes; texts of notes are made of their documents so, and pictures.
    jobs: Queue
    note_jobs: NoteJobs
    pictures: Pictures
    blobs: BlobStore
    # The text of files, vectors for documents, and documents made anew.
    ingestion: Ingestion
    indexing: Indexing
    reindexing: Reindexing
    # Automations at their time, and reminders of events.
    schedule: Schedule
    reminders: Reminders
    # The processes that read files and plugins; none runs before it is needed.
    readers: Readers
    sources: Sources
    http: aiohttp.ClientSession
    passwords: Passwords
    tokens: Tokens
    identifier: Identifier
    uses: Uses
    audit: Audit
    sealer: Sealer
    attempts: SignInAttempts
    started_at: float
    # Set by the lifespan before anything is opened: the socket layer is above this one. As caller it asks a browser session.
    emitter: Emitter
    caller: Caller
    # How busy the process is: asked by whatever may be done less often.
    load: Load
    local_models: LocalModels
    llamaforge: Llamaforge
    catalogue: Catalogue
    # The chat's parts: what is being answered, who starts answers, the gate to providers, API clients' open streams.
    running: RunningAnswers
    starter: Starter
    gate: Gate
    streams: Streams
    # Sub-agents that go on after their answer.
    background: Background
    # Who wants to be told what happens: people of what is theirs, and addresses of administrators.
    notifier: Notifier
    event_webhooks: EventWebhooks
    # Calls of tools that MCP clients wait for.
    mcp_calls: RunningCalls
    # Of a chat that is being answered: what the answers are by now, by message id. Which chats are. And has rows hold that.
    overlays: Callable[[str], Awaitable[dict[str, dict[str, Any]]]]
    active_chats: Callable[[], frozenset[str]]
    store_running: Callable[[str], Awaitable[None]]

    @cached_property
    def library(self) -> "Library":
        """The documents of the server: made when somebody asks for one."""
        from open_webui.services.library import Library  # noqa: PLC0415 - not needed to start

        return Library(self)

    @cached_property
    def filters(self) -> "Filters":
        """The filters of answers: made when an answer has some."""
        from open_webui.services.plugin_filters import Filters  # noqa: PLC0415 - not needed to start

        return Filters(self)

    _toolbox: "Toolbox | None" = None

    @property
    def toolbox(self) -> "Toolbox":
        """The tools that models may call: made when somebody asks for one."""
        if self._toolbox is None:
            # Not needed to start.
            from open_webui.services.builtin.source import BuiltIns  # noqa: PLC0415
            from open_webui.services.direct_tools import DirectTools  # noqa: PLC0415
            from open_webui.services.plugin_tools import PluginTools  # noqa: PLC0415
            from open_webui.services.toolbox import Toolbox  # noqa: PLC0415

            direct = DirectTools(self.config, self.caller)
            sources = (PluginTools(self), self.tool_servers, self.terminals, direct)
            self._toolbox = Toolbox(sources, BuiltIns(self), self.terminals.about)
        return self._toolbox

    @property
    def tells_events(self) -> bool:
        """Whether there is a function that is told what happens."""
        settings = self.settings
        may = settings.enable_plugins and settings.enable_functions and not settings.safe_mode
        return may and any(row.type == "event" for row in self.catalogue.functions)

    @property
    def hears_events(self) -> bool:
        """Whether anybody is told what requests do."""
        return self.tells_events or self.event_webhooks.is_wanted

    def note(self, happened: Happened, actor: Principal | None = None) -> None:
        """Has event functions, webhooks and people told of something, soon."""
        if self.tells_events:
            self.event_functions.note(happened, actor)
        self.event_webhooks.note(happened, actor)
        self.notifier.note(happened, actor)

    def open_events(self, stack: AsyncExitStack) -> None:
        """Tells them that the server has started, and when it stops."""
        stack.push_async_callback(self.close_events)
        self.note(Happened("system.startup.completed", {"type": "system", "id": None}))

    async def close_events(self) -> None:
        """Tells them that the server stops."""
        self.note(Happened("system.shutdown.started", {"type": "system", "id": None}))
        if self._event_functions is not None:
            await self._event_functions.close()
        await self.event_webhooks.close()
        await self.notifier.close()

    _event_functions: "EventFunctions | None" = None

    @property
    def event_functions(self) -> "EventFunctions":
        """The functions that are told what happens: made when there are some."""
        if self._event_functions is None:
            from open_webui.services.plugin_events import EventFunctions  # noqa: PLC0415 - not needed to start

            self._event_functions = EventFunctions(self)
        return self._event_functions

    @cached_property
    def code(self) -> "Code":
        """Runs code for people: made when somebody has some."""
        from open_webui.services.code.running import Code  # noqa: PLC0415 - not needed to start

        return Code(self)

    @cached_property
    def audio(self) -> "Audio":
        """Speaks for people and listens to them: made when somebody wants it."""
        from open_webui.services.audio import Audio  # noqa: PLC0415 - not needed to start

        return Audio(self)

    @cached_property
    def leaderboard(self) -> "Leaderboard":
        """How models were rated: counted when an administrator looks."""
        from open_webui.services.leaderboard import Leaderboard  # noqa: PLC0415 - not needed to start

        return Leaderboard(self)

    @cached_property
    def tool_servers(self) -> "ToolServers":
        """The tool servers that admins set up."""
        from open_webui.services.tool_servers import ToolServers  # noqa: PLC0415 - not needed to start

        return ToolServers(self)

    @cached_property
    def provider_sign_in(self) -> "ProviderSignIn":
        """Signing in by other sites: made when somebody does."""
        from open_webui.services.oauth.sign_in import ProviderSignIn  # noqa: PLC0415 - not needed to start

        return ProviderSignIn(self)

    @cached_property
    def terminals(self) -> "Terminals":
        """The terminal servers that admins set up."""
        from open_webui.services.terminals.servers import Terminals  # noqa: PLC0415 - not needed to start

        return Terminals(self)

    @property
    def retrieval(self) -> "Retrieval":
        """The engines of retrieval."""
        return self.library.retrieval

    async def finds_vectors(self) -> bool:
        """Whether the service answers in which vectors lie; true where they lie in the database."""
        return self.settings.vector_db != "qdrant" or await self.retrieval.index.answers()

    async def close_lazy(self) -> None:
        """Ends what was opened for documents, recordings and tools."""
        if "audio" in vars(self):
            await self.audio.close()
        if "terminals" in vars(self):
            await self.terminals.close()
        if "tool_servers" in vars(self):
            await self.tool_servers.close()
        if "library" in vars(self):
            await self.library.close()

    async def ask_model(self, principal: Principal, body: dict[str, Any]) -> Any:
        """See `services.facades.use.Deps`."""
        from open_webui.chat import by_plugins  # noqa: PLC0415 - not needed to start

        return await by_plugins.complete(self.gate, principal, body)

    _plugins: "PluginHost | None" = None

    @property
    def plugins(self) -> "PluginHost":
        """Runs tools and functions: made when somebody has one; no process is started before its first call."""
        if self._plugins is None:
            from open_webui.plugins.host import PluginHost  # noqa: PLC0415 - not needed to start

            self._plugins = PluginHost(self.settings)
        return self._plugins

    async def close_plugins(self) -> None:
        """Ends their processes."""
        if self._plugins is not None:
            await self._plugins.close()

    # What is stored of the configuration, followed over all processes.
    stored_config: Followed

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins besides our own whose pages may call with a cookie."""
        return self.settings.cors_origins - {"*"}

    async def identify(self, token: str) -> Principal | None:
        """The principal of a session token or an API key."""
        return await self.identifier.identify(token)

    async def save_config(self, changes: dict[str, object], *, partly: bool = False) -> None:
        """Stores changes and puts them in force: all or none, or with `partly` those that the environment doesn't forbid.

        Raises ValueError naming a wrong type, BadRequest for a picture, for what can't be switched on, and naming what the
        environment fixes.
        """
        if not partly and (fixed := self.config.refused(changes)):
            raise BadRequest(FIXED.format(", ".join(f"{key} (by {variable})" for key, variable in fixed.items())))
        for key, value in changes.items() if not partly else ():
            if (reason := refusal(key, value)) is not None:
                raise BadRequest(f"{reason[0].upper()}{reason[1:]} ({key}). Nothing was saved.")
        values = self.config.storable(changes)
        intake.refuse(values)
        async with self.database.write() as unit:
            await configs.put(unit.connection, values)
            unit.after_commit(self.config_changed)

    async def follow_config(self) -> None:
        """Loads what is stored, and begins to see what other processes store."""
        self.stored_config = Followed("configuration", self.bus, self.load_config, every=LOOK_SECONDS)
        await self.stored_config.renew()
        if not self.database.is_sqlite:
            self.stored_config.open()

    async def config_changed(self) -> None:
        """See `services.deps.AccountDeps`."""
        await self.stored_config.changed()

    async def models_changed(self) -> None:
        """See `services.deps.AccountDeps`."""
        await self.catalogue.changed()

    async def load_config(self) -> None:
        """Takes over what the database holds now."""
        async with self.database.read() as connection:
            stored = await configs.get_all(connection)
        for key in self.config.load(stored):
            log.warning("a stored setting has the wrong type; its default is used", key=key)


def _name_readers(state: State, stack: AsyncExitStack) -> None:
    """The processes that read files and plugins, which are started when they are needed; calls of MCP clients; texts of notes."""
    state.mcp_calls = RunningCalls(state.bus)
    state.note_jobs = NoteJobs(state, state.jobs)
    state.readers = Readers()
    stack.push_async_callback(state.readers.close)
    state.pictures = Pictures(state, state.jobs)
    stack.push_async_callback(state.pictures.close)
    state.sources = Sources()
    stack.push_async_callback(state.sources.close)


async def _open_accounts(state: State, stack: AsyncExitStack) -> None:
    """Who is asking, and the first administrator."""
    state.passwords = Passwords()
    stack.callback(state.passwords.close)
    secret = await asyncio.to_thread(secret_key, state.settings)
    if not state.database.is_sqlite:
        await check_secret(state.database, await asyncio.to_thread(fingerprint, secret))
    state.audit = await stack.enter_async_context(opened(state.settings, state.database, secret))
    state.tokens = Tokens(secret)
    state.identifier = Identifier(state.database, state.tokens, state.config, state.bus)
    stack.push_async_callback(state.identifier.close)
    state.uses = Uses(state.database)
    stack.push_async_callback(state.uses.close)
    state.sealer = Sealer(secret)
    state.attempts = SignInAttempts() if state.database.is_sqlite else SharedSignInAttempts(state.database)
    accounts.check_environment(state.config)
    await accounts.ensure_admin(state)


def _pipes(state: State) -> Connection:
    from open_webui.services.pipes import Pipes  # noqa: PLC0415 - not needed to start

    return Pipes(state)


async def _open_models(state: State, stack: AsyncExitStack) -> None:
    """Models of this machine and of providers."""
    settings = state.settings
    # Nobody reads along with a test.
    word_seconds = 0.0 if settings.env == "test" else WORD_SECONDS
    state.local_models = LocalModels(settings, state.database)
    stack.push_async_callback(state.local_models.close)
    await state.local_models.open()
    cache = None if state.database.is_sqlite else open_cache(settings)
    if cache is not None:
        stack.push_async_callback(cache.close)
    state.catalogue = Catalogue(
        settings, state.config, state.database, state.http, state.local_models, bus=state.bus, cache=cache,
        word_seconds=word_seconds,
    )  # fmt: skip
    state.catalogue.person_token = lambda user_id: state.provider_sign_in.tokens.of_person(user_id)  # noqa: PLW0108 - made on use
    state.catalogue.has_pipes(lambda: _pipes(state))
    stack.push_async_callback(state.catalogue.close)
    await state.catalogue.open()
    state.llamaforge = Llamaforge(state.local_models, state.catalogue, state.database, state.jobs, state.bus)
    state.llamaforge.open()
    stack.push_async_callback(state.llamaforge.close)
    stack.push_async_callback(state.close_plugins)
    state.notifier, state.event_webhooks = Notifier(state), EventWebhooks(state)
    stack.push_async_callback(state.event_webhooks.close)
    await state.event_webhooks.open()


def _make_jobs(state: State, parts: ChatParts) -> tuple[Kind[Any], ...]:
    state.indexing = Indexing(state.database, state.jobs, LazyEngines(lambda: state.retrieval))
    state.ingestion.stored = state.indexing.enqueue
    state.reindexing = Reindexing(state.database, state.jobs, state.ingestion, state.indexing)
    state.schedule = Schedule(state, state.jobs, Scheduled(parts.starter, parts.running))
    state.reminders = Reminders(state, state.jobs)
    parts.background = state.background = Background(state, state.jobs, parts.services, lambda: parts.starter.pipeline)
    return state.background.kind, retention(state.database, state.audit, state.settings.audit_retention_days)


@asynccontextmanager
async def open_state(settings: Settings, emitter: Messenger) -> AsyncIterator[State]:
    """Opens everything in order and closes it in the opposite one, also when opening stops halfway.

    emitter: how clients are told; the socket layer above hands it in.
    """
    async with AsyncExitStack() as stack:
        state = State()
        state.settings = settings
        state.started_at = time.time()
        state.emitter = state.caller = emitter
        state.load = Load()
        state.config = Config()
        state.database = open_database(settings)
        stack.push_async_callback(state.database.close)
        state.bus = open_bus(settings)
        stack.push_async_callback(state.bus.close)
        state.jobs = Queue(state.database, state.bus)
        await remove_leftovers(state.database, at_start=True)
        state.blobs = open_store(settings)
        await state.blobs.check()
        _name_readers(state, stack)
        state.ingestion = Ingestion(state, state.jobs, state.bus)
        await state.follow_config()
        stack.push_async_callback(state.stored_config.close)
        state.http = await stack.enter_async_context(open_http(settings))
        await _open_accounts(state, stack)
        await _open_models(state, stack)
        parts = ChatParts(
            state,
            state.catalogue,
            bus=state.bus,
            load=state.load,
            library=lambda: state.library,
            toolbox=lambda: state.toolbox,
            filters=lambda: state.filters,
            note=state.note,
        )
        state.running, state.starter, state.lease = parts.running, parts.starter, parts.lease
        state.gate, state.streams = parts.gate, parts.streams
        state.overlays = state.running.overlays
        state.active_chats = state.running.active_chats
        state.store_running = (parts.running.others or parts.journal).store_running
        if not state.database.is_sqlite:
            serve_changes(state, state.bus)
        stack.push_async_callback(state.close_lazy)
        stack.push_async_callback(parts.close)
        await parts.open()
        files = keeping_files(state, state.catalogue.changed)
        of_chats = (*_make_jobs(state, parts), *channel_jobs.kinds(state, parts.services, state.catalogue))
        known: tuple[Kind[Any], ...] = (
            leftovers(state.database), files, parts.following(state.identifier.account), *state.pictures.kinds,
            state.ingestion.kind, state.indexing.kind, state.indexing.tidying, state.reindexing.marking, state.reindexing.kind,
            state.reindexing.remembering, *state.note_jobs.kinds, *state.schedule.kinds, state.reminders.kind,
            state.notifier.kind, state.event_webhooks.kind, *of_chats,
        )  # fmt: skip
        runner = Runner(state.jobs, known)
        stack.push_async_callback(runner.close)
        await runner.open()
        if settings.vector_db:
            # Refused now rather than with the first document.
            await state.retrieval.index.store(state.database)
        await state.indexing.at_start()
        state.open_events(stack)
        yield state
