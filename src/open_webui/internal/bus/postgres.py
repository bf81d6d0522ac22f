"""The bus over PostgreSQL's LISTEN and NOTIFY, for those who have no Redis: one connection of its own, outside the pool.

A notification is text of less than 8,000 bytes, and one that equals another of its transaction is dropped. So data goes
as base64, in parts, each with its number.
"""

import asyncio
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from open_webui.internal.bus.transport import ALL, Carrier
from open_webui.internal.log import get_logger

log = get_logger(__name__)

# Bytes of data in one notification: 7,900 characters of base64 at most.
PART_BYTES: Final = 5_925
# Seconds until a statement, or the connection, is given up.
_PATIENCE: Final = 5.0
# Data of which not all parts came are forgotten when there is so much of it. Each process has one at a time.
_MOST_BEGUN: Final = 1_000
_NOTIFY: Final = "SELECT pg_notify(channel, part) FROM unnest($1::text[], $2::text[]) AS sent(channel, part)"


_PROBE: Final = "probe"


class PostgresCarrier(Carrier):
    """transport.Transport."""

    def __init__(self, options: Mapping[str, Any], prefix: str = "oui") -> None:
        """options: of asyncpg.connect, with the database's address. prefix: of the channels, at most 40 characters."""
        super().__init__("PostgreSQL", (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError))
        # Nothing is prepared: a pooler would not know it.
        self._options = {**options, "timeout": _PATIENCE, "command_timeout": _PATIENCE, "statement_cache_size": 0}
        self._prefix = prefix
        self._connection: Any = None
        self._broken = asyncio.Event()
        # Of this connection: who it is, and how much it has sent.
        self._tag, self._number = "", 0
        self._probed = asyncio.Event()
        # What arrives in parts, by sender: its number, and the parts so far.
        self._begun: dict[str, tuple[int, list[str]]] = {}

    async def connect(self) -> None:
        self._broken.clear()
        self._begun.clear()
        self._tag, self._number = secrets.token_hex(4), 0
        self._connection = connection = await asyncpg.connect(**self._options)
        connection.add_termination_listener(lambda _connection: self._broken.set())
        for channel in (ALL, self.channel):
            await connection.add_listener(self._named(channel), self._on_notification)
        # In one message: a pooler may hand the next one to another process of the server's.
        own = await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {connection.get_server_pid()}")
        if own != "SELECT 1":
            await self._refuse_transaction_pooling()

    async def _refuse_transaction_pooling(self) -> None:
        """There is a pooler in between: raises unless what others notify is heard through it."""
        self._probed.clear()
        other = await asyncpg.connect(**self._options)
        try:
            await other.execute(f"NOTIFY {self._named(self.channel)}, '{_PROBE}'")
            async with asyncio.timeout(_PATIENCE):
                await self._probed.wait()
        except TimeoutError:
            raise ConnectionError(
                "The database is reached by a pooler in transaction mode, which passes on no notifications. Set"
                " DATABASE_DIRECT_URL to the address of PostgreSQL itself, or REDIS_URL to that of a Redis."
            ) from None
        finally:
            other.terminate()

    async def read(self) -> None:
        await self._broken.wait()
        raise ConnectionError("PostgreSQL has closed the connection.")

    async def write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        sent = [(self._named(channel), part) for channel, data in batch for part in self._parts(data)]
        await self._connection.execute(_NOTIFY, *zip(*sent, strict=True))

    async def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _named(self, channel: str) -> str:
        return f"{self._prefix}_{channel}"

    def _parts(self, data: bytes) -> list[str]:
        """What is sent for some data: the sender, the data's number, which part of how many, and the part itself."""
        self._number += 1
        starts = range(0, len(data), PART_BYTES)
        return [
            f"{self._tag} {self._number} {index} {len(starts)} {b64encode(data[start : start + PART_BYTES]).decode()}"
            for index, start in enumerate(starts)
        ]

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, text: str) -> None:
        if text == _PROBE:
            self._probed.set()
            return
        try:
            tag, number, index, count, part = text.split(" ")
            data = self._joined(tag, int(number), int(index), int(count), part)
        except ValueError as error:
            log.debug("a foreign notification is ignored", characters=len(text), reason=str(error))
            return
        if data is not None:
            self.receive(data)

    def _joined(self, tag: str, number: int, index: int, count: int, part: str) -> bytes | None:
        """The data of which this is the last part. A part whose predecessors were not heard is ignored."""
        if count == 1:
            return b64decode(part, validate=True)
        begun, parts = self._begun.pop(tag, (0, []))
        if begun != number:
            parts = []
        if index != len(parts):
            return None
        parts.append(part)
        if len(parts) == count:
            return b"".join(b64decode(one, validate=True) for one in parts)
        if len(self._begun) >= _MOST_BEGUN:
            self._begun.clear()
        self._begun[tag] = (number, parts)
        return None
