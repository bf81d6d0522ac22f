"""What the server stores is for its own account of the machine: files 0600, folders 0700, also those of earlier releases."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import database_url
from open_webui.internal.log import FILE_NAME, get_logger

log = get_logger(__name__)
_OTHERS: Final = 0o077


def make_private(settings: Settings) -> None:
    """Closes to other accounts what lies there already. What can't be closed is told in the log."""
    if sys.platform == "win32":
        return
    for path in _ours(settings):
        try:
            about = path.lstat()
            mode = stat.S_IMODE(about.st_mode)
            if mode & _OTHERS and not stat.S_ISLNK(about.st_mode) and not _is_shared(path, about):
                path.chmod(mode & ~_OTHERS)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("other accounts of this machine can read this", path=str(path), why=error.strerror)


def _is_shared(path: Path, about: os.stat_result) -> bool:
    """Whether a folder is plainly not the server's alone: the root, a home, one like /tmp."""
    resolved = path.resolve()
    return bool(about.st_mode & stat.S_ISVTX) or resolved in {Path(resolved.anchor), Path.home()}


def _ours(settings: Settings) -> Iterator[Path]:
    folder = settings.data_dir
    yield folder
    yield from (folder / name for name in ("blobs", "secret-key", "server.lock"))
    try:
        url = database_url(settings)
    except StartupError:
        return  # told by whoever opens it
    if url.drivername.startswith("sqlite") and url.database not in {None, "", ":memory:"}:
        database = Path(str(url.database))
        yield from (Path(f"{database}{ending}") for ending in ("", "-wal", "-shm", "-journal"))
    if settings.log_to_file:
        yield from settings.log_dir.glob(f"{FILE_NAME}*.log*")
