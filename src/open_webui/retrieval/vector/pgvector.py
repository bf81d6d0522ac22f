"""Vectors in PostgreSQL's extension `vector`. It looks at all that are reached, as PackedIndex does, but keeps nothing here.

Where the settings want an index of neighbours, large scopes are searched by that.
"""

from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.db import Database, open_alone
from open_webui.internal.log import get_logger
from open_webui.models import documents, pgvector, vectors
from open_webui.models.scopes import Reach
from open_webui.models.vectors import FLOAT, EmbeddingModel
from open_webui.retrieval.vector.base import Hit

log = get_logger(__name__)

# Of a scope with fewer chunks all are looked at, whatever the settings say: that takes some milliseconds, and misses none.
FROM_CHUNKS: Final = 10_000
# The extension has no index for longer vectors.
MOST_DIMENSIONS: Final = 2_000


class PgvectorIndex:
    """VectorIndex in tables of the extension, on a PostgreSQL that has it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        is_wanted = settings.pgvector_index_method == "hnsw"
        m, candidates = settings.pgvector_hnsw_m, settings.pgvector_hnsw_ef_construction
        self._wanted = pgvector.neighbours(m, candidates) if is_wanted else None

    async def store(self, database: Database) -> str:  # noqa: ARG002 - of the port
        return "pgvector"

    async def prepare(self, database: Database, model: EmbeddingModel) -> None:
        async with database.write() as unit:
            await pgvector.create(unit.connection, model)
            there = await pgvector.indexes(unit.connection, model.n)
            wanted = self._wanted if self._has_one(model) and await pgvector.goes_on(unit.connection) else None
        if self._wanted and not wanted:
            log.warning(
                "these vectors have no index of neighbours; the extension has none for them, or is older than 0.8"
            )
        if there != ({wanted: True} if wanted else {}):
            try:
                await self._change_index(model, there, wanted)
            except (sa.exc.SQLAlchemyError, OSError) as error:
                # All are looked at without it; the next job tries it again.
                log.warning("the index of neighbours could not be changed", error=str(error))

    async def _change_index(self, model: EmbeddingModel, there: dict[str, bool], wanted: str | None) -> None:
        """Takes as long as it takes. The old one serves until the new one is whole."""
        engine = open_alone(self._settings)
        try:
            async with engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if wanted and not there.get(wanted):
                    await pgvector.add_index(alone, model.n, wanted)
                for name in there.keys() - {wanted}:
                    await pgvector.drop_index(alone, model.n, name)
        finally:
            await engine.dispose()

    def _has_one(self, model: EmbeddingModel) -> bool:
        return self._wanted is not None and (model.dimensions or 0) <= MOST_DIMENSIONS

    async def send(self, model: EmbeddingModel, document_n: int, given: Sequence[bytes]) -> None:
        """They lie in the database."""

    async def put(
        self, connection: AsyncConnection, model: EmbeddingModel, document_n: int, given: Sequence[bytes]
    ) -> None:
        await documents.changed_document(connection, document_n)
        await pgvector.put(connection, model.n, document_n, given)
        await vectors.put(connection, model.n, document_n, b"")

    async def search(
        self, database: Database, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        if model.dimensions is None or len(query) != model.dimensions * FLOAT or limit < 1:
            return []
        async with database.read() if reach.few is None else database.look() as connection:
            return await self._search(connection, model, query, reach, limit)

    async def _search(
        self, connection: AsyncConnection, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        listed = dict(reach.documents if reach.few is None else reach.few)
        for knowledge_id in reach.knowledge if reach.few is None else ():
            listed |= await vectors.in_base(connection, knowledge_id, model.n)
        try:
            found = await self._nearest(connection, model, query, listed, limit)
        except sa.exc.DBAPIError as error:
            if not pgvector.is_gone(error):
                raise
            raise Unavailable("The vectors of documents are being made anew.") from error
        return [Hit(n, score) for n, score in found]

    async def _nearest(
        self, connection: AsyncConnection, model: EmbeddingModel, query: bytes, counts: dict[int, int], limit: int
    ) -> list[tuple[int, float]]:
        """counts: how many chunks documents have, by number."""
        chunks = sum(counts.values())
        if self._has_one(model) and chunks >= FROM_CHUNKS and await pgvector.goes_on(connection):
            found = await pgvector.nearest_by_index(connection, model.n, query, counts, limit)
            if len(found) == min(limit, chunks):
                return found
        # All are looked at also where the index gave up: what is reached is a small part of the table, far from the question.
        return await pgvector.nearest(connection, model.n, query, counts, limit)

    async def known(self, database: Database, model: EmbeddingModel, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        async with database.read() as connection:
            numbers = await vectors.with_texts(connection, model, hashes)
            there = await pgvector.of_chunks(connection, model.n, sorted(set(numbers.values()))) if numbers else {}
        return {text: there[n] for text, n in numbers.items() if n in there}

    async def remove(self, database: Database, model: EmbeddingModel) -> None:
        async with database.write() as unit:
            await pgvector.drop(unit.connection, model.n)
            await vectors.forget(unit.connection, model.n)

    async def tidy(self, database: Database, model: EmbeddingModel) -> None:
        """Vectors go with their documents."""

    async def answers(self) -> bool:
        return True

    def forget(self, knowledge_ids: Collection[str]) -> None:
        """Nothing is kept in memory."""
