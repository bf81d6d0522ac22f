"""The port through which vectors are kept and searched."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.db import Database
from open_webui.models.scopes import Reach
from open_webui.models.vectors import EmbeddingModel


class Hit(msgspec.Struct, frozen=True):
    """A chunk that is near. score: the cosine of the angle between the vectors, 1 for the same."""

    chunk_n: int
    score: float


class VectorIndex(Protocol):
    """Keeps vectors: packed float32, little-endian, of length 1. All of a model have its dimensions.

    A document never changes, and neither do its vectors of a model: whoever puts them again puts the same. That it has some
    is noted in `document_vectors`, wherever they are.
    """

    async def store(self, database: Database) -> str:
        """Where the vectors of new models go: see `EmbeddingModel.store`."""

    async def prepare(self, database: Database, model: EmbeddingModel) -> None:
        """Makes the place for the vectors of a model whose dimensions are known. If it was lost, no document has vectors."""

    async def send(self, model: EmbeddingModel, document_n: int, vectors: Sequence[bytes]) -> None:
        """Brings the vectors of a document's chunks, in their order, to where they lie, if that is outside of the database.

        Before the transaction with `put`: until that is over nobody finds them.
        """

    async def put(
        self, connection: AsyncConnection, model: EmbeddingModel, document_n: int, vectors: Sequence[bytes]
    ) -> None:
        """Stores the vectors of a document's chunks, in their order; those that were sent are noted."""

    async def search(
        self, database: Database, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        """The nearest chunks of what is reached, nearest first. Raises OuiError where the vectors are out of reach."""

    async def known(self, database: Database, model: EmbeddingModel, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors of chunks whose texts have these hashes, by hash, as far as there are some."""

    async def remove(self, database: Database, model: EmbeddingModel) -> None:
        """Removes a model with its vectors."""

    async def tidy(self, database: Database, model: EmbeddingModel) -> None:
        """Removes vectors whose documents are gone, and notes of vectors that are lost, where these don't go by themselves."""

    async def answers(self) -> bool:
        """Whether what keeps the vectors of new models can be reached: as of now, or of some seconds ago."""

    def forget(self, knowledge_ids: Collection[str]) -> None:
        """What is kept in memory of these bases held something that is not there any more."""
