"""Vectors in PostgreSQL's extension `vector`: a table for each embedding model, with a row for each chunk.

The tables are made when they are needed and are no part of the schema: what is in them can be made again.
"""

import struct
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.models import tables
from open_webui.models.base import ByDialect
from open_webui.models.vectors import FLOAT, EmbeddingModel

# Vectors of so many numbers fit into a row's page, where they are read several times as fast as outside of it.
_IN_PAGE: Final = 1_900
# Held while a table is made: two that make one at the same time would meet an error.
_LOCK: Final = 0x6F75_6976
_NO_TABLE: Final = "42P01"


async def is_installed(connection: AsyncConnection) -> bool:
    """Whether the database has the extension, or lets us make it."""
    has = sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
    offers = sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
    if await connection.scalar(has) or not await connection.scalar(offers):
        return bool(await connection.scalar(has))
    try:
        async with connection.begin_nested():
            await connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except sa.exc.DBAPIError:
        # We may not, or another process was quicker.
        return bool(await connection.scalar(has))
    return True


async def create(connection: AsyncConnection, of: EmbeddingModel) -> None:
    """Makes the table of a model whose dimensions are known, if it isn't there; then no document has vectors of it."""
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    name, dimensions = _table(of.n), int(of.dimensions or 0)
    if await connection.scalar(sa.text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}):
        return
    for statement in (
        f"""CREATE TABLE {name} (chunk_n bigint PRIMARY KEY,
            document_n bigint NOT NULL REFERENCES document (n) ON DELETE CASCADE,
            embedding vector({dimensions}) NOT NULL)""",
        f"ALTER TABLE {name} ALTER embedding SET STORAGE {'PLAIN' if dimensions <= _IN_PAGE else 'EXTERNAL'}",
        f"CREATE INDEX {name}_document_n ON {name} (document_n)",
    ):
        await connection.execute(sa.text(statement))
    noted = tables.document_vectors
    await connection.execute(noted.delete().where(noted.c.model_n == of.n))


async def indexes(connection: AsyncConnection, model_n: int) -> dict[str, bool]:
    """The indexes of neighbours that a model's table has, as `neighbours` calls them, and whether each is whole."""
    rows = await connection.execute(
        sa.text(
            "SELECT substr(c.relname, length(:table) + 2), i.indisvalid"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = to_regclass(:table) AND starts_with(c.relname, :table || '_hnsw_')"
        ),
        {"table": _table(model_n)},
    )
    return {row[0]: row[1] for row in rows}


async def add_index(connection: AsyncConnection, model_n: int, wanted: str) -> None:
    """Makes an index of neighbours, in the place of one that is not whole. Nobody waits for it.

    connection: without a transaction, and without limits of time.
    """
    await drop_index(connection, model_n, wanted)
    _, m, candidates = wanted.split("_")
    await connection.execute(
        sa.text(
            f"CREATE INDEX CONCURRENTLY {_table(model_n)}_{wanted} ON {_table(model_n)}"
            f" USING hnsw (embedding vector_ip_ops) WITH (m = {int(m)}, ef_construction = {int(candidates)})"
        )
    )


async def drop_index(connection: AsyncConnection, model_n: int, name: str) -> None:
    """Removes an index of neighbours; for a connection as `add_index` wants it."""
    await connection.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {_table(model_n)}_{name}"))


def neighbours(m: int, candidates: int) -> str:
    """An index of neighbours: how many each vector is linked with, and among how many these are looked for."""
    return f"hnsw_{m}_{candidates}"


async def drop(connection: AsyncConnection, model_n: int) -> None:
    """Removes the table of a model. It locks documents: nothing else is done in the transaction, and it waits shortly."""
    await connection.execute(sa.text("SET LOCAL lock_timeout = 3000"))
    await connection.execute(sa.text(f"DROP TABLE IF EXISTS {_table(model_n)}"))


