"""Several workers on one port: they share the work, die, are replaced and end, and nobody is refused meanwhile."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.test_starts import refused
from tests.support.process import clean_environment, die_with_parent
from tests.support.server import Server

MakeServer = Callable[..., Server]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
WAIT = 90


def until(condition: Callable[[], object], server: Server) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)


def ready(server: Server) -> list[tuple[int, int]]:
    """Number and process of all workers that ever were ready, in that order."""
    found = re.findall(r"a worker is ready worker=(\d+) pid=(\d+)", server.log)
    return [(int(number), int(pid)) for number, pid in found]


def workers(server: Server) -> dict[int, int]:
    """The latest process of each worker by its number."""
    return dict(ready(server))


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def is_taken(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


@pytest.fixture
def pair(make_server: MakeServer, database_url: str) -> Iterator[Server]:
    """Two workers that are ready."""
    server = make_server(UVICORN_WORKERS="2", DATABASE_URL=database_url, MAIN_LOG_LEVEL="DEBUG").start()
    until(lambda: len(workers(server)) == 2, server)
    yield server
    server.stop()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@on_postgresql
def test_each_answers_while_the_other_is_busy(pair: Server) -> None:
    pids = workers(pair)
    for number, other in ((1, 2), (2, 1)):
        with stopped(pids[other]):
            reply = httpx.get(
                f"{pair.url}/ready", headers={"x-request-id": f"asks-{number}"}, timeout=30, trust_env=False
            )
            assert reply.status_code == 200
        until(lambda n=number: f"request_id=asks-{n}" in pair.log, pair)
        (line,) = [line for line in pair.log.splitlines() if f"request_id=asks-{number}" in line]
        assert f" worker={number} " in line
    assert pair.log.count("oui-backend listens on") == 1


@contextlib.asynccontextmanager
async def asking(server: Server) -> AsyncIterator[list[str]]:
    """Asks over and over meanwhile, over new connections and over ones that stay open. Gives what failed."""
    failed: list[str] = []
    ended = asyncio.Event()

    async def ask(kept: int) -> None:
        limits = httpx.Limits(max_keepalive_connections=kept)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=WAIT, trust_env=False) as client:
            while not ended.is_set():
                try:
                    reply = await client.get("/ready")
                    if reply.status_code != 200:
                        failed.append(f"{reply.status_code}")
                except httpx.TransportError as error:
                    failed.append(repr(error))
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(ask(kept)) for kept in (0, 0, 1, 1)]
    try:
        yield failed
    finally:
        ended.set()
        await asyncio.gather(*tasks)


async def comes(condition: Callable[[], object], server: Server) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


@on_postgresql
async def test_one_that_is_killed_is_started_again_and_the_port_never_refuses(pair: Server) -> None:
    before = workers(pair)
    async with asking(pair) as failed:
        for again_in in (0.0, 0.5):
            pid = workers(pair)[1]
            os.kill(pid, signal.SIGKILL)
            await comes(lambda p=pid: workers(pair)[1] != p, pair)
            # Ever later, where one dies soon after its start.
            assert f"a worker ended and is started again worker=1 pid={pid} status=-9 again_in={again_in}" in pair.log
    assert workers(pair)[2] == before[2]
    assert not [error for error in failed if "ConnectError" in error]
    # What the dead ones had accepted.
    assert len(failed) <= 8


@on_postgresql
async def test_sighup_replaces_all_one_by_one_and_no_request_fails(pair: Server) -> None:
    before = workers(pair)
    async with asking(pair) as failed:
        os.kill(pair.pid, signal.SIGHUP)
        await comes(lambda: not any(map(lives, before.values())), pair)
    assert failed == []
    assert workers(pair).keys() == before.keys()
    assert not set(workers(pair).values()) & set(before.values())
    # The second's turn came when the first had been replaced.
    assert [number for number, _ in ready(pair)] == [1, 2, 1, 2]
    pids = workers(pair)
    assert pair.stop() == 0
    assert not any(map(lives, pids.values()))
    assert not is_taken(pair)


@on_postgresql
def test_a_successor_that_cannot_start_leaves_those_that_are_there(pair: Server) -> None:
    before = workers(pair)
    (pair.folder / ".env").write_text("LOG_LEVELS=nonsense\n")
    os.kill(pair.pid, signal.SIGHUP)
    until(lambda: "a new worker ended before it was ready" in pair.log, pair)
    assert workers(pair) == before
    assert all(map(lives, before.values()))
    assert pair.healthy()
    # What `.env` says now is read.
    (pair.folder / ".env").write_text("LOG_FORMAT=json\n")
    os.kill(pair.pid, signal.SIGHUP)
    until(lambda: '"worker":2' in pair.log, pair)


@on_postgresql
def test_workers_of_a_killed_supervisor_end_and_leave_the_port(pair: Server) -> None:
    pids = workers(pair)
    pair.kill()
    until(lambda: not any(map(lives, pids.values())), pair)
    assert not is_taken(pair)


@on_postgresql
def test_a_start_that_cannot_be_is_said_once(make_server: MakeServer, database_url: str) -> None:
    server = make_server(UVICORN_WORKERS="3", DATABASE_URL="postgresql://u:geheim@127.0.0.1:9/x")
    assert "can't be used" in refused(server)
    assert not is_taken(server)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--workers", "2"], {}, "Name a PostgreSQL database in DATABASE_URL"),
        ([], {"UVICORN_WORKERS": "2", "DATABASE_URL": "sqlite:///x.db"}, "Name a PostgreSQL database in DATABASE_URL"),
        (["--reload"], {"UVICORN_WORKERS": "2"}, "--reload serves with one process"),
        (
            ["--workers", "2"],
            {"DATABASE_URL": "postgresql://u@127.0.0.1:9/x", "ENABLE_WEBSOCKET_SUPPORT": "false"},
            "Sockets by long polling need one process",
        ),
        ([], {"UVICORN_WORKERS": "0"}, "UVICORN_WORKERS: Input should be greater than or equal to 1"),
        ([], {"UVICORN_WORKERS": "-3"}, "UVICORN_WORKERS: Input should be greater than or equal to 1"),
        ([], {"UVICORN_WORKERS": "many"}, "UVICORN_WORKERS: Input should be a valid integer"),
        ([], {"UVICORN_WORKERS": "1000"}, "UVICORN_WORKERS: Input should be less than or equal to 128"),
    ],
)
def test_workers_that_cannot_be_are_refused(
    make_server: MakeServer, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    server = make_server(**environment)
    assert server.launch("serve", *arguments).wait(timeout=30) == 1
    assert said in server.log
    assert "Traceback" not in server.log
    assert not (Path(server.environment["DATA_DIR"]) / "webui.db").exists()


def test_one_process_goes_on_at_a_sighup(server: Server) -> None:
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: "SIGHUP replaces workers" in server.log, server)
    assert server.healthy()
    assert server.stop() == 0


def test_a_server_ends_with_the_terminal_that_it_was_started_in(make_server: MakeServer) -> None:
    server = make_server()
    ours, theirs = pty.openpty()

    def in_terminal() -> None:
        die_with_parent()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with server.log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "open_webui.cli", "serve"], cwd=server.folder, stdin=theirs, stdout=log, stderr=log,
            env=clean_environment(server.environment), start_new_session=True, preexec_fn=in_terminal,
        )  # fmt: skip
    os.close(theirs)
    try:
        until(server.healthy, server)
        os.close(ours)
        assert process.wait(WAIT) == 0, server.log
    finally:
        process.kill()
        process.wait()
