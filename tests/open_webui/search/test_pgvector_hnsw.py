"""An index of neighbours in pgvector: made, changed and taken away by the settings, and used where it pays."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from open_webui import env
from open_webui.constants import CHUNK_BITS
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import Database, open_database
from open_webui.models import pgvector, scopes, vectors
from open_webui.models.scopes import Reach, Scope
from open_webui.models.vectors import EmbeddingModel
from open_webui.principal import Principal
from open_webui.retrieval.vector import pgvector as adapter
from open_webui.retrieval.vector.chosen import ChosenIndex
from tests.open_webui.models.test_plans import Plans
from tests.support import library
from tests.support.plans import reopen

ANN = Principal(id="ann", role="user", name="ann", email="ann@example.com")
DIMENSIONS = 16
FILES, CHUNKS = 40, 100
on_postgres = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
FILL = f"""
INSERT INTO blob (hash, size, mime, created_at, touched_at) VALUES ('h', 1, 'text/plain', 1, 1);
INSERT INTO file (id, user_id, filename, blob, embedded, meta, created_at, updated_at)
    SELECT 'f' || n, 'ann', 'a.txt', 'h', false, '{{}}', n, n FROM generate_series(1, {FILES}) n;
INSERT INTO knowledge_file (id, knowledge_id, file_id, created_at, updated_at)
    SELECT 'l' || n, 'k', 'f' || n, 1, 1 FROM generate_series(1, {FILES}) n;
INSERT INTO document (n, file_id, name, hash, splitting, chunks, meta, created_at, updated_at)
    SELECT n, 'f' || n, 'a.txt', 'h', 's', {CHUNKS}, '{{}}', 1, 1 FROM generate_series(1, {FILES}) n;
INSERT INTO document_vectors (document_n, model_n, data)
    SELECT n, (SELECT max(n) FROM embedding_model), '' FROM generate_series(1, {FILES}) n;
