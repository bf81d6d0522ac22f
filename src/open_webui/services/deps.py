"""What services work with. A service is functions that take it first; `State` is what they get.

What has a life of its own (tasks, connections, limits, caches) is an object that the state opens and that is named here.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import aiohttp

from open_webui.access.api_keys import Sealer
from open_webui.access.identify import Identifier
from open_webui.access.passwords import Passwords
from open_webui.access.tokens import Tokens
from open_webui.access.uses import Uses
from open_webui.config import Config
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.gate import Gate
from open_webui.connections.local.models import LocalModels
from open_webui.env import Settings
from open_webui.events import Emitter
from open_webui.internal.db import Database
from open_webui.services.attempts import SignInAttempts
from open_webui.services.message_events import Running
from open_webui.storage.base import BlobStore


class FileDeps(Protocol):
    """What files need, which is there before the rest: a start moves what earlier releases kept in rows."""

    settings: Settings
    database: Database
    blobs: BlobStore


class AccountDeps(FileDeps, Protocol):
    """What making and changing accounts needs. The command line has it too, beside a server that runs."""

    config: Config
    passwords: Passwords
    identifier: Identifier

    async def config_changed(self) -> None:
        """To be called when settings were stored: this process and all others take over what the database holds now."""
        ...

    async def models_changed(self) -> None:
        """The same of models and the grants on them."""
        ...


class Deps(AccountDeps, Protocol):
    """The part of the state that services use.

    overlays: of a chat that is being answered, what the answers are by now, by message id; to be asked before the chat is
    read. active_chats: which are.
    running: whom to ask for changes of a message that is being written. store_running: has the rows of a chat's messages
    hold what its running answers are by now, for who reads rows.
    """

    tokens: Tokens
    uses: Uses
    sealer: Sealer
    attempts: SignInAttempts
    emitter: Emitter
    catalogue: Catalogue
    gate: Gate
    local_models: LocalModels
    http: aiohttp.ClientSession
    overlays: Callable[[str], Awaitable[dict[str, dict[str, Any]]]]
    active_chats: Callable[[], frozenset[str]]
    store_running: Callable[[str], Awaitable[None]]

    @property
    def running(self) -> Running: ...
