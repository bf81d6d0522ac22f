"""Vectors in the database's own rows, found by looking at all that are reached: exact, without an index.

Of each knowledge base that is searched a copy in bytes is kept, a quarter of the vectors' size: a number is one of 255 steps of
its vector's largest. The copy says how near each vector is at least and at most, so that only those that may be among the
nearest are read from the database and measured. The copy is of one revision of the base, and is brought up to date by what came
and went since.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.internal.db import Database
from open_webui.models import documents, vectors
from open_webui.models.scopes import Reach
from open_webui.models.vectors import FLOAT, EmbeddingModel
from open_webui.retrieval.vector.base import Hit

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float32]]

BITS: Final = constants.CHUNK_BITS
# Numbers of chunks, and of each its steps, their size, and what they are wrong by.
Part = tuple[Any, ...]
# Bytes that copies of knowledge bases take at most, all together.
COPIES_BYTES: Final = 64 * 2**20
# Chunks whose vectors are read and measured in one go.
BLOCK: Final = 2_048
# So few are measured at once, in less time than a thread takes to begin.
SMALL: Final = 512
# What sums of float32 may be wrong by.
SLACK: Final = 1e-5
# The most candidates that are measured, of those that may be among the nearest. More are there only where many are alike.
MOST_MEASURED: Final = 4_096


def numpy() -> Any:
    """NumPy, which is imported with the first search. It computes in the thread that calls it, and starts none."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import numpy  # noqa: ICN001, PLC0415 - an extra

    return numpy


class Copy:
    """The vectors of a knowledge base, in bytes. rows: the chunks' numbers. scale: of a step. error: how long the
    difference is from the vector itself.
    """

    def __init__(self, revision: int, rows: Any, steps: Any, scale: Any, error: Any) -> None:
        self.revision = revision
        self.rows, self.steps, self.scale, self.error = rows, steps, scale, error
        self.documents = frozenset((rows >> BITS).tolist())

    @property
    def size(self) -> int:
        """In bytes."""
        return int(sum(part.nbytes for part in (self.rows, self.steps, self.scale, self.error)))

    def may_be_nearest(self, query: "Floats", limit: int) -> Part:
        """The numbers of chunks among which the nearest are, and how near each is at least and at most."""
        np = numpy()
        near = np.empty(len(self.rows), np.float32)
        block = np.empty((BLOCK, self.steps.shape[1]), np.float32)
        for k in range(0, len(near), BLOCK):
            part = block[: len(near) - k]
            np.copyto(part, self.steps[k : k + BLOCK])
            np.dot(part, query, out=near[k : k + BLOCK])
        near *= self.scale
        return likely((self.rows, near - self.error, near + self.error), limit)


def likely(bounds: Part, limit: int) -> Part:
    """Those of some chunks among which the nearest are."""
    np = numpy()
    rows, least, most = bounds
    if len(rows) <= limit:
        return bounds
    may = np.flatnonzero(most >= np.partition(least, -limit)[-limit])
    if len(may) > MOST_MEASURED:
        may = may[np.argpartition(most[may], -MOST_MEASURED)[-MOST_MEASURED:]]
    return rows[may], least[may], most[may]


def joined(revision: int, parts: Sequence[Part], dimensions: int, old: Copy | None, gone: Collection[int]) -> Copy:
    """A copy of an old one without the documents that are gone, and with what came to it."""
    np = numpy()
    made = list(parts)
    if old is not None:
        stays = np.isin(old.rows >> BITS, sorted(gone), invert=True)
        made.insert(0, tuple(part[stays] for part in (old.rows, old.steps, old.scale, old.error)))
    if not made:
        none = np.empty(0, np.float32)
        return Copy(revision, np.empty(0, np.int64), np.empty((0, dimensions), np.int8), none, none)
    return Copy(revision, *(np.concatenate(columns) for columns in zip(*made, strict=True)))


