"""kill -9 in each stage of speech: recordings become documents once, what was heard stays heard, and no process is left."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from open_webui.models.uploads import UNREAD
from tests.faults.conftest import FORM
from tests.support import real_whisper, spoken
from tests.support.process import ROOT
from tests.support.server import Server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600), pytest.mark.xdist_group("audio-worker")]
FIRST, LAST = "Tomorrow we will meet at the station.", "The garden is full of yellow flowers."
TEXT = {"input": "The boats are out.", "voice": "en-us", "response_format": "wav"}


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    made = make_server(WHISPER_MODEL=str(real_whisper.folder()), PYTHONPATH=f"{ROOT / 'src'}:{ROOT}")
    made.module = "tests.support.halting_server"
    made.environment["OUI_HALT"] = str(made.folder / "halt")
    return made


@asynccontextmanager
async def signed_in(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever asks, in a server that is started."""
    await asyncio.to_thread(server.start)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        reply = await http.post("/api/v1/auths/signin", json=FORM)
        if reply.status_code != 200:
            reply = await http.post("/api/v1/auths/signup", json=FORM)
        http.headers["Authorization"] = f"Bearer {reply.json()['token']}"
        yield http


def children(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.pid).children(recursive=True)


async def killed_at(server: Server, stage: str, call: int, asking: "asyncio.Task[Any]") -> None:
    """Kills the server once it stands still there, and waits until none of its processes is left."""
    halt = server.folder / "halt"
    async with asyncio.timeout(120):
        while not halt.read_text().endswith("halted"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    left = children(server)
    server.kill()
    halt.write_text("")
    await asyncio.gather(asking, return_exceptions=True)
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, 30)
    assert alive == [], stage


async def uploaded(http: httpx.AsyncClient, data: bytes) -> str:
    reply = await http.post("/api/v1/files/", files={"file": ("talk.wav", data, "audio/wav")})
    assert reply.status_code == 200, reply.text
    file_id: str = reply.json()["id"]
    return file_id


def rows(server: Server, statement: str) -> list[Any]:
    with closing(sqlite3.connect(server.folder / "data" / "webui.db")) as database:
        return database.execute(statement).fetchall()


async def transcript(http: httpx.AsyncClient, file_id: str) -> str:
    async with asyncio.timeout(120):
        while (await http.get(f"/api/v1/files/{file_id}/process/status")).json()["status"] in UNREAD:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    text: str = (await http.get(f"/api/v1/files/{file_id}/data/content")).json()["content"]
    return text


async def test_killed_in_each_stage_of_a_recording(server: Server) -> None:
    data = spoken.recording(FIRST, 310, LAST)
    halt = server.folder / "halt"
    count = 0
    for stage, call in (("upload", 3), ("fetch", 1), ("listen", 1), ("listen", 2), ("heard", 1), ("heard", 2),
                        ("transcript", 1), ("written", 1)):  # fmt: skip
        async with signed_in(server) as http:
            halt.write_text(f"{stage} {call}")
            await killed_at(server, stage, call, asyncio.create_task(uploaded(http, data), name=stage))
        kept = rows(server, "SELECT data FROM file WHERE status != 'completed'")
        assert len(kept) == (stage != "upload"), stage
        # The first piece ends where it is silent; it is there before the second is begun.
        sofar = json.loads(kept[0][0]).get("heard") if kept else None
        before = {("upload", 3), ("fetch", 1), ("listen", 1), ("heard", 1)}
        assert bool(sofar) == ((stage, call) not in before), (stage, call)
        count += len(kept)
        async with signed_in(server) as http:
            for (file_id,) in rows(server, "SELECT id FROM file"):
                text = await transcript(http, file_id)
                assert "station" in text, (stage, call)
                assert "yellow flowers" in text, (stage, call)
            left = children(server)
            server.stop()
            _, alive = await asyncio.to_thread(psutil.wait_procs, left, 30)
            assert alive == []
        assert rows(server, "SELECT count(*), count(DISTINCT file_id) FROM document") == [(count, count)]
        assert rows(server, "SELECT count(*) FROM file WHERE data LIKE '%heard%'") == [(0,)]
    assert "Traceback" not in server.log


async def test_killed_while_something_is_spoken_or_remembered(server: Server) -> None:
    halt = server.folder / "halt"
    async with signed_in(server) as http:
        whole = (await http.post("/api/v1/audio/speech", json=TEXT)).content
        server.stop()
    assert whole[:4] == b"RIFF"
    # The second that the program is asked, the first is the list of its voices.
    for stage, call in (("spoken", 2), ("cached", 1)):
        async with signed_in(server) as http:
            halt.write_text(f"{stage} {call}")
            asking = asyncio.create_task(http.post("/api/v1/audio/speech", json=TEXT), name=stage)
            await killed_at(server, stage, call, asking)
        async with signed_in(server) as http:
            for _ in range(2):
                again = await http.post("/api/v1/audio/speech", json=TEXT)
                assert (again.status_code, again.content) == (200, whole), stage
            server.stop()
    blobs = [path for path in (Path(server.environment["DATA_DIR"]) / "blobs").rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in blobs if path.name != "lock" and path.parent.name != "new"} == {whole}
