"""A migrated SQLite file to copy: all migrations, one after the other, take seconds of CPU."""

import asyncio
import atexit
import contextlib
import functools
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

from open_webui.env import Settings
from open_webui.migrations.runner import migrate


@functools.cache
def migrated() -> Path:
    """Made once for this process, which removes it when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="oui-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "template.db"
    settings = Settings(_env_file=None, data_dir=folder, database_url=f"sqlite:///{path}", env="test")  # type: ignore[arg-type]
    # Whoever asks may have an event loop of their own.
    thread = threading.Thread(target=lambda: asyncio.run(migrate(settings)))
    thread.start()
    thread.join()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def put(data_dir: Path) -> None:
    """A migrated database where a server with this folder looks for its own, unless there is one."""
    path = data_dir / "webui.db"
    # Where no folder can be made, the server says so.
    with contextlib.suppress(OSError):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            shutil.copyfile(migrated(), path)
            path.chmod(0o600)
