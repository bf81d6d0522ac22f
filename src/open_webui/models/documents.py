"""Documents: the texts that were taken out of files or pages of the web, in chunks that are searched.

A document is never changed but for its name: a file that is read anew has a new document, with a number that nothing had before.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, NotFound
from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import ByDialect, among, clean, clean_json, decode_json, now
from open_webui.utils import bigrams

t, chunk, file, knowledge, link = tables.document, tables.chunk, tables.file, tables.knowledge, tables.knowledge_file
MAX_CHUNKS: Final = 1 << constants.CHUNK_BITS
# The most chunks that one transaction writes; what has more is written by `begin`, `add` and `attach` in several.
PORTION: Final = 1_000
# Seconds after which a document goes that nobody went on writing.
ABANDONED: Final = 86_400
# PostgreSQL shifts a bigint by an integer only, which a parameter is not.
_BITS: Final[sa.ColumnElement[int]] = sa.literal_column(str(constants.CHUNK_BITS), sa.Integer)


class Piece(Protocol):
    """A part of a text, as splitting gives it: from `start` to before `end`, under these headings, on a page from 1."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def page(self) -> int | None: ...
    @property
    def headings(self) -> tuple[str, ...]: ...


class _Whole(msgspec.Struct, frozen=True):
    """A text that is one piece."""

    text: str
    start: int = 0
    page: int | None = None
    headings: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        return len(self.text)


class NewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a document before its chunks. It is of a file, or else of a collection of somebody's.

    hash: of its text, which is a blob. splitting: how it was split, see `Splitting.signature`. expires_at: seconds, when it
    goes by itself.
    """

    name: str
    hash: str
    splitting: str
    file_id: str | None = None
    user_id: str | None = None
    collection: str | None = None
    url: str | None = None
    meta: dict[str, Any] = {}
    expires_at: int | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A stored document; chunks: how many it has."""

    n: int
    file_id: str | None
    user_id: str | None
    collection: str | None
    name: str
    url: str | None
    hash: str
    splitting: str
    chunks: int
    meta: dict[str, Any]
    expires_at: int | None
    created_at: int
    updated_at: int


class Chunk(msgspec.Struct, frozen=True):
    """A chunk; its document's text has it from `start` to before `end`."""

    n: int
    text: str
    headings: tuple[str, ...]
    page: int | None
    start: int
    end: int

    @property
    def passage(self) -> str:
        return passage(self.text, self.headings)


_columns = [t.c[name] for name in Document.__struct_fields__]
_chunk_columns = (chunk.c.n, chunk.c.text, chunk.c.title, chunk.c.page, chunk.c.start, chunk.c.end)
_add_chunks = Prepared(chunk.insert(), ["n", "document_n", "text", "title", "words", "hash", "page", "start", "end"])
_counts = ByDialect("SELECT d.n, d.chunks FROM <rows numbers> w CROSS JOIN document d WHERE d.n = w.value")
_delete_of_file = Prepared(t.delete().where(t.c.file_id == sa.bindparam("file_id")))


def passage(text: str, headings: Sequence[str]) -> str:
    """What is embedded of a chunk: the headings over it, and its text."""
    return f"{' > '.join(headings)}\n{text}" if headings else text


def passage_hash(text: str, headings: Sequence[str]) -> bytes:
    """16 bytes that are the same where `passage` is."""
    return hashlib.blake2b(passage(text, headings).encode("utf-8", "surrogatepass"), digest_size=16).digest()


async def is_any(connection: AsyncConnection) -> bool:
    """Whether there is a document at all."""
    return await connection.scalar(sa.select(t.c.n).limit(1)) is not None


# Writing


async def replace(connection: AsyncConnection, document: NewDocument, pieces: Sequence[Piece]) -> int:
    """Stores a document in the place of what its file had, or what its collection has of the same address and name.

    Gives its number. For at most PORTION pieces. Raises BadRequest where a document can't have so many, NotFound where the
    file is gone.
    """
    n = await begin(connection, document, len(pieces))
    await add(connection, n, document.name, 0, pieces)
    await attach(connection, n, document)
    return n


async def begin(connection: AsyncConnection, document: NewDocument, chunks: int) -> int:
    """Stores a document that nobody finds before `attach`; gives its number. chunks: how many it will have.

    Raises BadRequest where a document can't have so many.
    """
    if chunks > MAX_CHUNKS:
        raise BadRequest(
            f"This text has {chunks:,} parts, and {MAX_CHUNKS:,} are the most. Raise the chunk size, or divide the file."
        )
    at = now()
    values = {
        "name": clean(document.name),
        "url": document.url and clean(document.url),
        "hash": document.hash,
        "splitting": document.splitting,
        "chunks": chunks,
        "meta": clean_json(document.meta),
        "expires_at": at + ABANDONED,
        "created_at": at,
        "updated_at": at,
    }
    return int(await connection.scalar(t.insert().values(values).returning(t.c.n)) or 0)


