"""What a question has attached, as the database has it: files and knowledge bases that somebody may read, and their texts."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import files, scopes, tables
from open_webui.models import knowledge as knowledge_bases
from open_webui.models.base import among
from open_webui.models.scopes import Scope
from open_webui.models.vectors import attached
from open_webui.principal import Principal

file, link, knowledge, document = tables.file, tables.knowledge_file, tables.knowledge, tables.document
# Texts of one question.
MOST_TEXTS: Final = 500


class FileState(msgspec.Struct, frozen=True):
    """A file that somebody may read. status: of reading it. hash: of its text, once that is there. data, meta: as stored."""

    id: str
    name: str
    status: str | None
    hash: str | None
    data: Any
    meta: Any

    @property
    def problem(self) -> str | None:
        """Why its text could not be read."""
        if self.status != "failed":
            return None
        said = self.data.get("error") if isinstance(self.data, dict) else None
        return said if isinstance(said, str) and said else "It could not be read."


class Text(msgspec.Struct, frozen=True):
    """A text that is kept. hash: of the blob that holds it. file_id: None for one of a collection."""

    file_id: str | None
    name: str
    hash: str
    meta: Any
    url: str | None = None


_states = sa.select(file.c.id, file.c.filename, file.c.status, file.c.hash, file.c.data, file.c.meta)


async def file_states(
    connection: AsyncConnection, principal: Principal, ids: Collection[str], *, admin_access: bool
) -> dict[str, FileState]:
    """Those of the files that somebody may read, by id."""
    if not ids:
        return {}
    wanted = _states.where(among(file.c.id, ids), files.readable_by(principal, admin_access=admin_access))
    return {row[0]: FileState(*row) for row in await connection.execute(wanted)}


async def bases(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> frozenset[str]:
    """Those of the knowledge bases that somebody may read."""
    if not ids:
        return frozenset()
    wanted = sa.select(knowledge.c.id).where(
        among(knowledge.c.id, ids), knowledge_bases.repository.readable_by(principal)
    )
    return frozenset(await connection.scalars(wanted))


async def bases_of(
    connection: AsyncConnection, file_ids: Collection[str], knowledge_ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """In which of the knowledge bases each file is."""
    found: dict[str, set[str]] = {}
    if file_ids and knowledge_ids:
        pairs = sa.select(link.c.file_id, link.c.knowledge_id)
        pairs = pairs.where(among(link.c.file_id, file_ids), among(link.c.knowledge_id, knowledge_ids))
        for file_id, knowledge_id in await connection.execute(pairs):
            found.setdefault(file_id, set()).add(knowledge_id)
    return {file_id: frozenset(ids) for file_id, ids in found.items()}


async def texts(connection: AsyncConnection, principal: Principal, scope: Scope, *, admin_access: bool) -> list[Text]:
    """The texts of a scope that somebody may read: files in the order of their names, then those of collections."""
    out: dict[str, Text] = {}
    states = await file_states(connection, principal, scope.files, admin_access=admin_access)
    for file_id in scope.files:
        state = states.get(file_id)
        if state is not None and state.hash is not None:
            out[file_id] = Text(state.id, state.name, state.hash, state.meta)
    if scope.knowledge:
        wanted = (
            sa.select(file.c.id, file.c.filename, file.c.hash, file.c.meta)
            .join(link, link.c.file_id == file.c.id)
            .join(knowledge, knowledge.c.id == link.c.knowledge_id)
            .where(among(knowledge.c.id, scope.knowledge), knowledge_bases.repository.readable_by(principal))
            .where(file.c.hash.is_not(None))
            .order_by(file.c.filename, file.c.id)
            .limit(MOST_TEXTS)
        )
        for row in await connection.execute(wanted):
            out.setdefault(row[0], Text(*row))
    found = list(out.values())
    if scope.collections:
        reach = await scopes.resolve(connection, principal, Scope(collections=scope.collections))
        own = sa.select(document.c.file_id, document.c.name, document.c.hash, document.c.meta, document.c.url)
        own = own.where(among(document.c.n, reach.documents)).order_by(document.c.n)
        found += [Text(*row) for row in await connection.execute(own.limit(MOST_TEXTS))]
    return found[:MOST_TEXTS]


async def counts(connection: AsyncConnection, signature: str | None) -> dict[str, int]:
    """How many documents are searched (`documents`), how many have vectors of a signature's model (`embedded`), and how many
    files are being read (`reading`) or could not be read (`failed`).
    """
    vectors, model = tables.document_vectors, tables.embedding_model
    embedded = (
        sa.select(sa.func.count(vectors.c.document_n.distinct()))
        .select_from(vectors)
        .join(model, model.c.n == vectors.c.model_n)
    )
    of_status = sa.select(file.c.status, sa.func.count()).where(file.c.status.is_not(None)).group_by(file.c.status)
    statuses = {row[0]: int(row[1]) for row in await connection.execute(of_status)}
    return {
        "documents": int(await connection.scalar(sa.select(sa.func.count()).where(attached())) or 0),
        "embedded": int(await connection.scalar(embedded.where(model.c.signature == signature)) or 0)
        if signature
        else 0,
        "reading": statuses.get("pending", 0) + statuses.get("processing", 0),
        "failed": statuses.get("failed", 0),
    }
