"""What is costly to make and cheap to lose, by key and for a while, in a Redis that all processes share.

How to use it: `await cache.get(key)`, and where that is None make the value and `await cache.put(key, value, seconds=...)`.
Begin the key with what is cached, and name in it everything on which the value depends; where it depends on who asks, their
id as well. A value may be gone at any moment and is old for up to its time: nothing is stored here alone. What is held, its
bound and what ends it belong into the table of docs/architecture/scaling.md.
"""

import asyncio
import time
from typing import Any, Final

from open_webui.env import Settings
from open_webui.internal.log import get_logger
from open_webui.internal.redis_servers import RedisServers, failures, key_servers

log = get_logger(__name__)

# A larger value is not kept.
VALUE_BYTES: Final = 2**20
# A Redis that doesn't answer within so many seconds is away, and is left alone for a while.
_PATIENCE: Final = 1.0
_PAUSE: Final = 5.0


class RedisCache:
    """Cache of all processes with one REDIS_KEY_PREFIX. Connects when it is used first.

    Nothing here raises because Redis is away: then there are no values.
    """

    def __init__(self, servers: RedisServers, prefix: str) -> None:
        self._servers = servers
        self._prefix = f"{prefix}:cache:"
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._away_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """The value that was put there, unless its time is over or it had to go."""
        value: bytes | None = await self._do("GET", key)
        return value

    async def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keeps a value for so many seconds, at least a thousandth. One of more than VALUE_BYTES is not kept."""
        if len(value) > VALUE_BYTES:
            await self.remove(key)
        else:
            await self._do("SET", key, value, "PX", max(1, round(seconds * 1000)))

    async def remove(self, key: str) -> None:
        """Forgets a value."""
        await self._do("DEL", key)

    async def close(self) -> None:
        """Closes connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _do(self, command: str, key: str, *arguments: Any) -> Any:
        """The answer to a command; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                client = await self._connected()
                return await client.execute_command(command, self._prefix + key, *arguments)
        except failures() as error:
            log.warning("the cache in Redis is away", reason=str(error) or "It does not answer.", again_in=_PAUSE)
            self._away_until = time.monotonic() + _PAUSE
            return None

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await self._servers.connect_for_keys()
        return self._client


def open_cache(settings: Settings) -> RedisCache | None:
    """The one in the Redis that REDIS_URL names; None where it names none. Raises StartupError."""
    servers = key_servers(settings)
    return None if servers is None else RedisCache(servers, settings.redis_key_prefix)
