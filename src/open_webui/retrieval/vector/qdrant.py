"""Vectors in a Qdrant: a collection for each embedding model, a point for each chunk, whose number is the chunk's.

Points are there before the transaction that notes them. What is searched are the documents that are reached and noted, so that
points of others may lie there: they are out of reach, and are removed now and then. What is lost there is made anew.
"""

import secrets
import struct
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.env import Settings
from open_webui.errors import ProviderError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import documents, vectors
from open_webui.models.scopes import Reach
from open_webui.models.vectors import FLOAT, EmbeddingModel
from open_webui.retrieval.vector import qdrant_server as api
from open_webui.retrieval.vector.base import Hit
from open_webui.retrieval.vector.qdrant_server import Point, Points, Qdrant, pages

log = get_logger(__name__)
# What the stores of its models begin with; the rest is a word by which this database's collections are known from others'.
STORE: Final = "qdrant:"
# Numbers of vectors that one request or answer holds.
NUMBERS: Final = 200_000
# Points that are asked for without their vectors in one go.
PAGE: Final = 10_000
_FIELD: Final = "document"
_LAST: Final = (1 << constants.CHUNK_BITS) - 1


class QdrantIndex:
    """VectorIndex in a service."""

    def __init__(self, server: Qdrant, settings: Settings) -> None:
        self._server = server
        self._prefix = settings.qdrant_collection_prefix
        self._links = settings.qdrant_hnsw_m
        self._on_disk = settings.qdrant_on_disk
        self._store = STORE + secrets.token_hex(4)

    async def store(self, database: Database) -> str:
        """The one of the models that are there, so that all have the same word."""
        async with database.read() as connection:
            there = [model.store for model in await vectors.every(connection) if model.store.startswith(STORE)]
        self._store = there[0] if there else self._store
        return self._store

    async def prepare(self, database: Database, model: EmbeddingModel) -> None:
        path = self._path(model)
        if not (await self._server.ask("GET", f"{path}/exists", None, api.Exists)).exists:
            # First the notes, then the collection: whoever ends between the two finds neither.
            async with database.write() as unit:
                await vectors.forget_notes(unit.connection, model.n)
            await self._create(path, model)
        there = await self._server.ask("GET", path, None, api.Collection)
        if there.dimensions != model.dimensions:
            raise ProviderError(
                f"The collection {path.rpartition('/')[2]} in Qdrant has vectors of {there.dimensions} numbers, and is none"
                " of ours. Give this server a QDRANT_COLLECTION_PREFIX of its own."
            )
        if there.links != self._links:
            await self._server.ask("PATCH", path, {"hnsw_config": {"m": self._links}}, bool)
        if _FIELD not in there.payload_schema:
            index = {"field_name": _FIELD, "field_schema": {"type": "integer", "lookup": True, "range": False}}
            await self._server.ask("PUT", f"{path}/index?wait=true", index, dict[str, Any])

    async def _create(self, path: str, model: EmbeddingModel) -> None:
        body = {
            # They are of length 1: the inner product is the cosine, and they stay as they are.
            "vectors": {"size": model.dimensions, "distance": "Dot", "on_disk": self._on_disk},
            "hnsw_config": {"m": self._links},
            "on_disk_payload": self._on_disk,
        }
        try:
            await self._server.ask("PUT", path, body, bool)
        except ProviderError as error:
            # Another process was quicker.
            if error.status != 409:
                raise

    async def send(self, model: EmbeddingModel, document_n: int, given: Sequence[bytes]) -> None:
        first = document_n << constants.CHUNK_BITS
        points = [(first + k, data) for k, data in enumerate(given)]
        for page in pages(points, _at_once(model)):
            body = [{"id": n, "vector": _numbers(data), "payload": {_FIELD: document_n}} for n, data in page]
            await self._server.ask("PUT", f"{self._path(model)}/points?wait=true", {"points": body}, dict[str, Any])

    async def put(
        self,
        connection: AsyncConnection,
        model: EmbeddingModel,
        document_n: int,
        given: Sequence[bytes],  # noqa: ARG002 - of the port
    ) -> None:
        await documents.changed_document(connection, document_n)
        await vectors.put(connection, model.n, document_n, b"")

    async def search(
        self, database: Database, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        if model.dimensions is None or len(query) != model.dimensions * FLOAT or limit < 1:
            return []
        async with database.read() if reach.few is None else database.look() as connection:
            listed = set(await vectors.noted(connection, model.n, reach.documents if reach.few is None else reach.few))
            for knowledge_id in reach.knowledge if reach.few is None else ():
                listed.update(await vectors.in_base(connection, knowledge_id, model.n))
        if not listed:
            return []
        body = {
            "query": _numbers(query),
            "filter": {"must": [{"key": _FIELD, "match": {"any": sorted(listed)}}]},
            "limit": limit,
            "params": {"hnsw_ef": max(128, 2 * limit)} if self._links else {"exact": True},
            "with_payload": False,
            "with_vector": False,
        }
        found = (await self._server.search(f"{self._path(model)}/points/query", body, Points)).points
        hits = [Hit(point.id, point.score) for point in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk_n))

    async def known(self, database: Database, model: EmbeddingModel, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        async with database.read() as connection:
            numbers = await vectors.with_texts(connection, model, hashes)
        there: dict[int, bytes] = {}
        for page in pages(sorted(set(numbers.values())), _at_once(model)):
            body = {"ids": page, "with_payload": False, "with_vector": True}
            points = await self._server.ask("POST", f"{self._path(model)}/points", body, list[Point])
            there |= {p.id: _packed(p.vector) for p in points if p.vector and len(p.vector) == model.dimensions}
        return {text: there[n] for text, n in numbers.items() if n in there}

    async def remove(self, database: Database, model: EmbeddingModel) -> None:
        await self._server.ask("DELETE", self._path(model), None, bool)
        async with database.write() as unit:
            await vectors.forget(unit.connection, model.n)

    async def tidy(self, database: Database, model: EmbeddingModel) -> None:
        """Looks at all points of a model. Its documents whose points are not all there have no vectors then."""
        if model.dimensions is None:
            return
        async with database.read() as connection:
            noted = await vectors.chunks_noted(connection, model.n)
        there: Counter[int] = Counter()
        offset: int | None = None
        while True:
            body = {"limit": PAGE, "with_payload": False, "with_vector": False}
            body |= {"offset": offset} if offset is not None else {}
            try:
                page = await self._server.ask("POST", f"{self._path(model)}/points/scroll", body, Points)
            except ProviderError as error:
                if error.status == 404:
                    # The next job that embeds makes it anew.
                    return
                raise
            stale = await _stale(database, [point.id for point in page.points])
            if stale:
                await self._server.ask(
                    "POST", f"{self._path(model)}/points/delete?wait=true", {"points": stale}, dict[str, Any]
                )
            there.update(n >> constants.CHUNK_BITS for n in {point.id for point in page.points}.difference(stale))
            offset = page.next_page_offset
            if offset is None:
                break
        lost = [n for n, chunks in noted.items() if there[n] < chunks]
        if lost:
            log.warning("vectors that are gone are made anew", documents=len(lost))
            async with database.write() as unit:
                await vectors.forget_notes(unit.connection, model.n, lost)

    async def answers(self) -> bool:
        return await self._server.answers()

    def forget(self, knowledge_ids: Collection[str]) -> None:
        """Nothing is kept in memory."""

    def _path(self, model: EmbeddingModel) -> str:
        return f"/collections/{collection(self._prefix, model)}"


def collection(prefix: str, model: EmbeddingModel) -> str:
    """The name of a model's collection."""
    return f"{prefix}_{model.store.removeprefix(STORE)}_{model.n}"


async def _stale(database: Database, numbers: Sequence[int]) -> list[int]:
    """Those numbers that no chunk can have: of documents that are gone, or past a document's end."""
    async with database.read() as connection:
        counts = await documents.chunk_counts(connection, sorted({n >> constants.CHUNK_BITS for n in numbers}))
    return [n for n in numbers if n & _LAST >= counts.get(n >> constants.CHUNK_BITS, 0)]


def _at_once(model: EmbeddingModel) -> int:
    """How many vectors of a model go into one request or answer."""
    return max(1, NUMBERS // (model.dimensions or 1))


def _numbers(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // FLOAT}f", data)


def _packed(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)