async def add(connection: AsyncConnection, n: int, name: str, first: int, pieces: Sequence[Piece]) -> None:
    """Writes pieces of a document, the first at this position."""
    if pieces:
        rows = [_row(n, clean(name), position, piece) for position, piece in enumerate(pieces, first)]
        await _add_chunks.run_many(connection, rows)


def _row(n: int, name: str, position: int, piece: Piece) -> dict[str, Any]:
    text = clean(piece.text)
    headings = [" ".join(clean(heading).split()) for heading in piece.headings]
    title = "\n".join([" ".join(name.split()), *headings])
    words = bigrams.spaced(f"{text}\n{title}") if bigrams.has_runs(text) or bigrams.has_runs(title) else None
    return {
        "n": n << constants.CHUNK_BITS | position,
        "document_n": n,
        "text": text,
        "title": title,
        "words": words,
        "hash": passage_hash(text, headings),
        "page": piece.page,
        "start": piece.start,
        "end": piece.end,
    }


async def attach(connection: AsyncConnection, n: int, document: NewDocument) -> None:
    """Puts a document that was begun in its place; what was there goes. Raises NotFound where its file is gone."""
    if document.file_id is not None:
        await changed_files(connection, [document.file_id])
        # Two that read a file at the same time come one after the other.
        held = sa.select(file.c.id).where(file.c.id == document.file_id).with_for_update(key_share=True)
        if await connection.scalar(held) is None:
            raise NotFound
        await _delete_of_file.run(connection, {"file_id": document.file_id})
    else:
        same = t.c.collection == document.collection, t.c.user_id == document.user_id, t.c.name == clean(document.name)
        url = t.c.url == clean(document.url) if document.url else t.c.url.is_(None)
        await connection.execute(t.delete().where(*same, url))
    where = {"file_id": document.file_id, "user_id": document.user_id, "collection": document.collection}
    await connection.execute(t.update().where(t.c.n == n).values(**where, expires_at=document.expires_at))


async def put_memories(connection: AsyncConnection, texts: Mapping[str, str]) -> None:
    """Stores the texts of memories, by the memories' ids, in the place of those that they had: a document of one chunk each."""
    if not texts:
        return
    await connection.execute(t.delete().where(among(t.c.memory_id, texts)))
    at = now()
    rows = [
        {
            "memory_id": memory_id,
            "name": "",
            "hash": hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest(),
            "splitting": "",
            "chunks": 1,
            "meta": {},
            "created_at": at,
            "updated_at": at,
        }
        for memory_id, content in texts.items()
    ]
    made = await connection.execute(t.insert().returning(t.c.n, t.c.memory_id), rows)
    numbers = {memory_id: n for n, memory_id in made}
    pieces = [_row(numbers[memory_id], "", 0, _Whole(content)) for memory_id, content in texts.items()]
    await _add_chunks.run_many(connection, pieces)


async def rename(connection: AsyncConnection, file_id: str, name: str) -> None:
    """Gives a file's document another name, by which it is then found."""
    n = await connection.scalar(t.update().where(t.c.file_id == file_id).values(name=clean(name)).returning(t.c.n))
    if n is None:
        return
    rows = await connection.execute(sa.select(*_chunk_columns).where(_of(n)))
    for row in rows.all():
        new = _row(n, clean(name), row.n & MAX_CHUNKS - 1, _chunk(row))
        changed = chunk.update().where(chunk.c.n == row.n).values(title=new["title"], words=new["words"])
        await connection.execute(changed)


# Removing


async def delete_of_files(connection: AsyncConnection, file_ids: Collection[str]) -> None:
    """Removes what was taken out of files; the files stay."""
    await changed_files(connection, file_ids)
    await connection.execute(t.delete().where(among(t.c.file_id, file_ids)))


async def delete_collection(connection: AsyncConnection, user_id: str, collection: str) -> int:
    """Removes the documents of somebody's collection. Says how many there were."""
    done = await connection.execute(t.delete().where(t.c.collection == collection, t.c.user_id == user_id))
    return done.rowcount


async def delete_expired(connection: AsyncConnection, at: int, limit: int = 100) -> int:
    """Removes some of the documents whose time is over. Says how many."""
    old = sa.select(t.c.n).where(t.c.expires_at <= at).limit(limit).with_for_update(skip_locked=True)
    return (await connection.execute(t.delete().where(t.c.n.in_(old)))).rowcount