async def put(connection: AsyncConnection, model_n: int, document_n: int, vectors: Sequence[bytes]) -> None:
    """Stores the vectors of a document's chunks, in the place of those it had."""
    statements = _statements(model_n)
    await statements["delete"].of(connection).run(connection, {"document": document_n})
    first = document_n << constants.CHUNK_BITS
    rows = [{"n": first + k, "document": document_n, "vector": _numbers(data)} for k, data in enumerate(vectors)]
    if rows:
        await statements["insert"].of(connection).run_many(connection, rows)


async def nearest(
    connection: AsyncConnection, model_n: int, query: bytes, documents: Collection[int], limit: int
) -> list[tuple[int, float]]:
    """The nearest chunks of some documents, with the inner products; all are looked at."""
    wanted = {"query": _numbers(query), "documents": list(documents), "limit": limit}
    return [(row[0], row[1]) for row in await _statements(model_n)["nearest"].of(connection).all(connection, wanted)]


async def nearest_by_index(
    connection: AsyncConnection, model_n: int, query: bytes, documents: Collection[int], limit: int
) -> list[tuple[int, float]]:
    """`nearest`, or nearly: by the index of neighbours, if the planner thinks that it pays. There may be fewer than there are.

    The settings are for the rest of the transaction.
    """
    for setting in ("hnsw.iterative_scan = relaxed_order", f"hnsw.ef_search = {min(1_000, max(100, 2 * limit))}"):
        await connection.execute(sa.text(f"SET LOCAL {setting}"))
    wanted = {"query": _numbers(query), "documents": list(documents), "limit": limit}
    rows = await _statements(model_n)["by_index"].of(connection).all(connection, wanted)
    return sorted(((row[0], row[1]) for row in rows), key=lambda found: (-found[1], found[0]))


async def goes_on(connection: AsyncConnection) -> bool:
    """Whether the extension looks on in its index where what it found is not what is asked for: from 0.8 on."""
    version = await connection.scalar(sa.text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    return [int(part) for part in str(version or "0").split(".")[:2] if part.isdigit()] >= [0, 8]


async def of_chunks(connection: AsyncConnection, model_n: int, numbers: Sequence[int]) -> dict[int, bytes]:
    """The vectors of single chunks, by the chunks' numbers."""
    rows = await _statements(model_n)["chunks"].of(connection).all(connection, {"numbers": list(numbers)})
    return {row[0]: struct.pack(f"<{len(row[1])}f", *row[1]) for row in rows}


def is_gone(error: sa.exc.DBAPIError) -> bool:
    """Whether the table that a statement names isn't there."""
    return getattr(error.orig, "sqlstate", None) == _NO_TABLE


def _table(model_n: int) -> str:
    return f"vectors_{int(model_n)}"


def _numbers(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // FLOAT}f", data)


_STATEMENTS: Final = {
    "delete": "DELETE FROM <table> WHERE document_n = :document",
    "insert": """INSERT INTO <table> (chunk_n, document_n, embedding)
        VALUES (:n, :document, CAST(CAST(:vector AS real[]) AS vector))""",
    "chunks": """SELECT v.chunk_n, CAST(v.embedding AS real[]) FROM <rows numbers> w
        JOIN <table> v ON v.chunk_n = w.value""",
    # The inner product is negated, so that no index of neighbours is used: it would find some of them only.
    "nearest": """SELECT v.chunk_n, -(v.embedding <#> CAST(CAST(:query AS real[]) AS vector)) AS score FROM <table> v
        WHERE v.document_n IN <numbers documents>
        ORDER BY score DESC, v.chunk_n LIMIT CAST(:limit AS bigint)""",
    "by_index": """SELECT v.chunk_n, -(v.embedding <#> CAST(CAST(:query AS real[]) AS vector)) AS score FROM <table> v
        WHERE v.document_n IN <numbers documents>
        ORDER BY v.embedding <#> CAST(CAST(:query AS real[]) AS vector) LIMIT CAST(:limit AS bigint)""",
}


@lru_cache(maxsize=8)
def _statements(model_n: int) -> dict[str, ByDialect]:
    return {what: ByDialect(sql.replace("<table>", _table(model_n))) for what, sql in _STATEMENTS.items()}
