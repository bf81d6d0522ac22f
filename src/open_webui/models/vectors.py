"""Which embedding models there are vectors of, which documents have some, and the vectors where they are
packed, a row a document.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import ByDialect, inserting, now

model, t, document, chunk = tables.embedding_model, tables.document_vectors, tables.document, tables.chunk
# The store that every database has.
PACKED: Final = "packed"
# Bytes of a number.
FLOAT: Final = 4
# Hashes that one statement looks for.
BLOCK: Final = 500
_POSITION: Final = (1 << constants.CHUNK_BITS) - 1


class EmbeddingModel(msgspec.Struct, frozen=True):
    """What vectors were made by, and where they lie. dimensions: None until the first is stored. is_active: searches use it."""

    n: int
    signature: str
    store: str
    dimensions: int | None
    is_active: bool


_models = sa.select(*(model.c[name] for name in EmbeddingModel.__struct_fields__))
_active = Prepared(_models.where(model.c.is_active))
_put = Prepared(t.insert(), ["document_n", "model_n", "data"])


async def active(connection: AsyncConnection) -> EmbeddingModel | None:
    """The model whose vectors are searched."""
    row = await _active.first(connection, {})
    return EmbeddingModel(*row) if row is not None else None


async def every(connection: AsyncConnection) -> list[EmbeddingModel]:
    return [EmbeddingModel(*row) for row in await connection.execute(_models.order_by(model.c.n))]


async def ensure(connection: AsyncConnection, signature: str, store: str = PACKED) -> EmbeddingModel:
    """The model of a signature in a store; a new one is not active."""
    row = {"signature": signature, "store": store, "is_active": False, "created_at": now()}
    await connection.execute(inserting(connection, model).on_conflict_do_nothing(), row)
    wanted = _models.where(model.c.signature == signature, model.c.store == store)
    found = (await connection.execute(wanted)).one()
    return EmbeddingModel(*found)


async def set_dimensions(connection: AsyncConnection, n: int, dimensions: int) -> None:
    """Notes how long a model's vectors are."""
    await connection.execute(model.update().where(model.c.n == n).values(dimensions=dimensions))


async def forget_notes(connection: AsyncConnection, n: int, documents: Collection[int] | None = None) -> None:
    """These documents have no vectors of a model; None: none has. For stores that keep the vectors elsewhere."""
    if documents is None:
        await connection.execute(t.delete().where(t.c.model_n == n))
    else:
        await _forget_notes.of(connection).run(connection, {"documents": list(documents), "model": n})


async def activate(connection: AsyncConnection, n: int) -> None:
    """Searches use this model's vectors from now on, and no other's."""
    await connection.execute(model.update().where(model.c.is_active, model.c.n != n).values(is_active=False))
    await connection.execute(model.update().where(model.c.n == n).values(is_active=True))


async def forget(connection: AsyncConnection, n: int) -> None:
    """Removes a model with its vectors."""
    await connection.execute(model.delete().where(model.c.n == n))


# Packed rows


async def put(connection: AsyncConnection, model_n: int, document_n: int, data: bytes) -> None:
    """Stores the vectors of a document, of all its chunks in order, in the place of those it had."""
    old = t.delete().where(t.c.document_n == document_n, t.c.model_n == model_n)
    await connection.execute(old)
    await _put.run(connection, {"document_n": document_n, "model_n": model_n, "data": data})


_in_base: Final = ByDialect(
    """SELECT d.n, d.chunks FROM knowledge_file k CROSS JOIN document d CROSS JOIN document_vectors v
    WHERE k.knowledge_id = :base AND d.file_id = k.file_id AND v.document_n = d.n AND v.model_n = :model"""
)
_packed: Final = ByDialect(
    """SELECT v.document_n, v.data FROM <rows numbers> w CROSS JOIN document_vectors v
    WHERE v.document_n = w.value AND v.model_n = :model"""
)
_noted: Final = ByDialect(
    """SELECT v.document_n FROM <rows numbers> w CROSS JOIN document_vectors v
    WHERE v.document_n = w.value AND v.model_n = :model"""
)
_forget_notes: Final = ByDialect(
    "DELETE FROM document_vectors WHERE model_n = :model AND document_n IN <numbers documents>"
)
_of_chunks: Final = ByDialect(
    """SELECT w.value, substr(v.data, CAST((w.value & <position>) * CAST(:length AS bigint) + 1 AS integer),
        CAST(:length AS integer))
    FROM <rows numbers> w CROSS JOIN document_vectors v
    WHERE v.document_n = w.value >> <bits> AND v.model_n = :model""".replace("<position>", str(_POSITION)).replace(
        "<bits>", str(constants.CHUNK_BITS)
    )
)


