"""What a search goes through, and how much of that somebody may read: files, knowledge bases, one's own collections and
memories.

The ids come from clients. What they name is asked for together with the right to it, here and nowhere else.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import files, tables
from open_webui.models import knowledge as bases
from open_webui.models.base import ByDialect, among, now
from open_webui.principal import Principal

knowledge, file = tables.knowledge, tables.file
# Of a scope with no more documents and chunks than these, the documents are listed.
FEW_DOCUMENTS: Final = 256
FEW_CHUNKS: Final = 2_000


class Scope(msgspec.Struct, frozen=True):
    """What is searched, by ids that a client named. collections: of the caller's own texts and pages. memories: the caller's
    own, which have no name that a client could say. kind: of memories, those of this type alone.

    admin_access: whether admins get at other people's files, as the server's settings say.
    """

    files: tuple[str, ...] = ()
    knowledge: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    admin_access: bool = False
    memories: bool = False
    kind: Literal["user", "context"] | None = None


class Reach(msgspec.Struct, frozen=True):
    """What somebody may search of a scope, as one snapshot of the database has it.

    knowledge: revisions of knowledge bases, by id. documents: of files, collections and memories, how many chunks each has, by
    number. few: the same of all documents of the scope; None where these are many.
    """

    knowledge: dict[str, int]
    documents: dict[int, int]
    few: dict[int, int] | None

    @property
    def is_empty(self) -> bool:
        return not self.knowledge and not self.documents


async def resolve(connection: AsyncConnection, principal: Principal, scope: Scope) -> Reach:
    """What the principal may search of a scope."""
    revisions = await _bases(connection, principal, scope.knowledge) if scope.knowledge else {}
    named: dict[int, int] = {}
    if scope.files:
        named |= await _of_files(connection, principal, scope.files, scope.admin_access)
    if scope.collections:
        wanted: dict[str, Any] = {"ids": scope.collections, "owner": principal.id, "at": now()}
        named.update((row[0], row[1]) for row in await _collections.of(connection).all(connection, wanted))
    if scope.memories:
        wanted = {"owner": principal.id, "kinds": [scope.kind or "user", scope.kind or "context"]}
        found = await _memories.of(connection).all(connection, wanted)
        named.update((row[0], row[1]) for row in found)
    return Reach(revisions, named, await _few(connection, revisions, named))


_base_rows: Final = ByDialect("SELECT id, revision, user_id FROM knowledge WHERE id IN <texts ids>")
_file_rows: Final = ByDialect(
    "SELECT d.n, d.chunks, f.id, f.user_id FROM document d JOIN file f ON f.id = d.file_id WHERE d.file_id IN <texts ids>"
)
_collections: Final = ByDialect(
    """SELECT n, chunks FROM document WHERE collection IN <texts ids> AND user_id = :owner
    AND (expires_at IS NULL OR expires_at > :at)"""
)
_memories: Final = ByDialect(
    """SELECT d.n, d.chunks FROM memory m JOIN document d ON d.memory_id = m.id
    WHERE m.user_id = :owner AND m.type IN <texts kinds>"""
)
_in_bases: Final = ByDialect(
    """SELECT d.n, d.chunks FROM knowledge_file k JOIN document d ON d.file_id = k.file_id
    WHERE k.knowledge_id IN <texts ids> LIMIT :most""",
    # One document after the other, since few are wanted: OFFSET keeps the planner from reading all of them side by side.
    postgresql="""SELECT d.n, d.chunks FROM knowledge_file k
    CROSS JOIN LATERAL (SELECT n, chunks FROM document WHERE file_id = k.file_id OFFSET 0) d
    WHERE k.knowledge_id IN <texts ids> LIMIT CAST(:most AS bigint)""",
)


async def _bases(connection: AsyncConnection, principal: Principal, ids: Sequence[str]) -> dict[str, int]:
    """The revisions of those that the principal may read."""
    found = await _base_rows.of(connection).all(connection, {"ids": ids})
    others = [row[0] for row in found if row[2] != principal.id]
    if others:
        allowed = sa.select(knowledge.c.id).where(
            among(knowledge.c.id, others), bases.repository.readable_by(principal)
        )
        others = list(await connection.scalars(allowed))
    return {row[0]: row[1] for row in found if row[2] == principal.id or row[0] in others}


async def _of_files(
    connection: AsyncConnection, principal: Principal, ids: Sequence[str], admin_access: bool
) -> dict[int, int]:
    """The documents of those that the principal may read."""
    found = await _file_rows.of(connection).all(connection, {"ids": ids})
    others = [row[2] for row in found if row[3] != principal.id]
    if others:
        allowed = sa.select(file.c.id).where(
            among(file.c.id, others), files.readable_by(principal, admin_access=admin_access)
        )
        others = list(await connection.scalars(allowed))
    return {row[0]: row[1] for row in found if row[3] == principal.id or row[2] in others}


async def _few(connection: AsyncConnection, searched: dict[str, int], named: dict[int, int]) -> dict[int, int] | None:
    all_of_them = dict(named)
    if searched:
        wanted = {"ids": list(searched), "most": FEW_DOCUMENTS + 1}
        all_of_them.update((row[0], row[1]) for row in await _in_bases.of(connection).all(connection, wanted))
    is_small = len(all_of_them) <= FEW_DOCUMENTS and sum(all_of_them.values()) <= FEW_CHUNKS
    return all_of_them if is_small else None


class Row(msgspec.Struct, frozen=True):
    """A chunk with what is shown of its document, in the order in which it is read. meta: JSON, as it is stored."""

    chunk_n: int
    text: str
    title: str
    page: int | None
    start: int
    end: int
    document_n: int
    file_id: str | None
    collection: str | None
    name: str
    url: str | None
    meta: str | None
    memory_id: str | None

    @property
    def headings(self) -> tuple[str, ...]:
        """Those over the text, which stand in the title below the document's name."""
        return tuple(self.title.split("\n")[1:])


# The base of a document is found by its file, which few bases hold, and not by trying all that are asked for.
_rows: Final = ByDialect(
    """SELECT c.n, c.text, c.title, c.page, c.start, c."end", d.n, d.file_id, d.collection, d.name, d.url, d.meta, d.memory_id
    FROM <rows numbers> w CROSS JOIN chunk c JOIN document d ON d.n = c.document_n
    WHERE c.n = w.value AND (d.n IN <numbers documents>
    OR EXISTS (SELECT 1 FROM knowledge_file k WHERE k.file_id = d.file_id AND k.knowledge_id IN <texts bases>))"""
)


async def rows(connection: AsyncConnection, reach: Reach, numbers: list[int]) -> dict[int, Row]:
    """Chunks by their numbers, those of them that are reached. reach: as this snapshot of the database has it."""
    if reach.is_empty or not numbers:
        return {}
    wanted = {
        "numbers": numbers,
        "documents": list(reach.documents),
        "bases": list(reach.knowledge),
    }
    found = await _rows.of(connection).all(connection, wanted)
    return {row[0]: Row(*row) for row in found}