def in_steps(packed: Mapping[int, bytes], counts: Mapping[int, int], dimensions: int) -> Part:
    """Documents' vectors as a copy has them."""
    np = numpy()
    rows, floats = unpacked(packed, counts, dimensions)
    scale = np.maximum(np.abs(floats).max(axis=1), np.float32(1e-20)) / np.float32(127)
    steps = np.rint(floats / scale[:, None]).astype(np.int8)
    error = np.linalg.norm(floats - steps * scale[:, None], axis=1) + np.float32(SLACK)
    return rows, steps, scale.astype(np.float32), error.astype(np.float32)


def nearest(packed: Mapping[int, bytes], counts: Mapping[int, int], query: "Floats", limit: int) -> list[Hit]:
    """The nearest chunks of some documents."""
    rows, floats = unpacked(packed, counts, len(query))
    return measured(rows, floats, query, limit)


def measured(rows: Any, floats: "Floats", query: "Floats", limit: int) -> list[Hit]:
    """The nearest of some vectors."""
    np = numpy()
    near = floats @ query
    best = np.argpartition(near, -limit)[-limit:] if len(near) > limit else np.arange(len(near))
    order = best[np.lexsort((rows[best], -near[best]))]
    return [Hit(int(rows[k]), float(near[k])) for k in order]


def unpacked(packed: Mapping[int, bytes], counts: Mapping[int, int], dimensions: int) -> tuple[Any, "Floats"]:
    """The numbers of chunks and their vectors, of documents. What is not as long as it must be is left out."""
    np = numpy()
    whole = {n: data for n, data in packed.items() if len(data) == counts.get(n, -1) * dimensions * FLOAT}
    rows = [np.arange(n << BITS, (n << BITS) + counts[n], dtype=np.int64) for n in whole]
    floats = np.frombuffer(b"".join(whole.values()), dtype="<f4").reshape(-1, dimensions)
    return (np.concatenate(rows) if rows else np.empty(0, np.int64)), floats


