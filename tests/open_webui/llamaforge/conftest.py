"""A server with a folder of models, and real engines that run them. `pace`: how often it looks at the folder."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.env import Settings
from tests.support import live as people
from tests.support import tiny_gguf
from tests.support.live import Actor, Live

SAYS = "Hello from a model of this very machine."
LONG = " ".join(f"word{number}" for number in range(400))


@pytest.fixture
def database_kind() -> str:
    """Only what is stored depends on it; test_stored.py says so."""
    return "sqlite"


@pytest.fixture(scope="session")
def gguf_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes files that say a text; each is written once a run."""
    folder = tmp_path_factory.mktemp("gguf")
    made: dict[str, Path] = {}

    def file(says: str = SAYS, **others: Any) -> Path:
        key = repr((says, others))
        if key not in made:
            made[key] = tiny_gguf.write_gguf(folder / f"{len(made)}.gguf", says=says, **others)
        return made[key]

    return file


@pytest.fixture
def folder(settings: Settings) -> Path:
    """DATA_DIR/models."""
    made = settings.data_dir / "models"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def put(folder: Path, gguf_files: Callable[..., Path]) -> Callable[..., Path]:
    """Drops a model that says a text into the folder, all at once as a move does."""

    def drop(name: str = "tiny.gguf", says: str = SAYS, **others: Any) -> Path:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = place.with_name(f".{place.name}")
        shutil.copyfile(gguf_files(says, **others), whole)
        return whole.rename(place)

    return drop


@pytest.fixture
async def local(make_live: Callable[..., Awaitable[Live]], folder: Path) -> Live:
    """The application with nothing but this machine's models."""
    return await make_live(local_models_scan_seconds=0.1, local_models_slots=1)


@pytest.fixture
async def boss(local: Live) -> AsyncIterator[Actor]:
    """An administrator of `local`."""
    actor = await people.sign_up(local, "Boss One")
    async with actor.client:
        yield actor


async def until(client: httpx.AsyncClient, path: str, holds: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Asks again and again until the answer is as wanted."""
    answer: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = (await client.get(path)).json()
                if holds(answer):
                    return answer
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"waited in vain; the last answer was {answer}") from None


async def offered(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Waits until a model can be asked."""
    listed = await until(client, "/api/models", lambda a: any(m["id"] == name for m in a["data"]))
    found: dict[str, Any] = next(m for m in listed["data"] if m["id"] == name)
    return found


async def state(client: httpx.AsyncClient, name: str, *wanted: str) -> dict[str, Any]:
    """Waits until a model is in one of these states."""
    path = f"/api/v1/llamaforge/models/{name}"
    found: dict[str, Any] = await until(client, path, lambda a: a.get("state") in wanted)
    return found


def chat(model: str = "tiny", text: str = "Hi", **fields: Any) -> dict[str, Any]:
    """The body of an API client's chat."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}


def pids(live: Live) -> list[int]:
    """The processes of models."""
    return [s.pid for s in live.app.state.oui.local_models.status().values() if s.pid is not None]
