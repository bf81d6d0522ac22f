"""What a search reads: what is searched, by indexes, and no table that grows from end to end."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import vectors
from open_webui.models.lexical import Frequencies
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.search import SearchDeps, search
from open_webui.retrieval.vector.chosen import ChosenIndex
from tests.open_webui.models import test_plans
from tests.open_webui.models.test_plans import Plans
from tests.support import library
from tests.support.fake_embedder import FakeEmbedder
from tests.support.plans import SqlitePlans, reopen

ANN = Principal(id="ann", role="user", name="ann", email="ann@example.com")
DIMENSIONS = 8
GROWING = test_plans.GROWING | {
    "chunk",
    "document",
    "document_vectors",
    "knowledge",
    "knowledge_file",
    "vectors_1",
}
# Rows that a statement may look at.
BOUND = 1_000
# Every tenth file is in the base `big`, each in one of 200 others, of which ann may read k7, and ten in her own.
FILL = """
INSERT INTO blob (hash, size, mime, created_at, touched_at)
    SELECT 'd' || n, 1, 'text/plain', 1, 1 FROM generate_series(1, 10000) n;
INSERT INTO file (id, user_id, filename, blob, embedded, meta, created_at, updated_at)
    SELECT 'f' || n, CASE WHEN n % 10 = 0 THEN 'ann' ELSE 'u' || (n % 499 + 1) END, 'a.txt', 'd' || n, false, '{}', n, n
    FROM generate_series(1, 10000) n;
INSERT INTO knowledge (id, user_id, name, description, created_at, updated_at)
    SELECT 'k' || n, 'u' || (n % 1999 + 1), 'Base', '', 1, 1 FROM generate_series(0, 4999) n;
INSERT INTO knowledge (id, user_id, name, description, created_at, updated_at)
    VALUES ('big', 'u1', 'Big', '', 1, 1), ('own', 'ann', 'Own', '', 1, 1);
INSERT INTO knowledge_file (id, knowledge_id, file_id, created_at, updated_at)
    SELECT 'o' || n, 'own', 'f' || n, 1, 1 FROM generate_series(10, 100, 10) n;
INSERT INTO knowledge_file (id, knowledge_id, file_id, created_at, updated_at)
    SELECT 'l' || n, 'k' || (n % 200), 'f' || n, 1, 1 FROM generate_series(1, 10000) n;
INSERT INTO knowledge_file (id, knowledge_id, file_id, created_at, updated_at)
    SELECT 'b' || n, 'big', 'f' || n, 1, 1 FROM generate_series(10, 10000, 10) n;
INSERT INTO access_grant (id, resource_type, resource_id, principal_type, principal_id, permission, created_at)
    SELECT 'k' || n || '.' || p, 'knowledge', 'k' || n, 'user', 'u' || (n + p + 1), 'read', 1
    FROM generate_series(0, 199) n, generate_series(1, 50) p;
INSERT INTO access_grant (id, resource_type, resource_id, principal_type, principal_id, permission, created_at)
    VALUES ('own', 'knowledge', 'k7', 'user', 'ann', 'read', 1);
INSERT INTO document (n, file_id, name, hash, splitting, chunks, meta, created_at, updated_at)
    SELECT n, 'f' || n, 'a.txt', 'h', 's', 2, '{}', 1, 1 FROM generate_series(1, 10000) n;
INSERT INTO document (n, user_id, collection, name, hash, splitting, chunks, meta, created_at, updated_at)
    SELECT n, 'u' || (n % 1999 + 1), 'c' || n, 'page', 'h', 's', 0, '{}', 1, 1 FROM generate_series(10001, 40000) n;
INSERT INTO chunk (n, document_n, text, title, hash, page, start, "end")
    SELECT (n::bigint << 16) + k, n, 'some words of number' || n || ' and a fox' || (n % 50) || ' part ' || k, 'a.txt',
        decode(md5(n || '.' || k), 'hex'), NULL, 0, 1
    FROM generate_series(1, 10000) n, generate_series(0, 1) k;
