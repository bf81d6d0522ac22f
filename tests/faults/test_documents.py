"""Documents and kill -9: whatever a file is in the middle of, it is read, found and indexed once when the server is back."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from aiohttp import web

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.models import tables
from tests.faults.conftest import FORM
from tests.support.documents import pdf
from tests.support.fake_embedder import FakeEmbedder
from tests.support.halting_server import STAGES
from tests.support.process import ROOT
from tests.support.server import Server
from tests.support.service import Asked, Service, a_service

MakeServer = Callable[..., Server]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
# Words of a file that is put into the index in several transactions.
MANY = 40_000
ROUNDS = 8
TREES = "maple birch cedar aspen hazel alder rowan beech".split()
SEED = 20_261_129


def text(name: str, words: int = 5) -> bytes:
    """A file in which a word stands that no other has, at its beginning alone."""
    return f"# Of {name}\n\n{name} is here.\n\n{'pears ' * words}".encode()


class Embedding:
    """A provider of embeddings; `asked` counts the texts."""

    def __init__(self, service: Service) -> None:
        self.url = f"{service.url}/v1"
        self.asked: Counter[str] = Counter()
        self._embedder = FakeEmbedder()
        service.answer = self._answer

    async def _answer(self, asked: Asked) -> web.Response:
        self.asked.update(asked.json["input"])
        vectors = await self._embedder.embed(asked.json["input"])
        listed = [memoryview(vector).cast("f").tolist() for vector in vectors]
        return web.json_response({"data": [{"index": n, "embedding": v} for n, v in enumerate(listed)]})


class Reader:
    """Somebody who fills a knowledge base, and asks it, at one server or another."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.knowledge_id = ""
        self.token = ""
        self.names: set[str] = set()

    async def begin(self, server: Server) -> None:
        reply = await self.request(server, "POST", "/api/v1/auths/signup", json=FORM)
        self.token = reply["token"]
        form = {"name": "Base", "description": "", "access_control": None}
        self.knowledge_id = (await self.request(server, "POST", "/api/v1/knowledge/create", json=form))["id"]

    async def request(self, server: Server, method: str, path: str, **options: Any) -> Any:
        """What it answers. Raises httpx.TransportError where it is killed meanwhile."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False, headers=headers) as client:
            reply = await client.request(method, path, **options)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def put(self, server: Server, name: str, data: bytes | None = None, kind: str = "text/markdown") -> None:
        form = {"metadata": f'{{"knowledge_id": "{self.knowledge_id}"}}'}
        given = {"file": (name, text(name) if data is None else data, kind)}
        await self.request(server, "POST", "/api/v1/files/", files=given, data=form)
        self.names.add(name)

    async def ready(self, server: Server) -> None:
        """Waits until all there is has been read and embedded."""
        async with asyncio.timeout(300):
            while True:
                listed = await self.listed(server)
                # A list says nothing of one that is read.
                waiting = [file["data"] for file in listed if file["data"] is not None]
                assert all(data["status"] != "failed" for data in waiting), waiting
                state = await self.request(server, "GET", "/api/v1/retrieval/state")
                if not waiting and len(listed) >= len(self.names) and state["embedded"] == state["documents"]:
                    return
                await asyncio.sleep(0.1)

    async def listed(self, server: Server) -> list[dict[str, Any]]:
        """The files of the base, also those that are not read yet."""
        path = f"/api/v1/knowledge/{self.knowledge_id}"
        out = list(await self.request(server, "GET", f"{path}/files/pending"))
        page = 1
        while items := (await self.request(server, "GET", f"{path}/files?page={page}"))["items"]:
            out += items
            page += 1
        return list({file["id"]: file for file in out}.values())

    async def check(self, server: Server) -> None:
        """Each file is there once, is found by its word and its vector once, and has all its pieces once."""
        await self.ready(server)
        assert {file["filename"] for file in await self.listed(server)} >= self.names
        for name in sorted(self.names):
            for hybrid in (True, False):
                asked = {"collection_names": [self.knowledge_id], "query": name, "k": 50, "hybrid": hybrid}
                found = await self.request(server, "POST", "/api/v1/retrieval/query/collection", json=asked)
                of = [m["name"] for m, t in zip(found["metadatas"][0], found["documents"][0], strict=True) if name in t]
                assert of == [name], (name, hybrid)
        await self._check_rows()

    async def _check_rows(self) -> None:
        database = open_database(self._settings)
        document, chunk, vector = tables.document, tables.chunk, tables.document_vectors
        try:
            async with database.read() as connection:
                files = list(await connection.scalars(sa.select(tables.file.c.id)))
                of = list(await connection.execute(
                    sa.select(document.c.file_id, document.c.chunks, sa.func.count(chunk.c.n.distinct()))
                    .join(chunk, chunk.c.document_n == document.c.n)
                    .where(document.c.file_id.is_not(None)).group_by(document.c.n)
                ))  # fmt: skip
                vectors = list(await connection.scalars(
                    sa.select(sa.func.count()).select_from(document).outerjoin(vector, vector.c.document_n == document.c.n)
                    .where(document.c.file_id.is_not(None)).group_by(document.c.n)
                ))  # fmt: skip
                unread = await connection.scalar(
                    sa.select(sa.func.count()).where(
                        tables.job.c.state.not_in(["done"]), tables.job.c.kind == "read a file"
                    )
                )
        finally:
            await database.close()
        assert sorted(row.file_id for row in of) == sorted(files)
        assert [row for row in of if row[1] != row[2]] == []
        assert vectors == [1] * len(files)
        assert unread == 0


@pytest.fixture
async def embedding() -> AsyncIterator[Embedding]:
    async with a_service() as service:
        yield Embedding(service)


@pytest.fixture
def make_reading(
    make_server: MakeServer, database_url: str, settings: Settings, embedding: Embedding
) -> Callable[[], tuple[Server, Path]]:
    """Makes servers on one database and one folder, each with the file that says where it halts."""

    def make() -> tuple[Server, Path]:
        made = make_server(
            DATABASE_URL=database_url, DATA_DIR=str(settings.data_dir), RAG_EMBEDDING_ENGINE="openai",
            RAG_OPENAI_API_BASE_URL=embedding.url, RAG_OPENAI_API_KEY="sk-embedding", RAG_EMBEDDING_MODEL="words",
            CHUNK_SIZE="200", CHUNK_OVERLAP="0", PYTHONPATH=f"{ROOT / 'src'}:{ROOT}",
        )  # fmt: skip
        halt = made.folder / "halt"
        made.environment["OUI_HALT"] = str(halt)
        made.module = "tests.support.halting_server"
        return made, halt

    return make


MakeReading = Callable[[], tuple[Server, Path]]


def say(halt: Path, text: str) -> None:
    halt.write_text(text)


def said(halt: Path) -> str:
    return halt.read_text()


@asynccontextmanager
async def killed(server: Server, halt: Path, stage: str, call: int) -> AsyncIterator[list[Awaitable[None]]]:
    """What is put into the list is awaited until the process stands still in that stage; it is killed then."""
    say(halt, f"{stage} {call}")
    unanswered: list[Awaitable[None]] = []
    yield unanswered
    waiting = asyncio.gather(*unanswered, return_exceptions=True)
    async with asyncio.timeout(120):
        while not said(halt).endswith("halted"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    server.kill()
    say(halt, "")
    await waiting


async def test_killed_in_each_stage(make_reading: MakeReading, settings: Settings) -> None:
    server, halt = make_reading()
    reader = Reader(settings)
    await asyncio.to_thread(server.start)
    await reader.begin(server)
    for stage in STAGES:
        # Each is once a file, but that the pieces of the long one come in portions: the fourth call has its second.
        async with killed(server, halt, stage, 4 if stage == "portion" else 3) as unanswered:
            for number in range(2):
                await reader.put(server, f"{stage}{number}")
            last = f"{stage}last"
            unanswered.append(reader.put(server, last, text(last, MANY * (stage == "portion"))))
        await asyncio.to_thread(server.start)
        # The third call says that the last file was stored, whether or not its upload was answered.
        reader.names.add(last)
        await reader.ready(server)
    await reader.check(server)
    assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_random_moments(make_reading: MakeReading, settings: Settings) -> None:
    pytest.importorskip("kreuzberg")
    moments = random.Random(SEED)
    server, _ = make_reading()
    reader = Reader(settings)
    await asyncio.to_thread(server.start)
    await reader.begin(server)
    for number in range(ROUNDS):
        await reader.put(server, f"note{number}")
        await reader.put(server, f"book{number}", text(f"book{number}", MANY))
        # What has few words is read from its picture, where a 0 may become an O.
        name = f"paper{TREES[number]}"
        pages = [[f"{name} is here."], ["Pears grow."]]
        await reader.put(server, name, pdf(pages), "application/pdf")
        await asyncio.sleep(moments.uniform(0.0, 1.5))
        server.kill()
        await asyncio.to_thread(server.start)
        if number % 3 == 2:
            await reader.ready(server)
    await reader.check(server)


@pytest.mark.parametrize("is_killed", [False, True], ids=["both live", "one is killed"])
@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_two_processes_fill_one_base(
    make_reading: MakeReading, settings: Settings, embedding: Embedding, *, is_killed: bool
) -> None:
    (first, halt), (second, _) = make_reading(), make_reading()
    if not is_killed:
        # A machine that stands still for a moment is no death.
        for server in (first, second):
            server.environment["OUI_LEASE"] = "20"
    reader = Reader(settings)
    for server in (first, second):
        await asyncio.to_thread(server.start)
    await reader.begin(first)
    files = [f"file{number:03}" for number in range(20)]

    async def fill(server: Server, names: list[str]) -> None:
        for name in names:
            await reader.put(server, name)

    if is_killed:
        # It dies with a file in its hands, of which the other knows nothing.
        async with killed(first, halt, "index", 5) as unanswered:
            # It holds the base then: what the other is sent waits until it is dead.
            unanswered += [fill(first, files[::2]), fill(second, files[1::2])]
        # What was not answered is put again, as people and programs do; what was stored without an answer is there twice.
        there = {file["filename"] for file in await reader.listed(second)}
        await fill(second, [name for name in files if name not in there])
    else:
        await asyncio.gather(fill(first, files[::2]), fill(second, files[1::2]))
    reader.names |= set(files)
    await reader.check(second)
    if not is_killed:
        await reader.check(first)
        times = {count for asked, count in embedding.asked.items() if " is here" in asked}
        assert times == {1}, "each text is embedded once, whoever read its file"
    listed = Counter(file["filename"] for file in await reader.listed(second))
    assert listed == dict.fromkeys(files, 1)