async def in_base(connection: AsyncConnection, knowledge_id: str, model_n: int) -> dict[int, int]:
    """The documents of a knowledge base that have vectors of a model: how many chunks, by number."""
    wanted = {"base": knowledge_id, "model": model_n}
    return {row[0]: row[1] for row in await _in_base.of(connection).all(connection, wanted)}


async def noted(connection: AsyncConnection, model_n: int, numbers: Collection[int]) -> list[int]:
    """Those of some documents that have vectors of a model."""
    wanted = {"numbers": list(numbers), "model": model_n}
    return [row[0] for row in await _noted.of(connection).all(connection, wanted)]


async def chunks_noted(connection: AsyncConnection, model_n: int) -> dict[int, int]:
    """All documents that have vectors of a model: how many chunks, by number."""
    rows = sa.select(document.c.n, document.c.chunks).join(t, t.c.document_n == document.c.n)
    return {row[0]: row[1] for row in await connection.execute(rows.where(t.c.model_n == model_n))}


async def packed(connection: AsyncConnection, model_n: int, numbers: Collection[int]) -> dict[int, bytes]:
    """The vectors of documents, by the documents' numbers."""
    wanted = {"numbers": list(numbers), "model": model_n}
    return {row[0]: row[1] for row in await _packed.of(connection).all(connection, wanted)}


async def of_chunks(connection: AsyncConnection, of: EmbeddingModel, numbers: Sequence[int]) -> dict[int, bytes]:
    """The vectors of single chunks, by the chunks' numbers."""
    length = (of.dimensions or 0) * FLOAT
    wanted = {"numbers": list(numbers), "model": of.n, "length": length}
    found = await _of_chunks.of(connection).all(connection, wanted)
    return {row[0]: row[1] for row in found if len(row[1]) == length}


async def with_texts(connection: AsyncConnection, of: EmbeddingModel, hashes: Collection[bytes]) -> dict[bytes, int]:
    """Numbers of chunks that have vectors of a model, and whose texts have these hashes; by hash, one for each."""
    listed = list(dict.fromkeys(hashes))
    numbers: dict[bytes, int] = {}
    for k in range(0, len(listed) if of.dimensions else 0, BLOCK):
        rows = sa.select(chunk.c.hash, sa.func.min(chunk.c.n))
        rows = rows.join(t, sa.and_(t.c.document_n == chunk.c.document_n, t.c.model_n == of.n))
        rows = rows.where(chunk.c.hash.in_(listed[k : k + BLOCK])).group_by(chunk.c.hash)
        numbers.update((bytes(row[0]), row[1]) for row in await connection.execute(rows))
    return numbers


# What is to be embedded


def attached() -> "sa.ColumnElement[bool]":
    """Of the documents those that are found; another is being written, or was left in the middle of it."""
    of = (document.c.file_id, document.c.collection, document.c.memory_id)
    return sa.or_(*(column.is_not(None) for column in of))


async def missing(connection: AsyncConnection, model_n: int, after: int = 0, limit: int = 50) -> list[int]:
    """Documents that have chunks but no vectors of a model, whose numbers are higher than `after`, in their order."""
    has = sa.exists().where(t.c.document_n == document.c.n, t.c.model_n == model_n)
    where = document.c.n > after, document.c.chunks > 0, attached(), sa.not_(has)
    return list(await connection.scalars(sa.select(document.c.n).where(*where).order_by(document.c.n).limit(limit)))


async def progress(connection: AsyncConnection, model_n: int) -> tuple[int, int]:
    """How many documents have vectors of a model, and how many might have."""
    done = sa.select(sa.func.count()).where(t.c.model_n == model_n).scalar_subquery()
    of = sa.select(sa.func.count()).where(document.c.chunks > 0, attached()).scalar_subquery()
    row = (await connection.execute(sa.select(done, of))).one()
    return row[0], row[1]
