"""A real PgBouncer in transaction mode, with the configuration of docs/deployment.md, before the tests' PostgreSQL."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from tests.support.postgres import Postgres
from tests.support.process import ROOT, die_with_parent, free_port

_START_SECONDS = 20


def _program() -> str:
    found = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    assert found, "pgbouncer is not installed: ./test.sh installs it, or `sudo apt-get install pgbouncer`"
    return found


def configuration(server: Postgres, port: int, **changes: str) -> str:
    """The documentation's, for this server and without passwords. changes: settings that a test wants otherwise."""
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```pgbouncer\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^oui = .*$", f"* = host=127.0.0.1 port={server.port}", text, flags=re.MULTILINE)
    # The tests' PostgreSQL has one account, without a password.
    lines = [line for line in text.splitlines() if not line.startswith("auth_file")]
    given = {"listen_port": str(port), "auth_type": "any", "unix_socket_dir": "", **changes}
    if given["auth_type"] == "any":
        lines = [line.replace("* = ", "* = user=postgres ") for line in lines]
    kept = [line for line in lines if line.split(" = ")[0] not in given]
    return "\n".join(kept + [f"{name} = {value}" for name, value in given.items()]) + "\n"


@contextlib.contextmanager
def before(server: Postgres, **changes: str) -> Iterator[int]:
    """The port of a PgBouncer that leads to this server's databases, while it is open."""
    folder = Path(tempfile.mkdtemp(prefix="oui-pgbouncer-"))
    folder.chmod(0o755)
    port = free_port()
    (folder / "pgbouncer.ini").write_text(configuration(server, port, **changes))
    # It refuses to run as root.
    account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [_program(), str(folder / "pgbouncer.ini")],
            stdout=log, stderr=log, cwd=folder, preexec_fn=die_with_parent, **account,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            said = (folder / "log").read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    async def ask() -> None:
        connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", statement_cache_size=0)
        await connection.close()

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        try:
            loop.run_until_complete(ask())
        except (OSError, asyncpg.PostgresError):
            return False
    return True
