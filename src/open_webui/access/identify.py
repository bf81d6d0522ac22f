"""From a credential to a Principal: verified, looked up, cached for seconds, forgotten at once when access changes here."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.api_keys import PREFIX, key_hash, limits_of, looks_like_key
from open_webui.access.permissions import effective
from open_webui.access.second_factor import SETTINGS as FACTOR_SETTINGS
from open_webui.access.second_factor import is_enough
from open_webui.access.tokens import Tokens
from open_webui.config import Config
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import accounts, role_sets, users
from open_webui.principal import SHARES_WITH, KeyLimits, Principal, RoleSet, SharesWith, needed_by

log = get_logger(__name__)
# R7: what another process revoked is seen within this many seconds, whatever the bus brings.
CACHE_SECONDS = 3.0
CACHE_SIZE = 10_000
# How exactly it is known when somebody was last here.
SEEN_SECONDS = 60
API_KEYS = "features.api_keys"
# Changes of these settings change what somebody may do.
_ACCESS_KEYS = FACTOR_SETTINGS | {"user.permissions", "auth.enable_api_keys"}
Listener = Callable[[str], Awaitable[None]]
# News: whose access ended or changed; whose groups did (null: perhaps everybody's), or that grants did (of nobody).
_FORGOTTEN, _RENEWED = "identity:forgotten", "identity:renewed"


class Rights(msgspec.Struct, frozen=True):
    """permissions: granted paths. groups: ids. shares_with: the widest limit of those groups that set one."""

    permissions: frozenset[str]
    groups: frozenset[str]
    shares_with: SharesWith
    role_sets: tuple[RoleSet, ...]


class Identifier:
    """Resolves session tokens and API keys to principals."""

    def __init__(self, database: Database, tokens: Tokens, config: Config, bus: Bus) -> None:
        self._database = database
        self._tokens = tokens
        self._config = config
        self._bus = bus
        self._cache: dict[bytes, tuple[float, Principal]] = {}
        # How often something was dropped: what was looked up meanwhile may be of before.
        self._drops = 0
        self._listeners: list[Listener] = []
        self._rights_listeners: list[Callable[[], None]] = []
        self._touching: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._changed_listeners: list[Callable[[Collection[str] | None], None]] = []
        config.on_change(lambda keys: self._renew_of(None) if keys & _ACCESS_KEYS else None)
        bus.subscribe(_FORGOTTEN, self._hear_forgotten)
        bus.subscribe(_RENEWED, lambda _peer, user_ids: self._renew(user_ids))
        for happened in (bus.on_joined, bus.on_left):
            # It may have changed something unheard. Tokens and roles are looked at every few seconds anyhow; groups are not.
            happened(lambda _peer: self._renew_of(None))

    async def identify(self, token: str) -> Principal | None:
        """The principal of a credential, None when it is not (or no longer) good. A cached one costs no SQL."""
        key = hashlib.blake2b(token.encode(errors="replace"), digest_size=16).digest()
        hit = self._cache.get(key)
        at = time.monotonic()
        if hit is not None and hit[0] > at:
            cached = hit[1]
            if cached.expires_at is None or cached.expires_at > time.time():
                return cached
        drops = self._drops
        principal = await (self._by_key(token) if token.startswith(PREFIX) else self._by_session(token))
        if principal is None:
            self._cache.pop(key, None)
            return None
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        if drops == self._drops:
            self._cache[key] = (at + CACHE_SECONDS, principal)
        return principal

    async def account(self, user_id: str) -> Principal | None:
        """An account as it is now, for what the server does in its name; None for one that is gone or may not act."""
        async with self._database.look() as connection:
            row = await accounts.identity(connection, user_id, "")
            if row is None or not row.active:
                return None
            return await _principal(connection, user_id, row, self._config)

    async def _by_session(self, token: str) -> Principal | None:
        claims = self._tokens.verify(token)
        if claims is None:
            return None
        async with self._database.look() as connection:
            row = await accounts.identity(connection, claims.id, claims.jti)
            if row is None or not row.active or row.revoked or row.session_stamp != claims.session_stamp:
                return None
            if row.service:
                # However the token was come by: people have no way into it.
                return None
            principal = await _principal(
                connection, claims.id, row, self._config, expires_at=claims.exp, session=claims.jti
            )
        if not is_enough(self._config, claims, principal.role, principal.groups):
            return None
        self._note_seen(principal.id, row.last_active_at)
        return principal

    async def _by_key(self, key: str) -> Principal | None:
        """A key counts only while keys are enabled and its owner may have one. A service account is made to have some."""
        if not self._config["auth.enable_api_keys"] or not looks_like_key(key):
            return None
        async with self._database.look() as connection:
            found = await accounts.identity_of_key(connection, key_hash(key))
            if found is None or not found[1].active:
                return None
            user_id, row, used = found
            ends = [used.expires_at, used.former_until if used.is_former else None]
            expires_at = min((end for end in ends if end is not None), default=None)
            if (expires_at is not None and expires_at <= time.time()) or (used.is_former and used.former_until is None):
                return None
            try:
                limits = limits_of(used)
            except ValueError as error:
                log.warning("an API key can't be used: what it is kept to can't be read", key=used.id, error=str(error))
                return None
            principal = await _principal(connection, user_id, row, self._config, expires_at=expires_at, key=limits)
        if not row.service and not principal.may(API_KEYS):
            return None
        self._note_seen(user_id, row.last_active_at)
        return principal

    async def rights(self, connection: AsyncConnection, user_id: str) -> "Rights":
        """What an account may do by the defaults, its groups and its role sets, whatever its role."""
        return await _rights(connection, user_id, self._config)

    def _note_seen(self, user_id: str, last: int) -> None:
        """Writes once a minute that somebody was here, beside the request: it need not wait for the writer."""
        if last > time.time() - SEEN_SECONDS or user_id in self._touching:
            return
        task = asyncio.create_task(self._touch(user_id), name="note that somebody is here")
        self._touching[user_id] = task
        task.add_done_callback(lambda _: self._touching.pop(user_id, None))

    async def _touch(self, user_id: str) -> None:
        try:
            async with self._database.write() as unit:
                await users.touch(unit.connection, user_id)
        except (SQLAlchemyError, OSError) as error:
            log.warning("could not note when somebody was here", error=str(error))

    def on_forget(self, listener: Listener) -> None:
        """Calls the listener with a user's id after that user's access changed, here or in another process (see `forget`)."""
        self._listeners.append(listener)

    async def forget(self, user_id: str) -> None:
        """To be called after a change of role or password, a sign-out, a deletion has been committed: in all processes the
        next request of the user is looked up anew, and sockets and streams check theirs again.
        """
        self.drop((user_id,))
        self._bus.publish(_FORGOTTEN, user_id)
        await self._tell(user_id)

    async def renew(self, user_ids: Collection[str] | None = None) -> None:
        """To be called after a change of groups has been committed: in all processes the next request of these users, or of
        all, is looked up anew. After a change of grants on chats and folders it is called for nobody: who looks at a chat is
        looked at again in any case.
        """
        self._renew(user_ids)
        self._bus.publish(_RENEWED, None if user_ids is None else list(user_ids))

    def _renew_of(self, user_ids: Collection[str] | None) -> None:
        self.drop(user_ids)
        for listener in self._changed_listeners:
            listener(user_ids)

    def on_rights(self, listener: Callable[[Collection[str] | None], None]) -> None:
        """Calls the listener with the ids of those whose groups or permissions changed, None for everybody: here or elsewhere."""
        self._changed_listeners.append(listener)

    def _renew(self, user_ids: Collection[str] | None) -> None:
        self._renew_of(user_ids)
        for listener in self._rights_listeners:
            listener()

    def on_renew(self, listener: Callable[[], None]) -> None:
        """Calls the listener after rights or grants changed, here or in another process (see `renew`)."""
        self._rights_listeners.append(listener)

    def drop(self, user_ids: Collection[str] | None = None) -> None:
        """Drops what is cached here about these users, or about all."""
        self._drops += 1
        if user_ids is None:
            self._cache.clear()
            return
        gone = frozenset(user_ids)
        for key in [k for k, (_, p) in self._cache.items() if p.id in gone]:
            del self._cache[key]

    def _hear_forgotten(self, _peer: str, user_id: str) -> None:
        self.drop((user_id,))
        task = asyncio.create_task(self._tell_safely(user_id), name="tell whose access changed elsewhere")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_safely(self, user_id: str) -> None:
        try:
            await self._tell(user_id)
        except (SQLAlchemyError, OSError) as error:
            log.warning("it could not be looked at what a change of access ends here", error=str(error))

    async def _tell(self, user_id: str) -> None:
        for listener in self._listeners:
            await listener(user_id)

    async def close(self) -> None:
        """Finishes what is being written."""
        await asyncio.gather(*self._touching.values(), *self._telling)


async def _principal(
    connection: AsyncConnection,
    user_id: str,
    row: accounts.Identity,
    config: Config,
    *,
    expires_at: int | None = None,
    session: str = "",
    key: KeyLimits | None = None,
) -> Principal:
    rights = await _rights(connection, user_id, config)
    return Principal(
        id=user_id,
        role=row.role,
        name=row.name,
        email=row.email,
        via="session" if key is None else "api_key",
        groups=rights.groups,
        permissions=rights.permissions | needed_by(rights.role_sets),
        shares_with=rights.shares_with,
        role_sets=rights.role_sets,
        expires_at=expires_at,
        stamp=row.session_stamp,
        session=session,
        key=key,
    )


async def _rights(connection: AsyncConnection, user_id: str, config: Config) -> Rights:
    groups, held = await role_sets.belongings(connection, user_id)
    trees: list[Mapping[str, object]] = [config["user.permissions"], *(g.permissions or {} for g in groups)]
    limits = [g.share_with for g in groups if g.share_with is not None]
    return Rights(
        effective(trees),
        frozenset(g.id for g in groups),
        max(limits, key=SHARES_WITH.index, default="everybody"),
        held,
    )