class PackedIndex:
    """VectorIndex in `document_vectors`, on any database."""

    def __init__(self, most_bytes: int = COPIES_BYTES) -> None:
        self._most_bytes = most_bytes
        # By knowledge base and model; the one that was searched last is at the end.
        self._copies: OrderedDict[tuple[str, int], Copy] = OrderedDict()
        self._updating: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()

    async def store(self, database: Database) -> str:  # noqa: ARG002 - of the port
        return vectors.PACKED

    async def prepare(self, database: Database, model: EmbeddingModel) -> None:
        """Nothing is to be made."""

    async def remove(self, database: Database, model: EmbeddingModel) -> None:
        async with database.write() as unit:
            await vectors.forget(unit.connection, model.n)

    async def send(self, model: EmbeddingModel, document_n: int, given: Sequence[bytes]) -> None:
        """They lie in the database."""

    async def put(
        self, connection: AsyncConnection, model: EmbeddingModel, document_n: int, given: Sequence[bytes]
    ) -> None:
        await documents.changed_document(connection, document_n)
        await vectors.put(connection, model.n, document_n, b"".join(given))

    async def known(self, database: Database, model: EmbeddingModel, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        async with database.read() as connection:
            numbers = await vectors.with_texts(connection, model, hashes)
            there = await vectors.of_chunks(connection, model, sorted(set(numbers.values())))
        return {text: there[n] for text, n in numbers.items() if n in there}

    async def search(
        self, database: Database, model: EmbeddingModel, query: bytes, reach: Reach, limit: int
    ) -> list[Hit]:
        if model.dimensions is None or len(query) != model.dimensions * FLOAT or limit < 1:
            return []
        # Copies of whole bases are made of one state.
        async with database.read() if reach.few is None else database.look() as connection:
            return await self._search(connection, model, numpy().frombuffer(query, dtype="<f4"), reach, limit)

    async def _search(
        self, connection: AsyncConnection, model: EmbeddingModel, asked: "Floats", reach: Reach, limit: int
    ) -> list[Hit]:
        if reach.few is not None:
            return await self._look_at(connection, model, asked, reach.few, limit)
        found = await self._look_at(connection, model, asked, reach.documents, limit)
        bounds: list[Part] = []
        for base in reach.knowledge.items():
            copy = await self._copy(connection, model, base)
            if isinstance(copy, Copy):
                bounds.append(await asyncio.to_thread(copy.may_be_nearest, asked, limit))
            else:
                found += await self._look_at(connection, model, asked, copy, limit)
        if bounds:
            found += await _measure(connection, model, asked, bounds, limit)
        once = {hit.chunk_n: hit for hit in found}
        return sorted(once.values(), key=lambda hit: (-hit.score, hit.chunk_n))[:limit]

    async def _look_at(
        self, connection: AsyncConnection, model: EmbeddingModel, query: "Floats", counts: Mapping[int, int], limit: int
    ) -> list[Hit]:
        """The nearest of these documents, read and measured block by block."""
        best: list[Hit] = []
        for block in _blocks(counts):
            packed = await vectors.packed(connection, model.n, block)
            if sum(counts[n] for n in block) <= SMALL:
                best += nearest(packed, counts, query, limit)
            else:
                best += await asyncio.to_thread(nearest, packed, counts, query, limit)
            best = sorted(best, key=lambda hit: (-hit.score, hit.chunk_n))[:limit]
        return best

    async def _copy(
        self, connection: AsyncConnection, model: EmbeddingModel, base: tuple[str, int]
    ) -> Copy | dict[int, int]:
        """The copy of a base as it is now; its documents where it would be too large."""
        key = base[0], model.n
        lock = self._updating.setdefault(key, asyncio.Lock())
        async with lock:
            copy = self._copies.get(key)
            # One that is newer than what this reader sees is as good: whatever is found is asked for once more.
            if copy is None or copy.revision < base[1]:
                counts = await vectors.in_base(connection, base[0], model.n)
                if sum(counts.values()) * ((model.dimensions or 0) + 16) > self._most_bytes:
                    self._copies.pop(key, None)
                    return counts
                copy = await self._updated(connection, model, base[1], counts, copy)
            self._keep(key, copy)
        return copy

    async def _updated(
        self,
        connection: AsyncConnection,
        model: EmbeddingModel,
        revision: int,
        counts: dict[int, int],
        old: Copy | None,
    ) -> Copy:
        """A copy of the base as it is now."""
        there = old.documents if old is not None else frozenset()
        dimensions = model.dimensions or 0
        parts: list[Part] = []
        for block in _blocks({n: count for n, count in counts.items() if n not in there}):
            packed = await vectors.packed(connection, model.n, block)
            parts.append(await asyncio.to_thread(in_steps, packed, counts, dimensions))
        return await asyncio.to_thread(joined, revision, parts, dimensions, old, there - counts.keys())

    async def tidy(self, database: Database, model: EmbeddingModel) -> None:
        """Vectors go with their documents."""

    async def answers(self) -> bool:
        return True

    def forget(self, knowledge_ids: Collection[str]) -> None:
        """Copies of these bases held what is not there any more."""
        for key in [key for key in self._copies if key[0] in knowledge_ids]:
            del self._copies[key]

    def _keep(self, key: tuple[str, int], copy: Copy) -> None:
        self._copies[key] = copy
        self._copies.move_to_end(key)
        size = sum(each.size for each in self._copies.values())
        while size > self._most_bytes and len(self._copies) > 1:
            size -= self._copies.popitem(last=False)[1].size


async def _measure(
    connection: AsyncConnection, model: EmbeddingModel, query: "Floats", bounds: Sequence[Part], limit: int
) -> list[Hit]:
    """The nearest of those that may be: their vectors are read and measured."""
    np = numpy()
    numbers = likely(tuple(np.concatenate(part) for part in zip(*bounds, strict=True)), limit)[0]
    exact = await vectors.of_chunks(connection, model, np.unique(numbers).tolist())
    rows = np.fromiter(exact, np.int64, len(exact))
    return measured(rows, np.frombuffer(b"".join(exact.values()), "<f4").reshape(-1, len(query)), query, limit)


def _blocks(counts: Mapping[int, int]) -> Iterator[list[int]]:
    """Documents in blocks of about BLOCK chunks."""
    block: list[int] = []
    size = 0
    for n, count in counts.items():
        block.append(n)
        size += count
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
