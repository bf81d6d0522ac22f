"""The lease of a process: a row that says that it lives, for the others that share its PostgreSQL database."""

import asyncio
import socket
from typing import Final

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import Database, open_database
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.models import processes

log = get_logger(__name__)
# A beat that takes longer is given up, and tried again soon.
PATIENCE: Final = 3.0
AGAIN_SECONDS: Final = 0.5
# How long the end of the server waits until its row is gone; another process forgets it later.
LEAVE_SECONDS: Final = 2.0


async def check_secret(database: Database, fingerprint: str) -> None:
    """Raises StartupError when other processes on this database sign sessions with another secret."""
    async with database.write() as unit:
        if await processes.agree_on_secret(unit.connection, fingerprint):
            return
    raise StartupError(
        "Another process serves this database with another secret key, so that sessions of one would be refused by the other."
        " Give all the same WEBUI_SECRET_KEY, or the same file secret-key in DATA_DIR. To change the key, end all processes,"
        f" wait {processes.LEASE_SECONDS} seconds, and start them with the new one."
    )


class Lease:
    """Held while it is open. On SQLite, where nobody else is, nothing is done. host: this machine's name.

    It has a connection of its own: who is busy, and has none free for requests, is not dead.
    """

    def __init__(self, settings: Settings, database: Database, instance: str) -> None:
        self.instance = instance
        self.host = socket.gethostname()
        one = {"database_pool_size": 1, "database_pool_max_overflow": 0}
        self._database = database if database.is_sqlite else open_database(settings.model_copy(update=one))
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Takes the lease, and keeps it from now on."""
        if not self._database.is_sqlite:
            await self._beat()
            self._task = supervise("lease", self._beats)

    async def close(self) -> None:
        """Gives it back: what this process has not ended is anybody's to end."""
        if self._database.is_sqlite:
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            await self._leave()
        await self._database.close()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS), self._database.write() as unit:
                await processes.leave(unit.connection, self.instance)
        except Exception:
            # The server ends in any case.
            log.warning("the lease could not be given back", exc_info=True)

    async def _beats(self) -> None:
        beaten = True
        while True:
            await asyncio.sleep(processes.BEAT_SECONDS if beaten else AGAIN_SECONDS)
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._beat()
                beaten = True
            except Exception:
                # The task runner's place: a database that is away is tried again at once, as long as it takes.
                if beaten:
                    log.warning("the lease could not be renewed", again_in=AGAIN_SECONDS, exc_info=True)
                beaten = False

    async def _beat(self) -> None:
        async with self._database.write() as unit:
            await processes.beat(unit.connection, self.instance, self.host)
