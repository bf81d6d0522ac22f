"""A collection beside what puts and uses the same files, in this process or another one: no use without its bytes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services import files
from open_webui.storage.disk import DiskStore
from tests.open_webui.files.test_content import stored
from tests.support.interleaving import both
from tests.support.live import Actor, Live
from tests.support.pictures import chat, picture, png, question
from tests.support.process import clean_environment, die_with_parent

STOPS = range(4)
# What runs beside: a collection that looks for what was put before 1970 and a bit.
COLLECTOR = """
import asyncio, sys
from pathlib import Path
from open_webui.storage.disk import DiskStore

async def collect():
    store = DiskStore(Path(sys.argv[1]))
    while True:
        async for keys in store.untouched(1000):
            for key in keys:
                print(await store.delete(key, 1000), flush=True)

asyncio.run(collect())
"""


async def forgotten(live: Live, user: Actor) -> str:
    """A file that nothing has used for a long time: its address."""
    state = live.app.state.oui
    made = await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture()))})
    entry = made.json()["chat"]["history"]["messages"]["q"]["files"][0]
    assert (await user.client.delete(f"/api/v1/chats/{made.json()['id']}")).status_code == 200
    async with state.database.write() as unit:
        await unit.connection.execute(tables.file.update().values(updated_at=1))
        await unit.connection.execute(tables.blob.update().values(touched_at=1))
    for path in live.settings.data_dir.glob("blobs/??/??/*"):
        os.utime(path, (1, 1))
    return str(entry["url"])


async def check(live: Live, user: Actor) -> None:
    """Whatever is used is there, and nothing is there that the next collection would not find."""
    state = live.app.state.oui
    async with state.database.read() as connection:
        used = list(await connection.scalars(sa.select(tables.file_use.c.file_id).distinct()))
    for file_id in used:
        reply = await user.client.get(f"/api/v1/files/{file_id}/content")
        assert (reply.status_code, reply.content) == (200, png())
    await files.collect(state, grace=-10)
    kept = list(live.settings.data_dir.glob("blobs/??/??/*"))
    assert len(kept) == bool(used)


def of(live: Live, user: Actor, file_id: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    state = live.app.state.oui

    async def use() -> None:
        body = chat(question(f"/api/v1/files/{file_id}/content"))
        assert (await user.client.post("/api/v1/chats/new", json={"chat": body})).status_code == 200

    async def put() -> None:
        await stored(user, picture())

    return {"use": use, "put": put, "collect": lambda: files.collect(state)}


@pytest.mark.parametrize("stop_at", STOPS)
@pytest.mark.parametrize("other", ["use", "put", "collect"])
@pytest.mark.parametrize("collection_first", [True, False])
async def test_a_collection_beside(live: Live, user: Actor, other: str, stop_at: int, collection_first: bool) -> None:
    works = of(live, user, await forgotten(live, user))
    pair = works["collect"], works[other]
    first, second = pair if collection_first else pair[::-1]
    for result in await both(live.app.state.oui.database, first, second, stop_at):
        if isinstance(result, BaseException):
            raise result
    await check(live, user)


@pytest.mark.fault
async def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    """What a put returned for is there, although another process was just about to remove it."""
    store = DiskStore(tmp_path / "blobs")
    beside = subprocess.Popen(  # noqa: ASYNC220 - it must end with the test, also a killed one
        [sys.executable, "-c", COLLECTOR, str(tmp_path / "blobs")],
        env=clean_environment(), stdout=subprocess.PIPE, preexec_fn=die_with_parent,
    )  # fmt: skip
    assert beside.stdout is not None
    try:
        for k in range(150):
            content = f"{k % 5}".encode()
            kept = await store.put(content)
            path = tmp_path / "blobs" / kept.hash[:2] / kept.hash[2:4] / kept.hash
            os.utime(path, (1, 1))
            if k == 0:
                assert await asyncio.to_thread(beside.stdout.readline) == b"True\n", "it removes what is old"
            await store.put(content)
            assert path.read_bytes() == content
    finally:
        beside.kill()
        beside.communicate()