async def changed_files(connection: AsyncConnection, file_ids: Collection[str]) -> None:
    """What is in these files has changed: the revisions of the knowledge bases that hold them rise.

    Whoever removes files calls it before, since their places in knowledge bases go with them.
    """
    ids = await connection.scalars(
        sa.select(link.c.knowledge_id).where(among(link.c.file_id, file_ids)).distinct().order_by(link.c.knowledge_id)
    )
    await changed(connection, list(ids))


async def hold(connection: AsyncConnection, n: int) -> bool:
    """Keeps a document from going until the transaction is over. False where it is gone already."""
    return (
        await connection.scalar(sa.select(t.c.n).where(t.c.n == n).with_for_update(read=True, key_share=True))
        is not None
    )


async def changed_document(connection: AsyncConnection, n: int) -> None:
    """What is found of a document has changed: as `changed_files` of its file, if it has one."""
    file_id = await connection.scalar(sa.select(t.c.file_id).where(t.c.n == n))
    if file_id is not None:
        await changed_files(connection, [file_id])


async def changed(connection: AsyncConnection, knowledge_ids: Collection[str]) -> None:
    """What these knowledge bases hold has changed: their revisions rise. Called in the transaction that changes it."""
    if knowledge_ids:
        # In one order always, so that two that change the same ones don't wait for each other in a circle.
        rows = sa.select(knowledge.c.id).where(among(knowledge.c.id, knowledge_ids)).order_by(knowledge.c.id)
        ids = list(await connection.scalars(rows.with_for_update(key_share=True)))
        risen = knowledge.update().where(among(knowledge.c.id, ids)).values(revision=knowledge.c.revision + 1)
        await connection.execute(risen)


# Reading; the caller knows already that it may read the file or the collection


async def of_files(connection: AsyncConnection, file_ids: Collection[str]) -> dict[str, Document]:
    """The documents of files, by the files' ids."""
    rows = await connection.execute(sa.select(*_columns).where(among(t.c.file_id, file_ids)))
    return {row.file_id: _document(row) for row in rows}


async def of_collection(connection: AsyncConnection, user_id: str, collection: str) -> list[Document]:
    """The documents of somebody's collection, oldest first."""
    where = t.c.collection == collection, t.c.user_id == user_id
    return [_document(row) for row in await connection.execute(sa.select(*_columns).where(*where).order_by(t.c.n))]


async def chunks_of(connection: AsyncConnection, n: int, first: int = 0, limit: int = MAX_CHUNKS) -> list[Chunk]:
    """Chunks of a document in their order, from the position `first` on."""
    rows = sa.select(*_chunk_columns).where(_of(n, first)).order_by(chunk.c.n).limit(limit)
    return [_chunk(row) for row in await connection.execute(rows)]


async def around(connection: AsyncConnection, chunk_n: int, neighbours: int) -> list[Chunk]:
    """A chunk of a document with so many before and after it."""
    n, position = chunk_n >> constants.CHUNK_BITS, chunk_n & MAX_CHUNKS - 1
    first = max(0, position - neighbours)
    return await chunks_of(connection, n, first, position + neighbours + 1 - first)


async def newest(connection: AsyncConnection) -> int:
    """The highest number that a document has; 0 where there is none."""
    return int(await connection.scalar(sa.select(sa.func.max(t.c.n))) or 0)


async def chunk_counts(connection: AsyncConnection, numbers: Collection[int]) -> dict[int, int]:
    """How many chunks documents have that are there, by number; also those that are being stored."""
    return {row[0]: row[1] for row in await _counts.of(connection).all(connection, {"numbers": list(numbers)})}


async def split_otherwise(
    connection: AsyncConnection, splitting: str, after: int = 0, limit: int = 100
) -> list[Document]:
    """Documents that were not split in this way, whose numbers are higher than `after`, by number."""
    where = t.c.splitting != splitting, t.c.n > after, sa.or_(t.c.file_id.is_not(None), t.c.collection.is_not(None))
    rows = await connection.execute(sa.select(*_columns).where(*where).order_by(t.c.n).limit(limit))
    return [_document(row) for row in rows]


def _of(n: int, first: int = 0) -> "sa.ColumnElement[bool]":
    """The chunks of a document, from a position on."""
    return chunk.c.n.between(n << constants.CHUNK_BITS | first, (n + 1 << constants.CHUNK_BITS) - 1)


def _document(row: Any) -> Document:
    values = row._asdict()
    values["meta"] = values["meta"] if isinstance(values["meta"], dict) else decode_json(values["meta"]) or {}
    return Document(**values)


def _chunk(row: Any) -> Chunk:
    n, text, title, *where = row
    return Chunk(n, text, tuple(title.split("\n")[1:]), *where)
