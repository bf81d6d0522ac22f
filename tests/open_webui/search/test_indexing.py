"""The job that embeds: all documents, each text once, also after a crash and beside the vectors of an earlier model."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.db import Database, open_database
from open_webui.jobs.queue import Queue
from open_webui.jobs.runner import Runner
from open_webui.models import tables, vectors
from open_webui.retrieval.vector.packed import PackedIndex
from open_webui.services.indexing import Indexing
from tests.support import library
from tests.support.fake_embedder import FakeEmbedder
from tests.support.live import Actor, Live


class Engines:
    def __init__(self) -> None:
        self.index = PackedIndex()
        self.engine: FakeEmbedder | None = FakeEmbedder()

    def embedder(self) -> FakeEmbedder | None:
        return self.engine


class Process:
    """What runs jobs, over a database."""

    def __init__(self, database: Database, engines: Engines) -> None:
        self.database = database
        self.queue = Queue(database, MemoryBus())
        self.indexing = Indexing(database, self.queue, engines)
        self.runner = Runner(self.queue, (self.indexing.kind,))

    async def embed(self) -> None:
        """Has all embedded, and waits for it."""
        async with self.database.write() as unit:
            await self.indexing.enqueue(unit)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(600):
            async with self.database.read() as connection:
                states = set(await connection.scalars(sa.select(tables.job.c.state)))
            if not states & {"waiting", "running"}:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(states)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = open_database(settings)
    async with opened.write() as unit:
        await library.person(unit.connection, "ann")
        for n in range(3):
            await library.file(unit.connection, "ann", f"f{n}", [f"text {n}", "the same in all", f"end {n}"])
        await library.base(unit.connection, "ann", "k", ["f0", "f1"])
    yield opened
    await opened.close()


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
async def process(database: Database, engines: Engines) -> AsyncIterator[Process]:
    made = Process(database, engines)
    await made.runner.open()
    yield made
    await made.runner.close()


async def stored(database: Database) -> list[tuple[str, bool, int]]:
    """Of each model: whether it is active, and how many documents have its vectors."""
    async with database.read() as connection:
        return [
            (m.signature, m.is_active, (await vectors.progress(connection, m.n))[0])
            for m in await vectors.every(connection)
        ]


async def test_all_is_embedded_each_text_once(process: Process, engines: Engines) -> None:
    await process.embed()
    assert await stored(process.database) == [("fake", True, 3)]
    assert engines.engine is not None
    assert sorted(engines.engine.asked) == sorted(
        ["the same in all", *(f"{w} {n}" for w in ("text", "end") for n in range(3))]
    )
    async with process.database.write() as unit:
        assert await unit.connection.scalar(sa.select(tables.knowledge.c.revision)) == 3
        await library.document(unit.connection, ["text 0", "new"], file_id="f0")
        await process.indexing.enqueue(unit)
    await process.settled()
    assert engines.engine.asked[-1] == "new"
    assert engines.engine.asked.count("text 0") == 2 - ("text 0" not in engines.engine.asked[7:])
    assert await stored(process.database) == [("fake", True, 3)]


async def test_without_an_engine_nothing_is_put_in(process: Process, engines: Engines) -> None:
    engines.engine = None
    await process.embed()
    assert await stored(process.database) == []


async def test_another_model_takes_over_when_it_is_whole(process: Process, engines: Engines) -> None:
    await process.embed()
    fails = asyncio.Event()

    class Halting(FakeEmbedder):
        async def embed(self, texts: Any, *, query: bool = False) -> list[bytes]:
            if len(self.asked) >= 3 and not fails.is_set():
                raise Unavailable("The engine is away.")
            return await super().embed(texts, query=query)

    engines.engine = Halting("new", 8)
    async with process.database.write() as unit:
        await process.indexing.enqueue(unit)
    for _ in range(200):
        if await stored(process.database) == [("fake", True, 3), ("new", False, 1)]:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(await stored(process.database))
    fails.set()
    async with process.database.write() as unit:
        await unit.connection.execute(tables.job.update().values(due_at=0))
    await process.runner.close()
    again = Process(process.database, engines)
    await again.runner.open()
    await again.settled()
    await again.runner.close()
    assert await stored(process.database) == [("new", True, 3)]
    # What had its vectors was not embedded again.
    assert sorted(engines.engine.asked).count("text 0") == 1


async def test_documents_that_go_meanwhile_stop_nothing(process: Process, engines: Engines) -> None:
    database = process.database

    class Slow(FakeEmbedder):
        async def embed(self, texts: Any, *, query: bool = False) -> list[bytes]:
            async with database.write() as unit:
                await unit.connection.execute(tables.file.delete().where(tables.file.c.id == "f1"))
            return await super().embed(texts, query=query)

    engines.engine = Slow()
    await process.embed()
    assert await stored(database) == [("fake", True, 2)]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_what_commits_while_the_job_ends_is_not_left_behind(process: Process, engines: Engines) -> None:
    """A document is stored, its job is that which runs, and this one looks for the last time before the commit."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Gated(FakeEmbedder):
        async def embed(self, texts: Any, *, query: bool = False) -> list[bytes]:
            begun.set()
            await go_on.wait()
            return await super().embed(texts, query=query)

    engines.engine = Gated()
    database = process.database
    async with database.write() as unit:
        await process.indexing.enqueue(unit)
    await begun.wait()
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "late", ["a text that is late"])
        await process.indexing.enqueue(unit)
        go_on.set()
        # Until the job is over, or waits for this unit.
        for _ in range(600):
            async with database.read() as connection:
                is_over = not set(await connection.scalars(sa.select(tables.job.c.state))) & {"waiting", "running"}
            if is_over or await unit.connection.scalar(waits):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("It neither ended nor waited.")
    await process.settled()
    assert await stored(database) == [("fake", True, 4)]


async def test_an_uploaded_file_is_embedded_and_again_by_another_model(live: Live, admin: Actor) -> None:
    state = live.app.state.oui
    engine = FakeEmbedder()
    state.retrieval.embedder = lambda: engine
    given = {"file": ("notes.md", b"# Quokkas\n\nThey smile at tourists.", "text/markdown")}
    uploaded = (await admin.client.post("/api/v1/files/", files=given)).json()
    for signature in ("fake", "another"):
        for _ in range(1_200):
            if await stored(state.database) == [(signature, True, 1)]:
                break
            await asyncio.sleep(0.05)
        assert await stored(state.database) == [(signature, True, 1)]
        engine = FakeEmbedder("another")
        await state.indexing.changed()
    assert (await admin.client.get(f"/api/v1/files/{uploaded['id']}")).json()["data"]["status"] == "completed"
