"""Two servers with one data folder and one PostgreSQL database: one runs the models for both, and when it dies the other does."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.open_webui.llamaforge.conftest import LONG, chat, offered, until
from tests.support.live import PASSWORD
from tests.support.server import Server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]
TINY = "/api/v1/llamaforge/models/tiny"


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@pytest.fixture
def pair(
    make_server: Callable[..., Server], gguf_files: Callable[..., Path], database_url: str, tmp_path: Path
) -> tuple[Server, Server]:
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    shutil.copyfile(gguf_files(LONG, endless=True), folder / "tiny.gguf")
    one, two = (
        make_server(
            DATA_DIR=str(folder.parent), DATABASE_URL=database_url, LOCAL_MODELS_SCAN_SECONDS="0.1", LOCAL_MODELS_SLOTS="1",
            WEBUI_ADMIN_EMAIL="boss@example.com", WEBUI_ADMIN_PASSWORD=PASSWORD,
        )
        for _ in range(2)
    )  # fmt: skip
    return one.start(), two.start()


@asynccontextmanager
async def boss(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        form = {"email": "boss@example.com", "password": PASSWORD}
        token = (await client.post("/api/v1/auths/signin", json=form)).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        await offered(client, "tiny")
        yield client


def engines(server: Server) -> list[int]:
    children = psutil.Process(server.pid).children(recursive=True)
    return [child.pid for child in children if "llamaforge.worker" in " ".join(child.cmdline())]


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def rest_of(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines if line]


async def test_one_runs_the_models_and_the_other_takes_over(pair: tuple[Server, Server]) -> None:
    one, two = pair
    async with AsyncExitStack() as stack:
        at_one = await stack.enter_async_context(boss(one))
        assert (await at_one.post("/api/chat/completions", json=chat(max_tokens=2))).status_code == 200
        (engine,) = engines(one)

        # The other asks there, and gives its place back when it is killed.
        stream = ("POST", "/api/chat/completions")
        async with boss(two) as at_two, at_two.stream(*stream, json=chat(stream=True)) as reply:
            lines = reply.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            await until(at_one, TINY, lambda a: a["slots"]["used"] == 1)
            seen = (await at_two.get(TINY)).json()
            assert (seen["state"], seen["slots"]["used"]) == ("loaded", 1)
            assert (engines(one), engines(two)) == ([engine], [])
            two.kill()
            with pytest.raises(httpx.TransportError):
                await rest_of(lines)
        await until(at_one, TINY, lambda a: a["slots"]["used"] == 0)
        assert engines(one) == [engine]

        # The owner is killed under an answer: that ends with a sentence, and the next question loads the model anew.
        two.start()
        at_two = await stack.enter_async_context(boss(two))
        async with at_two.stream(*stream, json=chat(stream=True)) as reply:
            lines = reply.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            one.kill()
            rest = await rest_of(lines)
        assert "The process of the server that ran the model 'tiny' has ended." in rest[-1] + rest[-2]
        answered = await at_two.post("/api/chat/completions", json=chat(max_tokens=2))
        assert answered.status_code == 200, answered.text
        assert len(engines(two)) == 1
        assert not lives(engine)
