"""The lock that lets one server at a time use a data folder with a SQLite database; the kernel releases it, whatever ends us."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import database_url, ensure_folder
from open_webui.internal.log import get_logger

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = get_logger(__name__)
# Windows locks bytes, which nobody can read then: one that is far behind the text.
_BYTE = 2**30


@contextlib.contextmanager
def lock_folder(settings: Settings) -> Iterator[None]:
    """While it is open, no other process opens it for the same DATA_DIR or SQLite file. Raises StartupError if one has.

    On PostgreSQL, which several servers may share, it does nothing.
    """
    url = database_url(settings)
    if not url.drivername.startswith("sqlite") or url.database in {None, ":memory:"}:
        yield
        return
    ensure_folder(settings.data_dir)
    with _lock(settings.data_dir / "server.lock"), lock_database(Path(str(url.database))):
        yield


@contextlib.contextmanager
def lock_database(database: Path) -> Iterator[None]:
    """The same for a SQLite file alone, wherever it lies."""
    ensure_folder(database.parent)
    with _lock(database.with_name(f"{database.name}.server-lock")):
        yield


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        # Not inherited by the processes that this one starts: they must not keep it when this one is killed.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartupError(
            f"The file {path} can't be written to ({error.strerror}). Give this user the right."
        ) from None
    try:
        _take(file, path)
        yield
    finally:
        os.close(file)


def _take(file: int, path: Path) -> None:
    try:
        _lock_file(file)
    except BlockingIOError:
        by = os.read(file, 20).decode(errors="replace").strip()
        raise StartupError(
            f"Another process{f' ({by})' if by.isdigit() else ''} is using {path.parent}, and a SQLite database serves one at"
            " a time. Stop it first, or set another DATA_DIR; servers that run side by side need PostgreSQL."
        ) from None
    except OSError as error:
        # Some network file systems have no locks. SQLite is not safe on them either, but that is for the operator to know.
        log.warning(
            "the data folder can't be locked: see to it that one server uses it", path=path, reason=error.strerror
        )
        return
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())


def _lock_file(file: int) -> None:
    """Locks an open file for this process. Raises BlockingIOError, at once, if another one has."""
    if sys.platform == "win32":
        os.lseek(file, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
