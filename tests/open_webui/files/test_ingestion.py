"""Taking the text out of files: what is stored when, whoever dies meanwhile, and how often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.jobs.kinds import Run
from open_webui.models import documents, tables, uploads
from open_webui.models.base import new_id, now
from open_webui.models.files import NewFile
from open_webui.services import ingestion as module
from open_webui.services.ingestion import Ingestion
from open_webui.services.reading import Read
from open_webui.storage.disk import DiskStore
from tests.open_webui.jobs.world import Process, World, open_world

OWNER = "11111111-1111-1111-1111-111111111111"
LONG = "\n\n".join(f"# Part {k}\n\n" + f"Sentence {k} about pears. " * 30 for k in range(60))


class Emitter:
    """Notes what owners hear."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    async def to_users(self, _users: Any, name: str, payload: dict[str, Any]) -> None:
        assert name == "file:status"
        self.told.append(payload)


class Place:
    """Files of one person, and processes that read them."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.blobs = DiskStore(settings.data_dir / "blobs")
        self.config = Config()
        self.emitter = Emitter()

    async def process(self) -> tuple[Process, Ingestion]:
        process = Process(self.world, [])
        self.world.processes.append(process)
        deps = SimpleNamespace(
            database=process.mortal, blobs=self.blobs, config=self.config, http=None, readers=None, emitter=self.emitter
        )
        ingestion = Ingestion(deps, process.queue, process.bus)  # type: ignore[arg-type]  # as the state
        process.queue.add(ingestion.kind)
        await process.begin()
        return process, ingestion

    async def put(self, ingestion: Ingestion, text: str, name: str = "notes.md") -> str:
        stored = await self.blobs.put(text.encode())
        new = NewFile(new_id(), name, stored.hash, stored.size, "text/plain; charset=utf-8", embedded=False)
        async with self.world.database.write() as unit:
            await uploads.insert(unit.connection, OWNER, new, {"name": name}, "pending")
            await ingestion.enqueue(unit, new.id)
        return new.id

    async def file(self, file_id: str) -> uploads.Upload:
        async with self.world.database.read() as connection:
            found = await uploads.by_id(connection, file_id)
        assert found is not None
        return found

    async def check_whole(self, *file_ids: str) -> None:
        """Each file has one document that can be found, with all its chunks."""
        async with self.world.database.read() as connection:
            count = sa.select(sa.func.count()).select_from(tables.document)
            assert await connection.scalar(count.where(tables.document.c.file_id.is_not(None))) == len(file_ids)
            found = await documents.of_files(connection, file_ids)
            for document in found.values():
                chunks = await documents.chunks_of(connection, document.n)
                assert [c.n & 0xFFFF for c in chunks] == list(range(document.chunks))
        assert found.keys() == set(file_ids)
        for file_id in file_ids:
            file = await self.file(file_id)
            assert (file.status, file.hash) == ("completed", found[file_id].hash)

    async def clear(self) -> None:
        await self.world.clear()
        self.emitter.told.clear()
        async with self.world.database.write() as unit:
            for table in (tables.document, tables.file):
                await unit.connection.execute(table.delete())


@pytest.fixture
async def place(settings: Settings) -> AsyncIterator[Place]:
    async with open_world(settings) as world:
        async with world.database.write() as unit:
            columns = {c.name: c for c in tables.user.c if not c.nullable and c.server_default is None}
            given = {"id": OWNER, "role": "user", "name": "N", "email": "n@example.com"}
            row = {n: given.get(n, now() if isinstance(c.type, sa.Integer) else "") for n, c in columns.items()}
            await unit.connection.execute(tables.user.insert().values(row))
        yield Place(world, settings)


async def test_a_file_is_read_and_its_owner_told(place: Place) -> None:
    process, ingestion = await place.process()
    file_id = await place.put(ingestion, "# Title\n\nSome words.")
    await process.go()
    await place.check_whole(file_id)
    assert place.emitter.told == [{"id": file_id, "name": "notes.md", "status": "completed"}]
    assert await place.world.rows() == [], "a job that is done goes at once"


@pytest.mark.parametrize("text", ["# Title\n\nSome words.", LONG], ids=["short", "long"])
async def test_killed_at_each_step_it_goes_on(place: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PORTION", 20)
    monkeypatch.setattr(module, "LARGE", 1_000)
    steps = 0
    while True:
        process, ingestion = await place.process()
        file_id = await place.put(ingestion, text)
        steps += 1
        process.mortal.dies_at = steps + process.mortal.steps
        with contextlib.suppress(OSError):
            await process.go()
        was_killed = process.mortal.is_dead
        await process.kill()
        await place.world.wait_for_leases()
        second, _ = await place.process()
        await second.go()
        await place.check_whole(file_id)
        assert [t["status"] for t in place.emitter.told][-1] == "completed"
        await place.clear()
        if not was_killed:
            break
    assert steps > 4


async def test_two_processes_share_the_files(place: Place) -> None:
    (first, ingestion), (second, _) = await place.process(), await place.process()
    ids = [await place.put(ingestion, f"File number {k}.", f"{k}.txt") for k in range(30)]
    await asyncio.gather(first.go(), second.go())
    while await place.world.rows():
        await asyncio.gather(first.go(), second.go())
    await place.check_whole(*ids)
    assert sorted(t["id"] for t in place.emitter.told) == sorted(ids)


async def test_a_text_that_is_edited_meanwhile_is_the_one_that_stays(place: Place) -> None:
    process, ingestion = await place.process()
    file_id = await place.put(ingestion, "The old words.")
    edited = await place.blobs.put(b"The new words.")
    take_out = ingestion._take_out

    async def slow(run: Run, upload: uploads.Upload) -> Read:
        out = await take_out(run, upload)
        if upload.hash is None:
            async with place.world.database.write() as unit:
                await uploads.change(unit.connection, file_id, hash=edited.hash, status="pending", data={})
                await ingestion.enqueue(unit, file_id)
        return out

    ingestion._take_out = slow  # type: ignore[method-assign]
    await process.go()
    await place.check_whole(file_id)
    assert (await place.file(file_id)).hash == edited.hash
    async with place.world.database.read() as connection:
        assert list(await connection.scalars(sa.select(tables.chunk.c.text))) == ["The new words."]


async def test_a_file_that_is_deleted_meanwhile_leaves_nothing(place: Place) -> None:
    process, ingestion = await place.process()
    file_id = await place.put(ingestion, LONG)
    take_out = ingestion._take_out

    async def slow(run: Run, upload: uploads.Upload) -> Read:
        async with place.world.database.write() as unit:
            await uploads.delete(unit.connection, [file_id])
        return await take_out(run, upload)

    ingestion._take_out = slow  # type: ignore[method-assign]
    await process.go()
    async with place.world.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.chunk)) == 0
    assert place.emitter.told == []


@pytest.mark.parametrize("data", ["", " \n", "\x00\x01\x02\x03" * 200])
async def test_what_has_no_text_fails_at_once_and_says_why(place: Place, data: str) -> None:
    process, ingestion = await place.process()
    file_id = await place.put(ingestion, data, "notes.bin")
    await process.go()
    file = await place.file(file_id)
    assert file.status == "failed"
    assert file.data["error"].startswith("'notes.bin' ")
    (job,) = await place.world.rows()
    assert (job.state, job.attempts, job.error) == ("failed", 1, file.data["error"])
    assert place.emitter.told[-1]["error"] == file.data["error"]


async def test_a_store_that_is_away_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    process, ingestion = await place.process()
    file_id = await place.put(ingestion, "Some words.")
    away = True
    read = place.blobs.read

    async def maybe(*args: Any) -> AsyncIterator[bytes]:
        if away:
            raise Unavailable("Files can't be read at the moment.")
        async for piece in read(*args):
            yield piece

    monkeypatch.setattr(place.blobs, "read", maybe)
    await process.go()
    assert (await place.file(file_id)).status == "pending"
    for _ in range(3):
        place.world.advance(400)
        await process.go()
    file = await place.file(file_id)
    assert (file.status, file.data) == ("failed", {"error": "Files can't be read at the moment."})
    away = False
    (job,) = await place.world.rows()
    await process.queue.retry(job.id)
    await process.go()
    await place.check_whole(file_id)
    assert "error" not in (await place.file(file_id)).data
