"""The vector index that the settings choose, beside those in which vectors of earlier settings lie."""

from collections.abc import Collection, Sequence

import aiohttp
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.errors import StartupError, Unavailable
from open_webui.internal.db import Database
from open_webui.models import pgvector, vectors
from open_webui.models.scopes import Reach
from open_webui.models.vectors import PACKED, EmbeddingModel
from open_webui.retrieval.vector.base import Hit, VectorIndex
from open_webui.retrieval.vector.packed import PackedIndex
from open_webui.retrieval.vector.pgvector import PgvectorIndex
from open_webui.retrieval.vector.qdrant import QdrantIndex
from open_webui.retrieval.vector.qdrant_server import Qdrant


class ChosenIndex:
    """VectorIndex over the others: each model's vectors are looked for where they lie."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession | None = None) -> None:
        """http: what a service is asked with, where the settings name one."""
        self._named = settings.vector_db
        self._all: dict[str, VectorIndex] = {PACKED: PackedIndex(), "pgvector": PgvectorIndex(settings)}
        if settings.qdrant_uri and http is not None:
            self._all["qdrant"] = QdrantIndex(Qdrant(http, settings), settings)
        self._chosen = PACKED if settings.vector_db == PACKED else ""

    async def store(self, database: Database) -> str:
        """What VECTOR_DB names; without it "pgvector" on a PostgreSQL that has the extension. Raises StartupError."""
        if self._named == "qdrant":
            return await self._all["qdrant"].store(database)
        if not self._chosen:
            self._chosen = PACKED
            if not database.is_sqlite:
                async with database.write() as unit:
                    self._chosen = "pgvector" if await pgvector.is_installed(unit.connection) else PACKED
            if self._named and self._named != self._chosen:
                self._chosen = ""
                raise StartupError(
                    "VECTOR_DB is pgvector, but the database has no extension `vector`, and we may not make it."
                    " Have an administrator of PostgreSQL run CREATE EXTENSION vector, or leave VECTOR_DB empty."
                )
        return self._chosen

    async def prepare(self, database: Database, model: EmbeddingModel) -> None:
        await self._of(model).prepare(database, model)

    async def send(self, model: EmbeddingModel, document_n: int, given: Sequence[bytes]) -> None:
        await self._of(model).send(model, document_n, given)

    async def put(
        self, connection: AsyncConnection, model: EmbeddingModel, document_n: int, given: Sequence[bytes]
    ) -> None:
        await self._of(model).put(connection, model, document_n, given)

    async def search(
        self, database: Database, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        if not self._is_here(database, model):
            raise Unavailable("The vectors of documents lie in another database, and are being made anew.")
        return await self._of(model).search(database, model, query, reach, limit)

    async def known(self, database: Database, model: EmbeddingModel, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        return await self._of(model).known(database, model, hashes)

    async def remove(self, database: Database, model: EmbeddingModel) -> None:
        if self._is_here(database, model):
            await self._of(model).remove(database, model)
        else:
            async with database.write() as unit:
                await vectors.forget(unit.connection, model.n)

    async def tidy(self, database: Database, model: EmbeddingModel) -> None:
        if self._is_here(database, model):
            await self._of(model).tidy(database, model)

    async def answers(self) -> bool:
        return await self._all["qdrant"].answers() if self._named == "qdrant" else True

    def forget(self, knowledge_ids: Collection[str]) -> None:
        for index in self._all.values():
            index.forget(knowledge_ids)

    def _of(self, model: EmbeddingModel) -> VectorIndex:
        return self._all[_name(model)]

    def _is_here(self, database: Database, model: EmbeddingModel) -> bool:
        """Whether a model's vectors can be asked for: they may be of a copied database, or of a service of earlier settings."""
        return _name(model) in self._all and not (_name(model) == "pgvector" and database.is_sqlite)


def _name(model: EmbeddingModel) -> str:
    """The adapter of a model's vectors."""
    return model.store.partition(":")[0]