"""


def made(settings: Settings, **changes: object) -> ChosenIndex:
    return ChosenIndex(settings.model_copy(update={"vector_db": "pgvector", "pgvector_index_method": "hnsw"} | changes))


@pytest.fixture
async def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(adapter, "FROM_CHUNKS", 1_000)
    monkeypatch.setattr(scopes, "FEW_DOCUMENTS", 0)
    opened = open_database(settings)
    async with opened.write() as unit:
        await library.person(unit.connection, "ann")
        await library.base(unit.connection, "ann", "k")
    yield opened
    await opened.close()


async def filled(database: Database, settings: Settings, index: ChosenIndex) -> tuple[EmbeddingModel, "np.ndarray"]:
    """A model with 4,000 vectors, whose index is made."""
    store = await index.store(database)
    async with database.write() as unit:
        model = await vectors.ensure(unit.connection, "fake", store)
        await vectors.set_dimensions(unit.connection, model.n, DIMENSIONS)
        model = await vectors.ensure(unit.connection, "fake", store)
    await index.prepare(database, model)
    numbers = np.random.default_rng(7).standard_normal((FILES * CHUNKS, DIMENSIONS)).astype("<f4")
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    rows = [
        ((n << CHUNK_BITS) + k, n, "[" + ",".join(map(repr, numbers[(n - 1) * CHUNKS + k].tolist())) + "]")
        for n in range(1, FILES + 1)
        for k in range(CHUNKS)
    ]
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(FILL)
    table = f"vectors_{model.n}"
    await connection.executemany(f"INSERT INTO {table} VALUES ($1, $2, $3::text::vector)", rows)
    await connection.execute(f"VACUUM ANALYZE {table}")
    await connection.close()
    return model, numbers


async def reached(database: Database, scope: Scope) -> Reach:
    async with database.read() as connection:
        return await scopes.resolve(connection, ANN, scope)


async def indexes(settings: Settings) -> list[str]:
    connection = await asyncpg.connect(settings.database_url)
    found = await connection.fetch("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'vectors%hnsw%'")
    await connection.close()
    return sorted(row[0].split("_", 2)[2] for row in found)


@on_postgres
async def test_a_large_scope_is_searched_by_the_index(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = made(settings)
    model, numbers = await filled(database, settings, index)
    reach = await reached(database, Scope(knowledge=("k",)))
    plans = Plans(settings.database_url)
    plans.watch(database._readers.sync_engine)
    await reopen(database)
    same = 0
    for k in range(20):
        query = numbers[k * 150]
        hits = await index.search(database, model, query.tobytes(), reach, 10)
        near = numbers @ query
        wanted = [int(n // CHUNKS + 1 << CHUNK_BITS) + int(n % CHUNKS) for n in np.argsort(-near)[:10]]
        assert hits[0].chunk_n == wanted[0]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            place = ((hit.chunk_n >> CHUNK_BITS) - 1) * CHUNKS + (hit.chunk_n & (1 << CHUNK_BITS) - 1)
            assert hit.score == pytest.approx(float(near[place]), abs=1e-5)
        same += len({hit.chunk_n for hit in hits} & set(wanted))
    assert same >= 190
    asked = [(query, read) for query, read in await plans.explained() if "<#>" in query]
    assert len(asked) == 20
    # The index gives them in their order, and no more than the limit is read of the table.
    assert {read[0][1] for _, read in asked} == {"Index Scan"}
    assert max(rows for _, read in asked for _, _, rows in read) <= 20
    # Where the index gives up, all are looked at.
    few = await reached(database, Scope(files=("f1", "f2")))
    monkeypatch.setattr(adapter, "FROM_CHUNKS", 1)

    async def nothing(*_given: object) -> list[tuple[int, float]]:
        return []

    monkeypatch.setattr(pgvector, "nearest_by_index", nothing)
    hits = await index.search(database, model, numbers[0].tobytes(), few, 300)
    assert (len(hits), hits[0].chunk_n) == (2 * CHUNKS, 1 << CHUNK_BITS)


@on_postgres
async def test_the_index_follows_the_settings(settings: Settings, database: Database) -> None:
    exact = made(settings, pgvector_index_method="")
    model, numbers = await filled(database, settings, exact)
    assert await indexes(settings) == []
    for changes, there in (
        ({}, ["hnsw_16_64"]),
        ({}, ["hnsw_16_64"]),
        ({"pgvector_hnsw_m": 8, "pgvector_hnsw_ef_construction": 32}, ["hnsw_8_32"]),
        ({"pgvector_index_method": "none"}, []),
    ):
        index = made(settings, **changes)
        await index.prepare(database, model)
        assert await indexes(settings) == there
        reach = await reached(database, Scope(knowledge=("k",)))
        hits = await index.search(database, model, numbers[5].tobytes(), reach, 5)
        assert hits[0].chunk_n == (1 << CHUNK_BITS) + 5
        async with database.read() as connection:
            assert len(await vectors.in_base(connection, "k", model.n)) == FILES
    # One whose making was cut short is made anew.
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(f"CREATE INDEX vectors_{model.n}_hnsw_16_64 ON vectors_{model.n} (document_n)")
    await connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", f"vectors_{model.n}_hnsw_16_64"
    )
    await connection.close()
    await made(settings).prepare(database, model)
    assert await indexes(settings) == ["hnsw_16_64"]
    connection = await asyncpg.connect(settings.database_url)
    method = await connection.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname LIKE 'vectors%hnsw_16_64'")
    await connection.close()
    assert "USING hnsw" in method


@on_postgres
async def test_an_index_that_can_not_be_made_stops_nothing(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgvector, "neighbours", lambda *_: "hnsw_1_1")
    index = made(settings)
    model, numbers = await filled(database, settings, index)
    assert await indexes(settings) == []
    hits = await index.search(
        database, model, numbers[5].tobytes(), await reached(database, Scope(knowledge=("k",))), 5
    )
    assert hits[0].chunk_n == (1 << CHUNK_BITS) + 5


@on_postgres
async def test_vectors_that_are_too_long_for_an_index_have_none(settings: Settings, database: Database) -> None:
    index = made(settings)
    store = await index.store(database)
    async with database.write() as unit:
        model = await vectors.ensure(unit.connection, "long", store)
        await vectors.set_dimensions(unit.connection, model.n, 2_001)
        model = await vectors.ensure(unit.connection, "long", store)
    await index.prepare(database, model)
    assert await indexes(settings) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PGVECTOR_INDEX_METHOD", "ivfflat", "ivfflat is not supported"),
        ("PGVECTOR_INDEX_METHOD", "x", "PGVECTOR_INDEX_METHOD"),
        ("PGVECTOR_HNSW_M", "1", "PGVECTOR_HNSW_M"),
        ("PGVECTOR_HNSW_EF_CONSTRUCTION", "31", "at least twice PGVECTOR_HNSW_M"),
        ("PGVECTOR_DB_URL", "postgresql://me:secret@x/other", "PGVECTOR_DB_URL names another database"),
    ],
)
def test_what_the_index_can_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VECTOR_DB", "pgvector")
    monkeypatch.setenv("DATABASE_URL", "postgresql://x/y")
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as caught:
        env.load()
    assert said in caught.value.detail
    assert "secret" not in caught.value.detail
    monkeypatch.setenv(name, "")
    assert env.load().vector_db == "pgvector"
