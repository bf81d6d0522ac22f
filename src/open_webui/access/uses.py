"""Which sessions and API keys are used: noted in memory with each request, and written together, now and then."""

import asyncio
import contextlib
import time
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from open_webui.access.tokens import Claims
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import api_keys, sessions
from open_webui.models.base import clean, now
from open_webui.models.sessions import NEVER, Session
from open_webui.utils.user_agents import device_of

log = get_logger(__name__)
# How exactly the last use is known.
SESSION_SECONDS: Final = 300
KEY_SECONDS: Final = api_keys.USED_SECONDS
# Uses within so many seconds are written together.
TOGETHER: Final = 0.5
# Sessions and keys whose last note is remembered.
MOST: Final = 20_000
_LONGEST_ADDRESS: Final = 80


class Uses:
    """One for a process. A use that is lost with it is noted with the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # When the next use of a session or a key is to be noted.
        self._due: dict[str, float] = {}
        self._sessions: dict[str, Session] = {}
        self._keys: set[str] = set()
        self._writing = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None

    def is_due(self, name: str) -> bool:
        """Whether a use of a session or a key is to be noted again: asked with each request."""
        return self._due.get(name, 0.0) <= time.monotonic()

    def note_session(self, claims: Claims, address: str, agent: str) -> None:
        """Notes that a session is used from this address. agent: what the client calls itself."""
        self._put_off(claims.jti, SESSION_SECONDS)
        address = address[:_LONGEST_ADDRESS]
        self._sessions[claims.jti] = Session(
            jti=claims.jti,
            user_id=claims.id,
            stamp=claims.session_stamp,
            device=device_of(clean(agent)),
            auth_method=claims.auth_method[:100],
            first_address=address,
            last_address=address,
            created_at=claims.iat,
            last_used_at=now(),
            expires_at=NEVER if claims.exp is None else claims.exp,
        )
        self._soon()

    def note_key(self, key_id: str) -> None:
        """Notes that a key is used."""
        self._put_off(key_id, KEY_SECONDS)
        self._keys.add(key_id)
        self._soon()

    def _put_off(self, name: str, seconds: float) -> None:
        if len(self._due) >= MOST:
            self._due.clear()
        self._due[name] = time.monotonic() + seconds

    def _soon(self) -> None:
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._later(), name="note which sessions and keys are used")

    async def _later(self) -> None:
        await asyncio.sleep(TOGETHER)
        await self.flush()

    async def flush(self) -> None:
        """Writes what was noted, for who is about to look at it."""
        async with self._writing:
            found, self._sessions = list(self._sessions.values()), {}
            keys, self._keys = self._keys, set()
            if not found and not keys:
                return
            try:
                async with self._database.write() as unit:
                    if found:
                        await sessions.note(unit.connection, found)
                    if keys:
                        await api_keys.used(unit.connection, keys, now())
            except (SQLAlchemyError, OSError) as error:
                log.warning("could not note which sessions and keys are used", error=str(error))

    async def close(self) -> None:
        """Writes what is left."""
        if self._waiting is not None:
            self._waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._waiting
        await self.flush()
