"""The bus over the channels of a Redis: one connection to publish on, one to listen on."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from open_webui.internal.bus.transport import ALL, Carrier
from open_webui.internal.redis_servers import RedisServers, failures


class RedisCarrier(Carrier):
    """transport.Transport. prefix: of the channels; who shares a Redis with another server takes another one."""

    def __init__(self, servers: RedisServers, prefix: str) -> None:
        super().__init__("Redis", failures())
        self._servers = servers
        # Channels are common to all databases of a server.
        self._prefix = f"{prefix}:{servers.database}:bus:"
        self._client: Any = None
        self._subscription: Any = None

    async def connect(self) -> None:
        self._client = await self._servers.connect()
        self._subscription = self._client.pubsub()
        await self._subscription.subscribe(self._prefix + ALL, self._prefix + self.channel)
        for _ in range(2):
            # That it listens now is said for each channel, and is not news.
            if await self._subscription.parse_response(block=False, timeout=self._servers.timeout) is None:
                raise TimeoutError("It does not answer.")

    async def read(self) -> None:
        async for message in self._subscription.listen():
            if message["type"] == "message":
                self.receive(message["data"])

    async def write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for channel, data in batch:
            pipeline.publish(self._prefix + channel, data)
        await pipeline.execute()

    async def disconnect(self) -> None:
        subscription, client, self._subscription, self._client = self._subscription, self._client, None, None
        for one in (subscription, client):
            if one is not None:
                with suppress(*failures()):
                    await one.aclose()
