"""The real process: it starts no engine by itself, stays responsive beside a load, and leaves no child behind."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.open_webui.llamaforge.conftest import LONG, chat, offered, until
from tests.support.live import PASSWORD
from tests.support.loop_turns import long_turns
from tests.support.server import Server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server(make_server: Callable[..., Server], gguf_files: Callable[..., Path]) -> Server:
    made = make_server(
        WEBUI_ADMIN_EMAIL="boss@example.com", WEBUI_ADMIN_PASSWORD=PASSWORD, LOCAL_MODELS_SCAN_SECONDS="0.1"
    )
    folder = made.folder / "data" / "models"
    folder.mkdir(parents=True)
    shutil.copyfile(gguf_files(LONG, endless=True), folder / "tiny.gguf")
    return made.start()


def children(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.pid).children(recursive=True)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False, verify=False) as opened:
        reply = await opened.post("/api/v1/auths/signin", json={"email": "boss@example.com", "password": PASSWORD})
        opened.headers["Authorization"] = f"Bearer {reply.json()['token']}"
        yield opened


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_however_the_server_ends_no_child_is_left(
    server: Server, client: httpx.AsyncClient, how: signal.Signals
) -> None:
    assert children(server) == []
    await offered(client, "tiny")
    assert children(server) == [], "looking at a file starts nothing"
    async with client.stream("POST", "/api/chat/completions", json=chat(stream=True)) as reply:
        lines = reply.aiter_lines()
        assert reply.status_code == 200
        assert (await anext(lines)).startswith("data: {")
        left = children(server)
        assert left
        if how == signal.SIGKILL:
            server.kill()
        else:
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            try:
                async for _ in lines:
                    pass
            except httpx.HTTPError:
                pass
            assert await stopping == 0
    _gone, alive = await asyncio.to_thread(psutil.wait_procs, left, 5)
    assert alive == []


async def long_turns_of(client: httpx.AsyncClient) -> int:
    return long_turns((await client.get("/metrics")).text, "0.25")


async def test_the_server_answers_while_a_model_loads(client: httpx.AsyncClient) -> None:
    await offered(client, "tiny")
    asked = asyncio.create_task(client.post("/api/chat/completions", json=chat(max_tokens=2)))
    before, answered = await long_turns_of(client), 0
    while not asked.done():
        assert (await client.get("/health")).status_code == 200
        answered += 1
        await asyncio.sleep(0.005)
    assert asked.result().status_code == 200
    assert answered > 5
    assert await long_turns_of(client) == before


async def test_a_client_that_goes_away_leaves_its_place(client: httpx.AsyncClient) -> None:
    await offered(client, "tiny")
    for _ in range(6):  # more than there are slots
        async with client.stream("POST", "/ollama/api/chat", json=chat()) as reply:
            arriving = reply.aiter_lines()
            await anext(arriving)
    reply = await client.post("/api/chat/completions", json=chat(max_tokens=2), timeout=10)
    assert reply.status_code == 200
    await until(client, "/api/v1/llamaforge/models/tiny", lambda a: a["slots"]["used"] == 0)
