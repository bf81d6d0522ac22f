"""Where vectors lie: chosen by the settings and by what the database has, changed while people search, lost, and copied with
`oui-backend db copy`.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy as sa

from open_webui import env
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import Database, open_database
from open_webui.migrations import copying
from open_webui.models import pgvector, tables, vectors
from open_webui.models.lexical import Frequencies
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.search import SearchDeps, Trace, search
from open_webui.retrieval.vector.chosen import ChosenIndex
from tests.open_webui.search.test_indexing import Engines, Process
from tests.support import library
from tests.support.fake_embedder import FakeEmbedder
from tests.support.live import Live

ANN = Principal(id="ann", role="user", name="ann", email="ann@example.com")
TEXTS = {"a": ["An automobile.", "A quokka."], "b": ["Wombats dig.", "A quokka."]}
MADE_ANEW = "The vectors of documents are being made anew. Only words were searched."
ELSEWHERE = "The vectors of documents lie in another database, and are being made anew. Only words were searched."


class Server:
    """What embeds and searches, as it starts with these settings."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self.database = open_database(settings)
        self.engines = Engines()
        self.engines.index = ChosenIndex(settings, http)  # type: ignore[assignment]
        self.frequencies = Frequencies()

    async def embed(self) -> None:
        process = Process(self.database, self.engines)
        await process.runner.open()
        await process.embed()
        await process.runner.close()

    async def first(self, query: str) -> tuple[str | None, list[str]]:
        """The best of what is found in the base, and what could not be done."""
        deps = SearchDeps(
            database=self.database,
            config=Config({}),
            index=self.engines.index,
            embedder=lambda _signature: self.engines.engine,
            reranker=lambda: None,
            frequencies=self.frequencies,
        )
        trace = Trace()
        found = await search(deps, ANN, [query], Scope(knowledge=("k",)), trace=trace)
        return (found[0].text if found else None), trace.notes

    async def models(self) -> list[tuple[str, bool, int]]:
        """Of each: where its vectors lie, whether it is active, and how many documents it has."""
        async with self.database.read() as connection:
            every = await vectors.every(connection)
            return [(m.store, m.is_active, (await vectors.progress(connection, m.n))[0]) for m in every]


async def fill(database: Database) -> None:
    async with database.write() as unit:
        await library.person(unit.connection, "ann")
        for name, texts in TEXTS.items():
            await library.file(unit.connection, "ann", name, texts)
        await library.base(unit.connection, "ann", "k", list(TEXTS))


@contextlib.asynccontextmanager
async def started(settings: Settings, **changes: Any) -> AsyncIterator[Server]:
    async with aiohttp.ClientSession() as http:
        server = Server(settings.model_copy(update=changes), http)
        try:
            yield server
        finally:
            await server.database.close()


async def tables_of_vectors(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ '^vectors_[0-9]+$'")
    await connection.close()
    return [row[0] for row in rows]


on_postgres = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        (
            "chroma",
            "",
            "VECTOR_DB: may be pgvector (in PostgreSQL), packed (in any database), qdrant (a service), or empty",
        ),
        ("qdrant", "", "needs its address in QDRANT_URI"),
        ("milvus", "postgresql://x/y", "no other is supported"),
        ("pgvector", "", "needs PostgreSQL in DATABASE_URL"),
        ("pgvector", "sqlite:///x.db", "needs PostgreSQL in DATABASE_URL"),
    ],
)
def test_a_store_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, url: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VECTOR_DB", name)
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(StartupError, match="The configuration can't be used") as caught:
        env.load()
    assert said in caught.value.detail
    monkeypatch.setenv("VECTOR_DB", " Packed ")
    assert env.load().vector_db == "packed"


async def test_the_store_is_chosen_by_what_is_there(settings: Settings, database_kind: str) -> None:
    async with started(settings) as server:
        there = "packed" if database_kind == "sqlite" else "pgvector"
        assert [await server.engines.index.store(server.database) for _ in range(2)] == [there] * 2


@on_postgres
async def test_a_database_that_may_not_have_the_extension(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.database_url)
    role = "weak_" + settings.database_url.rsplit("/", 1)[1]
    await connection.execute(f"CREATE ROLE {role} LOGIN")
    weak = settings.model_copy(update={"database_url": settings.database_url.replace("postgres@", f"{role}@")})
    async with started(weak) as server:
        assert await server.engines.index.store(server.database) == "packed"
    async with started(weak, vector_db="pgvector") as server:
        for _ in range(2):
            with pytest.raises(StartupError, match="CREATE EXTENSION vector"):
                await server.engines.index.store(server.database)
    await connection.execute("CREATE EXTENSION vector")
    async with started(weak, vector_db="pgvector") as server:
        assert await server.engines.index.store(server.database) == "pgvector"
    await connection.close()


