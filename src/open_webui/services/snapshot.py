"""The whole database as one file, for an administrator's backup: a consistent copy, made while the server goes on."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from open_webui.env import Settings
from open_webui.errors import BadRequest, Conflict, OuiError
from open_webui.internal.db import database_url
from open_webui.internal.log import get_logger
from open_webui.internal.shielding import to_the_end

log = get_logger(__name__)
# Bytes that are read at once.
PIECE: Final = 1024 * 1024
# What is left free on the disk beside the copy, as a part of its size.
SPARE: Final = 0.05
# Seconds after which a copy that nobody finished was left by a process that ended.
LEFT_OVER: Final = 3_600.0
NOT_SQLITE: Final = (
    "Only a SQLite database can be downloaded as a file. This server uses PostgreSQL: make backups with pg_dump."
)
BUSY: Final = "Another copy of the database is being made. Try again when it is done."
NO_ROOM: Final = "There is not enough room on the server's disk for a copy of the database. Nothing was copied."
FAILED: Final = "The copy of the database could not be made: {}"


class Snapshot:
    """A copy that has no name on the disk any more: it is gone as soon as nobody reads it, whatever happens to the process."""

    def __init__(self, file: IO[bytes], left: Path | None = None) -> None:
        """left: its path where the system does not let an open file's name go."""
        self._file = file
        self._left = left
        self.size = os.fstat(file.fileno()).st_size

    def close(self) -> None:
        self._file.close()
        if self._left is not None:
            self._left.unlink(missing_ok=True)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is in it; it is closed afterwards, also when nobody reads to the end."""
        try:
            while piece := await asyncio.to_thread(self._file.read, PIECE):
                yield piece
        finally:
            self.close()


def file_of(kind: str, database: str | None) -> Path:
    """The SQLite file. kind: of database. Raises BadRequest where there is none."""
    if kind != "sqlite" or not database:
        raise BadRequest(NOT_SQLITE)
    return Path(database)


def remove_left_copy(settings: Settings) -> None:
    """Removes what a process that ended left of a copy of its SQLite database: at a start, when nobody makes one."""
    url = database_url(settings)
    if url.drivername.startswith("sqlite") and url.database:
        with contextlib.suppress(OSError):
            _remove(_copy_of(Path(url.database)))


def _copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.download.part")


async def make(path: Path) -> Snapshot:
    """A copy of a SQLite file as it is at one moment. Raises Conflict while another is made, and OuiError for a full disk."""
    return await to_the_end(asyncio.to_thread(_make, path))


def _make(path: Path) -> Snapshot:
    copy = _copy_of(path)
    _reserve(copy)
    file: IO[bytes] | None = None
    try:
        if shutil.disk_usage(path.parent).free < path.stat().st_size * (1 + SPARE):
            raise OuiError(NO_ROOM, status=507)
        # SQLite's own way: what others write meanwhile is in the WAL, and neither waits for the other.
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        file = copy.open("rb")
    except (sqlite3.Error, OSError) as error:
        log.warning("the database could not be copied", error=str(error))
        raise OuiError(FAILED.format(error), status=507) from error
    finally:
        has_name = file is not None and not _lets_names_go(copy)
        if file is None:
            _remove(copy)
    return Snapshot(file, copy if has_name else None)


def _lets_names_go(copy: Path) -> bool:
    """Takes the name of an open file away. False where the system keeps it until it is closed."""
    try:
        _remove(copy)
    except PermissionError:
        return False
    return True


def _reserve(copy: Path) -> None:
    """Makes the empty file, which only this account may read. One copy is made at a time."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - copy.stat().st_mtime > LEFT_OVER:
            _remove(copy)
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Conflict(BUSY) from None


def _remove(copy: Path) -> None:
    for left in (copy, copy.with_name(f"{copy.name}-journal")):
        left.unlink(missing_ok=True)