"""
FILL_VECTORS = """
INSERT INTO document_vectors (document_n, model_n, data) SELECT n, 1, '' FROM generate_series(1, 10000) n;
INSERT INTO vectors_1 (chunk_n, document_n, embedding)
    SELECT n, document_n, CAST('[' || n % 7 || ',' || n % 11 || ',1,1,1,1,1,1]' AS vector) FROM chunk;
"""


# A document has 2 chunks, and k7 has 100 of 20,000; 400 chunks have each word of the question. f7 is another's, and in k7.
SCOPES = (
    Scope(files=("f10",)),
    Scope(files=("f7",)),
    Scope(knowledge=("k7",)),
    Scope(files=("f7", "f10", "f20"), knowledge=("k7", "own"), collections=("notes",)),
)
# Of the second, the signs of `fox-7` are looked for, too.
QUESTIONS = ["which fox7 or fox10 is number10", "where is fox-7 of number10?"]


def deps_of(settings: Settings, database: Database) -> SearchDeps:
    embedder = FakeEmbedder(dimensions=DIMENSIONS)
    return SearchDeps(
        database=database,
        config=Config({"ENABLE_RAG_HYBRID_SEARCH": "true"}),
        index=ChosenIndex(settings),
        embedder=lambda _signature: embedder,
        reranker=lambda: None,
        frequencies=Frequencies(),
    )


async def searched(deps: SearchDeps, monkeypatch: pytest.MonkeyPatch) -> None:
    """All searches, with documents that are few and with ones that are many."""
    for few in (256, 0):
        monkeypatch.setattr("open_webui.models.scopes.FEW_DOCUMENTS", few)
        for scope in SCOPES:
            assert await search(deps, ANN, QUESTIONS, scope), scope


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = open_database(settings)
    async with database.write() as unit:
        await library.person(unit.connection, "ann")
    yield database
    await database.close()


async def activate(deps: SearchDeps) -> vectors.EmbeddingModel:
    store = await deps.index.store(deps.database)
    async with deps.database.write() as unit:
        model = await vectors.ensure(unit.connection, "fake", store)
        await vectors.set_dimensions(unit.connection, model.n, DIMENSIONS)
        await vectors.activate(unit.connection, model.n)
        model = await vectors.ensure(unit.connection, "fake", store)
    await deps.index.prepare(deps.database, model)
    return model


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_postgresql_reads_what_is_searched(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps = deps_of(settings, database)
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(test_plans.FILL.replace(":me", "'ann'"))
    await connection.execute(FILL)
    await activate(deps)
    await connection.execute(FILL_VECTORS)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    noted = Plans(settings.database_url)
    noted.watch(database._readers.sync_engine)
    # Those that were made before are not watched.
    await reopen(database)
    await searched(deps, monkeypatch)
    explained = await noted.explained()
    read = {table for _, scans in explained for table, _, _ in scans}
    assert {"vectors_1", "chunk", "document", "knowledge", "knowledge_file", "access_grant"} <= read
    failures = [
        f"{table}: {how}, {rows} rows\n    {' '.join(query.split())[:400]}"
        for query, scans in explained
        for table, how, rows in scans
        if rows > BOUND or (how == "Seq Scan" and table in GROWING)
    ]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_sqlite_reads_no_table_from_end_to_end(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps = deps_of(settings, database)
    model = await activate(deps)
    async with database.write() as unit:
        await library.person(unit.connection, "bob")
        for owner, name in (("bob", "f7"), ("ann", "f10"), ("ann", "f20")):
            n = await library.file(unit.connection, owner, name, ["a fox7 and a fox10 of number10"])
            await deps.index.put(unit.connection, model, n, [bytes(4 * DIMENSIONS)])
        await library.base(unit.connection, "bob", "k7", ["f7"])
        await library.base(unit.connection, "ann", "own", ["f10"])
        await library.grant(unit.connection, "k7", "ann")
    noted = SqlitePlans(settings.database_url.removeprefix("sqlite:///"))
    noted.watch(database._readers.sync_engine)
    await reopen(database)
    await searched(deps, monkeypatch)
    assert any("document_vectors" in query for query in noted.statements)
    assert any("access_grant" in query for query in noted.statements)
    failures = [f"{said}\n    {' '.join(query.split())[:400]}" for query, said in noted.scans(GROWING)]
    assert not failures, "\n".join(failures)