@on_postgres
async def test_vectors_go_over_to_another_store_and_back(settings: Settings) -> None:
    async with started(settings, vector_db="packed") as server:
        await fill(server.database)
        await server.embed()
        assert await server.models() == [("packed", True, 2)]
    async with started(settings, vector_db="pgvector") as server:
        # Those that are there serve until the others are whole.
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        assert await server.models() == [("pgvector", True, 2)]
        assert await server.first("cars") == ("An automobile.", [])
        assert len(await tables_of_vectors(settings.database_url)) == 1
        async with server.database.read() as connection:
            sizes = await connection.scalars(sa.select(sa.func.length(tables.document_vectors.c.data)))
            assert set(sizes) == {0}
    async with started(settings, vector_db="packed") as server:
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        assert await server.models() == [("packed", True, 2)]
        assert await server.first("cars") == ("An automobile.", [])
        assert await tables_of_vectors(settings.database_url) == []


@on_postgres
async def test_vectors_go_with_their_document(settings: Settings) -> None:
    async with started(settings) as server:
        await fill(server.database)
        await server.embed()
        async with server.database.write() as unit:
            await unit.connection.execute(tables.file.delete().where(tables.file.c.id == "a"))
            count = await unit.connection.scalar(sa.text("SELECT count(*) FROM vectors_1"))
    assert count == 2


@on_postgres
async def test_a_table_that_is_lost_is_made_anew(settings: Settings) -> None:
    async with started(settings) as server:
        await fill(server.database)
        await server.embed()
        async with server.database.write() as unit:
            await pgvector.drop(unit.connection, 1)
        assert await server.first("A quokka") == ("A quokka.", [MADE_ANEW])
        await server.embed()
        assert await server.first("cars") == ("An automobile.", [])
        assert await server.models() == [("pgvector", True, 2)]


@on_postgres
async def test_a_model_whose_table_is_in_use_goes_later(settings: Settings) -> None:
    async with started(settings) as server:
        await fill(server.database)
        await server.embed()
        server.engines.engine = FakeEmbedder("another")
        async with server.database.read() as connection:
            # A long statement of somebody's.
            await connection.execute(sa.text("SELECT count(*) FROM vectors_1"))
            await server.embed()
        assert await server.models() == [("pgvector", False, 2), ("pgvector", True, 2)]
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        assert await server.models() == [("pgvector", True, 2)]


@on_postgres
async def test_a_live_server_embeds_and_finds_with_the_extension(live: Live) -> None:
    assert await live.app.state.oui.retrieval.index.store(live.app.state.oui.database) == "pgvector"


@on_postgres
@pytest.mark.parametrize("store", ["packed", "pgvector"])
async def test_documents_are_copied_there_and_back(
    settings: Settings, sqlite_template: Path, tmp_path: Path, empty_database_url: str, store: str
) -> None:
    """From SQLite to PostgreSQL and back, from PostgreSQL to another one: texts are found at once, and vectors made anew
    where they were not in the rows.
    """
    files = [tmp_path / f"{name}.db" for name in ("first", "back")]
    for file in files:
        shutil.copyfile(sqlite_template, file)
    sqlite, back = (settings.model_copy(update={"database_url": f"sqlite:///{file}"}) for file in files)
    other = settings.model_copy(update={"database_url": empty_database_url})

    async def copied(source: Settings, target: Settings) -> None:
        given = {"replace_nul": False, "say": lambda _said: None}
        await copying.copy(settings, source.database_url, target.database_url, **given)

    async with started(sqlite) as server:
        await fill(server.database)
        await server.embed()
        packed = await rows(server.database)
    await copied(sqlite, settings)
    async with started(settings, vector_db=store) as server:
        assert await rows(server.database) == packed
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        assert await server.models() == [(store, True, 2)]
    for target, note in ((other, MADE_ANEW), (back, ELSEWHERE)):
        await copied(settings, target)
        async with started(target, vector_db=store if target is other else "") as server:
            assert await server.first("A quokka") == ("A quokka.", [] if store == "packed" else [note])
            await server.embed()
            assert await server.first("cars") == ("An automobile.", [])
            now = "packed" if target is back else store
            assert await server.models() == [(now, True, 2)]
            if store == "packed":
                assert await rows(server.database) == packed


async def rows(database: Database) -> list[list[object]]:
    """What is stored of documents."""
    names = ("knowledge", "knowledge_file", "document", "chunk", "document_vectors")
    columns = {"chunk": [c for c in tables.chunk.c if c.name != "search"]}
    async with database.read() as connection:
        found = [
            (await connection.execute(sa.select(*columns.get(name, table.c)).order_by(*table.primary_key)))
            for name in names
            for table in (tables.document.metadata.tables[name],)
        ]
        return [[tuple(row) for row in each] for each in found]
