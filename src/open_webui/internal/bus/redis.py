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
        # The library's pipelines and subscriptions take several times what its connections do.
        self._speaking: Any = None
        self._listening: Any = None

    async def connect(self) -> None:
        self._client = await self._servers.connect()
        self._speaking, self._listening = [await self._client.connection_pool.get_connection() for _ in range(2)]
        channels = [self._prefix + ALL, self._prefix + self.channel]
        await self._listening.send_command("SUBSCRIBE", *channels)
        for _ in channels:
            # That it listens now is said for each channel, and is not news.
            await self._listening.read_response(push_request=True)
        # From now on silence is no failure.
        self._listening.socket_timeout = None

    async def read(self) -> None:
        while True:
            match await self._listening.read_response(push_request=True):
                case [b"message", _, data]:
                    self.receive(data)

    async def write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        commands = [("PUBLISH", self._prefix + channel, data) for channel, data in batch]
        await self._speaking.send_packed_command(self._speaking.pack_commands(commands))
        for _ in commands:
            await self._speaking.read_response()

    async def disconnect(self) -> None:
        speaking, listening, client = self._speaking, self._listening, self._client
        self._speaking = self._listening = self._client = None
        for one in (speaking, listening):
            if one is not None:
                with suppress(*failures()):
                    await one.disconnect()
        if client is not None:
            with suppress(*failures()):
                await client.aclose()
