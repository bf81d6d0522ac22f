"""What the lifespan opens and the server works with while it runs: one object, handed to every route and event."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from open_webui.access.api_keys import Sealer
from open_webui.access.identify import Identifier
from open_webui.access.passwords import Passwords
from open_webui.access.tokens import Tokens, fingerprint, secret_key
from open_webui.chat.delivery.streams import Streams
from open_webui.chat.registry import RunningAnswers
from open_webui.chat.service import ChatParts
from open_webui.chat.starter import Starter
from open_webui.config import Config
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.gate import Gate
from open_webui.connections.local.eliza import WORD_SECONDS
from open_webui.connections.local.models import LocalModels
from open_webui.env import Settings
from open_webui.errors import BadRequest
from open_webui.events import Emitter
from open_webui.internal.bus.followed import LOOK_SECONDS, Followed
from open_webui.internal.bus.opening import open_bus
from open_webui.internal.bus.port import Bus
from open_webui.internal.cache import open_shared_cache
from open_webui.internal.db import Database, open_database
from open_webui.internal.http import open_http
from open_webui.internal.load import Load
from open_webui.internal.log import get_logger
from open_webui.jobs.queue import Queue
from open_webui.jobs.runner import Runner
from open_webui.models import configs
from open_webui.principal import Principal
from open_webui.services import accounts, intake
from open_webui.services.attempts import SharedSignInAttempts, SignInAttempts
from open_webui.services.chats import serve_changes
from open_webui.services.file_keeper import keeping_files
from open_webui.services.llamaforge import Llamaforge
from open_webui.services.processes import Lease, check_secret
from open_webui.services.staging import leftovers, remove_leftovers
from open_webui.storage import open_store
from open_webui.storage.base import BlobStore

log = get_logger(__name__)


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
    # Work in the background, once over all processes.
    jobs: Queue
    blobs: BlobStore
    http: aiohttp.ClientSession
    passwords: Passwords
    tokens: Tokens
    identifier: Identifier
    sealer: Sealer
    attempts: SignInAttempts
    started_at: float
    # Set by the lifespan before anything is opened: the socket layer is above this one.
    emitter: Emitter
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
    # Of a chat that is being answered: what the answers are by now, by message id. And which chats are.
    overlays: Callable[[str], Awaitable[dict[str, dict[str, Any]]]]
    active_chats: Callable[[], frozenset[str]]
    # Has the rows of a chat's messages hold what its running answers are by now.
    store_running: Callable[[str], Awaitable[None]]

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

        Raises ValueError naming a wrong type, BadRequest for a picture and naming what the environment fixes.
        """
        if not partly and (fixed := self.config.refused(changes)):
            names = ", ".join(f"{key} (by {variable})" for key, variable in fixed.items())
            raise BadRequest(
                f"The server's environment fixes {names}. Nothing was saved. Change the variable, or its line in .env, and start"
                " the server again."
            )
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


async def _open_accounts(state: State, stack: AsyncExitStack) -> None:
    """Who is asking, and the first administrator."""
    state.passwords = Passwords()
    stack.callback(state.passwords.close)
    secret = await asyncio.to_thread(secret_key, state.settings)
    if not state.database.is_sqlite:
        await check_secret(state.database, await asyncio.to_thread(fingerprint, secret))
    state.tokens = Tokens(secret)
    state.identifier = Identifier(state.database, state.tokens, state.config, state.bus)
    stack.push_async_callback(state.identifier.close)
    state.sealer = Sealer(secret)
    state.attempts = SignInAttempts() if state.database.is_sqlite else SharedSignInAttempts(state.database)
    accounts.check_environment(state.config)
    await accounts.ensure_admin(state)


async def _open_models(state: State, stack: AsyncExitStack) -> None:
    """Models of this machine and of providers."""
    settings = state.settings
    # Nobody reads along with a test.
    word_seconds = 0.0 if settings.env == "test" else WORD_SECONDS
    state.local_models = LocalModels(settings, state.database)
    stack.push_async_callback(state.local_models.close)
    await state.local_models.open()
    cache = None if state.database.is_sqlite else open_shared_cache(settings)
    if cache is not None:
        stack.push_async_callback(cache.close)
    state.catalogue = Catalogue(
        settings,
        state.config,
        state.database,
        state.http,
        state.local_models,
        bus=state.bus,
        cache=cache,
        word_seconds=word_seconds,
    )
    stack.push_async_callback(state.catalogue.close)
    await state.catalogue.open()
    state.llamaforge = Llamaforge(state.local_models, state.catalogue, state.database, state.jobs, state.bus)
    state.llamaforge.open()
    stack.push_async_callback(state.llamaforge.close)


@asynccontextmanager
async def open_state(settings: Settings, emitter: Emitter) -> AsyncIterator[State]:
    """Opens everything in order and closes it in the opposite one, also when opening stops halfway.

    emitter: how clients are told; the socket layer above hands it in.
    """
    async with AsyncExitStack() as stack:
        state = State()
        state.settings = settings
        state.started_at = time.time()
        state.emitter = emitter
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
        await state.follow_config()
        stack.push_async_callback(state.stored_config.close)
        state.http = await stack.enter_async_context(open_http(settings))
        await _open_accounts(state, stack)
        await _open_models(state, stack)
        parts = ChatParts(
            settings,
            state.database,
            state.blobs,
            state.config,
            state.catalogue,
            emitter,
            bus=state.bus,
            load=state.load,
        )
        state.running, state.starter, state.lease = parts.running, parts.starter, parts.lease
        state.gate, state.streams = parts.gate, parts.streams
        state.overlays = state.running.overlays
        state.active_chats = state.running.active_chats
        state.store_running = (parts.running.others or parts.journal).store_running
        if not state.database.is_sqlite:
            serve_changes(state, state.bus)
        stack.push_async_callback(parts.close)
        await parts.open()
        files = keeping_files(state, state.catalogue.changed)
        following = parts.following(state.identifier.account)
        runner = Runner(state.jobs, (leftovers(state.database), files, following))
        stack.push_async_callback(runner.close)
        await runner.open()
        yield state
