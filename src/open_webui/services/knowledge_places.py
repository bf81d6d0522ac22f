"""Files come into a knowledge base and leave it: who may put which one where, in the caller's unit of work."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import knowledge, knowledge_directories, uploads
from open_webui.models.knowledge import Knowledge
from open_webui.principal import Principal
from open_webui.services import deps as services
from open_webui.services.ingestion import Ingestion

NO_FILE: Final = "This file was not found, or is not one of yours: {}."
NOT_HERE: Final = "This file is not in this knowledge base."
NO_DIRECTORY: Final = "This directory is not in this knowledge base."
ELSEWHERE: Final = "This knowledge base is found in another service, and holds no files."


class ReadingDeps(Protocol):
    """What putting a file somewhere needs of the state."""

    ingestion: Ingestion


class Deps(services.Deps, ReadingDeps, Protocol):
    """What knowledge bases need of it."""


async def writable(unit: UnitOfWork, principal: Principal, knowledge_id: str, *, missing: int = 400) -> Knowledge:
    """A base that the principal may change, locked. Raises NotFound (with this status), Forbidden."""
    return await knowledge.repository.require(
        unit.connection, principal, knowledge_id, "write", missing=missing, lock=True
    )


async def place(
    deps: ReadingDeps, unit: UnitOfWork, principal: Principal, knowledge_id: str, placed: Mapping[str, str | None]
) -> None:
    """Puts files into a base that `writable` gave: all or none. One that is in it stays where it is.

    placed: the directory of each file, None for the top. What nobody has read yet is read. Raises BadRequest for a file that
    the principal may not put there, NotFound for a directory that is not the base's.
    """
    connection = unit.connection
    if await knowledge.connection_of(connection, knowledge_id) is not None:
        raise BadRequest(ELSEWHERE)
    there = await knowledge.within(connection, knowledge_id, placed)
    wanted = {i: d or None for i, d in placed.items() if i not in there}
    allowed = await knowledge.placeable(connection, principal, wanted)
    for file_id in wanted:
        if file_id not in allowed:
            raise BadRequest(NO_FILE.format(file_id))
    await _check_directories(connection, knowledge_id, {d for d in wanted.values() if d})
    await knowledge.add_files(connection, principal.id, knowledge_id, wanted)
    for file_id in await uploads.have_read(connection, wanted):
        await deps.ingestion.enqueue(unit, file_id)


async def _check_directories(connection: AsyncConnection, knowledge_id: str, ids: Collection[str]) -> None:
    found = await knowledge_directories.of_many(connection, ids)
    if any(i not in found or found[i].knowledge_id != knowledge_id for i in ids):
        raise NotFound(NO_DIRECTORY)


async def forget(deps: ReadingDeps, unit: UnitOfWork, principal: Principal, file_ids: Collection[str]) -> None:
    """Removes those of the principal's own files that nothing uses, after they were taken out of a base."""
    gone = await knowledge.unneeded(unit.connection, principal.id, file_ids)
    await uploads.delete(unit.connection, gone)
    for file_id in gone:
        unit.after_commit(partial(deps.ingestion.forget, file_id))
