"""Documents made anew from their kept texts, as the settings say now; what is searched meanwhile is what was there before.

One job marks files as to be read, in the transactions that put their own jobs in, and they have their text already; texts of
collections are another. Both go on where they were. Vectors go at once where these are to be made anew: until there are new
ones, words alone are searched.
"""

from typing import Final, Protocol

import msgspec

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import documents, knowledge, memories, uploads
from open_webui.principal import Principal
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.services.indexing import Indexing
from open_webui.services.ingestion import Ingestion
from open_webui.services.uploads import collection_of
from open_webui.storage.base import BlobMissing

log = get_logger(__name__)
# Files that are marked in one unit of work.
_AT_ONCE: Final = 200


class Left(msgspec.Struct, frozen=True):
    """The payload of a job: the documents whose numbers are higher than this."""

    after: int = 0


class LeftFiles(msgspec.Struct, frozen=True):
    """The payload of a job: the files whose ids come after this one."""

    after: str = ""


class LeftMemories(msgspec.Struct, frozen=True):
    """The payload of a job: the memories whose ids come after this one."""

    after: str = ""


class Reindexing:
    """One for a process."""

    def __init__(self, database: Database, queue: Queue, ingestion: Ingestion, indexing: Indexing) -> None:
        self._database = database
        self._queue = queue
        self._ingestion = ingestion
        self._indexing = indexing
        self.kind = Kind(
            name="index collections",
            payload=Left,
            handler=self._collections,
            retry=Retry(attempts=8, first=10.0, longest=600.0),
            time_limit=86_400.0,
            keep=0,
        )
        self.marking = Kind(
            name="index files anew",
            payload=LeftFiles,
            handler=self._files,
            retry=Retry(attempts=8, first=10.0, longest=600.0),
            keep=0,
        )
        self.remembering = Kind(
            name="index memories anew",
            payload=LeftMemories,
            handler=self._memories,
            retry=Retry(attempts=8, first=10.0, longest=600.0),
            keep=0,
        )

    async def begin_memories(self) -> tuple[int, int]:
        """Has all memories indexed and embedded anew, in the background. Gives how many accounts and memories there are."""
        async with self._database.write() as unit:
            await self._queue.enqueue(unit, self.remembering, LeftMemories(), key="index memories anew")
            return await memories.totals(unit.connection)

    async def _memories(self, run: Run, left: LeftMemories) -> None:
        while True:
            async with self._database.write() as unit:
                found = await memories.next_texts(unit.connection, left.after, _AT_ONCE)
                if not found:
                    await run.commit(unit)
                    return
                await documents.put_memories(unit.connection, dict(found))
                await self._indexing.enqueue(unit)
                left = LeftMemories(found[-1][0])
                await run.checkpoint(unit, left)

    async def begin(self, *, texts: bool = True, are_vectors: bool = False) -> None:
        """Has all texts that were indexed split and indexed anew, or vectors made anew, or both, in the background."""
        if are_vectors:
            await self._indexing.anew()
        if not texts:
            return
        async with self._database.write() as unit:
            # Without a key: files that have been read since an earlier job came past them are to be read again, too.
            await self._queue.enqueue(unit, self.marking, LeftFiles())
            await self._queue.enqueue(unit, self.kind, Left(), key="index collections")

    async def _files(self, run: Run, left: LeftFiles) -> None:
        """Has all files read anew. How far it has come is stored with their jobs."""
        while True:
            async with self._database.write() as unit:
                ids = await uploads.have_indexed(unit.connection, left.after, _AT_ONCE)
                if not ids:
                    await run.commit(unit)
                    return
                for file_id in ids:
                    await self._ingestion.enqueue(unit, file_id)
                left = LeftFiles(ids[-1])
                await run.checkpoint(unit, left)

    async def _collections(self, run: Run, left: Left) -> None:
        async with self._database.read() as connection:
            newest = await documents.newest(connection)
        while True:
            async with self._database.read() as connection:
                # Every document was split otherwise than in no way.
                found = await documents.split_otherwise(connection, "", left.after)
            for document in found:
                if document.collection is not None and document.n <= newest:
                    try:
                        await self._ingestion.index_again(document)
                    except (BlobMissing, GiveUp) as error:
                        log.warning("a text was not indexed anew", document=document.name, error=str(error))
            async with self._database.write() as unit:
                if not found or found[-1].n >= newest:
                    await run.commit(unit)
                    return
                left = Left(found[-1].n)
                await run.checkpoint(unit, left)


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    ingestion: Ingestion


async def leave_out(deps: Deps, principal: Principal, collection: str, file_id: str) -> None:
    """Takes a file out of what is found of a collection: out of a knowledge base, or out of the index where the collection
    is the file's own. The file stays. Raises NotFound for what the principal may not change.
    """
    async with deps.database.write() as unit:
        connection = unit.connection
        admin_access = deps.settings.enable_admin_chat_access
        if collection == collection_of(file_id):
            await documents.changed_files(connection, [file_id])
            if await uploads.get(connection, principal, file_id, "write", admin_access=admin_access, lock=True) is None:
                raise NotFound
            await documents.delete_of_files(connection, [file_id])
            await uploads.change(connection, file_id, status=None)
            unit.after_commit(lambda: deps.ingestion.forget(file_id))
            return
        try:
            await knowledge.repository.require(connection, principal, collection, "write", missing=404, lock=True)
        except (BadRequest, Forbidden):
            raise NotFound from None
        if not await knowledge.remove_files(connection, collection, [file_id]):
            raise NotFound
