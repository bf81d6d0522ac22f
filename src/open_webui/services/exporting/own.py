"""What one person has in the server, for themselves. No connection is held while they read."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from typing import Final

from open_webui.models import users
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.exporting.archive import files_of, noted_files, rows_of
from open_webui.services.exporting.rows import Export
from open_webui.services.exporting.zipped import Zip
from open_webui.storage.base import PIECE

_ONE: Final = asyncio.Semaphore(1)


def _quiet(_doing: str) -> None:
    """Nobody is told what is being done."""


async def begun(deps: Deps, principal: Principal) -> AsyncIterator[bytes]:
    """The bytes of somebody's archive, without keys and hashes. When this returns, what is in the database has been read.

    Raises TooManyRequests.
    """
    await deps.attempts.export(principal.id)
    # One at a time: each holds a connection of which there are few.
    async with _ONE:
        return await _begun(deps, principal)


async def _begun(deps: Deps, principal: Principal) -> AsyncIterator[bytes]:
    with contextlib.ExitStack() as stack:
        # The system's folder may be small, or memory. Where files are kept elsewhere, there may be no folder yet.
        deps.settings.data_dir.mkdir(parents=True, exist_ok=True)
        files = stack.enter_context(noted_files(deps.settings.data_dir))
        spool = stack.enter_context(tempfile.TemporaryFile(dir=deps.settings.data_dir))
        target = Zip()
        async with deps.database.read() as connection:
            first = await users.primary_admin(connection)
            export = Export(connection, deps.sealer, principal.id, primary=None if first is None else first.id)
            async for piece in rows_of(target, export, principal.email, files, _quiet):
                await asyncio.to_thread(spool.write, piece)
        kept = stack.pop_all()

    async def pieces() -> AsyncIterator[bytes]:
        with kept:
            spool.seek(0)
            while piece := await asyncio.to_thread(spool.read, PIECE):
                yield piece
            async for piece in files_of(target, export, deps.blobs, files, _quiet):
                yield piece

    return pieces()
