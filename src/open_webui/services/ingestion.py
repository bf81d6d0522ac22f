"""Takes the text out of files and puts it into the index: a job for each file, and who waits for its end is told.

What is to be done stands in the file's row: without a `hash` its text is not there yet. So a job that is begun again goes on
where it was, and two never index a file twice.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.config import Config
from open_webui.errors import BadRequest, Conflict, NotFound
from open_webui.events import Emitter
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import UnitOfWork
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue, new_job
from open_webui.models import documents, files, jobs, uploads
from open_webui.models.base import now
from open_webui.models.documents import Document, NewDocument
from open_webui.models.uploads import UNREAD, Upload
from open_webui.services.deps import FileDeps
from open_webui.services.listening import Listening
from open_webui.storage.base import read_all
from open_webui.utils.loading import load
from open_webui.utils.pictures import TEXT

if TYPE_CHECKING:
    from open_webui.retrieval.parsing.readers import Readers
    from open_webui.retrieval.splitting import Piece
    from open_webui.services.reading import Read

TOPIC: Final = "files"
NAME: Final = "read a file"
ATTEMPTS: Final = 4
READING: Final = "open_webui.services.reading"
# Seconds between two looks at a file that somebody waits for: for news of another process that were lost.
LOOK: Final = 5.0
# Bytes of a file of which pages hear when it is begun.
LARGE: Final = 100_000


class Deps(FileDeps, Protocol):
    """What it needs of the state."""

    config: Config
    http: aiohttp.ClientSession
    readers: "Readers"
    emitter: Emitter


class Reading(msgspec.Struct, frozen=True):
    """The payload of a job."""

    file_id: str


class Ingestion:
    """Its jobs, and who waits for a file."""

    def __init__(self, deps: Deps, queue: Queue, bus: Bus) -> None:
        self._deps = deps
        self._queue = queue
        self._bus = bus
        self._waiting: dict[str, set[asyncio.Event]] = {}
        # What follows a new document, in the transaction that stores it: vectors are asked for.
        self.stored: Callable[[UnitOfWork], Awaitable[None]] | None = None
        self.kind = Kind(
            name=NAME,
            payload=Reading,
            handler=self._read,
            retry=Retry(attempts=ATTEMPTS, first=5.0, longest=300.0),
            time_limit=3_600.0,
            concurrency=max(4, min(8, os.cpu_count() or 4)),
            keep=0,
            given_up=self._given_up,
        )
        bus.subscribe(TOPIC, lambda _peer, file_id: self._wake(file_id))

    async def enqueue(self, unit: UnitOfWork, file_id: str) -> None:
        """Has a file read. Where its job runs already, that one sees what changed when it ends."""
        await self._queue.enqueue(unit, self.kind, Reading(file_id), key=_key(file_id))

    async def forget(self, file_id: str) -> None:
        """Ends what is done for a file that is gone. A job that nobody cancels finds no file, and ends, too."""
        async with self._deps.database.write() as unit:
            job = await jobs.live(unit.connection, _key(file_id))
        if job is not None:
            with contextlib.suppress(NotFound, Conflict):
                await self._queue.cancel(job.id)

    # Waiting

    async def changed(self, upload: Upload) -> None:
        """Tells whoever waits for a file, here and elsewhere, and its owner's tabs, that its status is another."""
        self._wake(upload.id)
        if self._bus.peers:
            self._bus.publish(TOPIC, upload.id)
        error = upload.data.get("error")
        await self._tell(upload, None, **({"error": error} if error else {}))

    async def _tell(self, upload: Upload, progress: dict[str, Any] | None, **more: Any) -> None:
        """Its owner's tabs. progress: of a recording, the seconds that were listened to, and of how many."""
        if upload.user_id is None:
            return
        told: dict[str, Any] = {
            "id": upload.id,
            "name": upload.filename,
            "status": upload.status if progress is None else "processing",
        }
        told |= {"progress": progress} if progress else {}
        await self._deps.emitter.to_users([upload.user_id], "file:status", told | more)

    def _wake(self, file_id: str) -> None:
        for event in self._waiting.get(file_id, ()):
            event.set()

    async def next_status(self, last: str | None, look: Callable[[], Awaitable[Upload | None]], file_id: str) -> Any:
        """The file once its status is another than the last one; None when it is gone. look: reads it."""
        event = asyncio.Event()
        self._waiting.setdefault(file_id, set()).add(event)
        try:
            while True:
                event.clear()
                found = await look()
                if found is None or found.status != last:
                    return found
                try:
                    async with asyncio.timeout(LOOK):
                        await event.wait()
                except TimeoutError:
                    continue
        finally:
            waiting = self._waiting[file_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[file_id]

    async def finished(self, file_id: str) -> Upload | None:
        """The file once nothing is read of it any more; None when it is gone."""
        found = await self._row(file_id)
        while found is not None and found.status in UNREAD:
            found = await self.next_status(found.status, lambda: self._row(file_id), file_id)
        return found

    async def _row(self, file_id: str) -> Upload | None:
        async with self._deps.database.read() as connection:
            return await uploads.by_id(connection, file_id)

    # Texts without a file

    async def keep_text(
        self,
        owner_id: str,
        collection: str,
        name: str,
        text: str,
        *,
        url: str | None = None,
        expires_at: int | None = None,
    ) -> None:
        """Puts a text into somebody's collection, in the place of one of the same name and address.

        expires_at: seconds, when it goes by itself. Raises BadRequest for one that can't be kept, StoreAway.
        """
        reading = await _reading()
        try:
            read = await reading.read_text(self._deps, text, name)
        except GiveUp as error:
            raise BadRequest(str(error)) from None
        stored = await self._deps.blobs.put(read.text)
        document = NewDocument(
            name=name,
            hash=stored.hash,
            splitting=read.splitting,
            user_id=owner_id,
            collection=collection,
            url=url,
            expires_at=expires_at,
            meta={"created_by": owner_id},
        )
        begun = await self._begin(document, read.pieces)
        async with self._deps.database.write() as unit:
            await files.add_blob(unit.connection, stored.hash, stored.size, TEXT, now())
            await self._store(unit, begun, document, read.pieces)

    async def index_again(self, kept: Document) -> None:
        """Splits a text of a collection anew. Raises GiveUp for one that can't be split; BlobMissing, StoreAway."""
        reading = await _reading()
        text = (await read_all(self._deps.blobs, kept.hash)).decode(errors="replace")
        read = await reading.read_text(self._deps, text, kept.name)
        known = {name: getattr(kept, name) for name in NewDocument.__struct_fields__}
        document = NewDocument(**known | {"splitting": read.splitting})
        begun = await self._begin(document, read.pieces)
        async with self._deps.database.write() as unit:
            # What went meanwhile, or was kept anew, stays as it is.
            if await documents.hold(unit.connection, kept.n):
                await self._store(unit, begun, document, read.pieces)

    # The job

    async def _read(self, run: Run, payload: Reading) -> None:
        while (upload := await self._row(payload.file_id)) is not None:
            if await self._read_once(run, upload):
                return

    async def _read_once(self, run: Run, upload: Upload) -> bool:
        """Reads it as its row says now, and stores what came of it. False where the row said something else by then."""
        if upload.size > LARGE and upload.status == "pending":
            run.progress(None, "Its text is taken out.")
            await self._note_begun(upload)
        read = await self._take_out(run, upload)
        key = upload.hash or await self._keep(upload, read.text)
        document = NewDocument(
            name=upload.filename,
            hash=key,
            splitting=read.splitting,
            file_id=upload.id,
            meta={name: upload.meta.get(name) for name in ("content_type", "size", "file_hash")}
            | {"hash": key, "created_by": upload.user_id},
        )
        begun = await self._begin(document, read.pieces, run)
        async with self._deps.database.write() as unit:
            connection = unit.connection
            # Before the file, as whoever deletes it holds them.
            await documents.changed_files(connection, [upload.id])
            found = await uploads.by_id(connection, upload.id, lock=True)
            if found is None or (found.hash, found.filename) != (upload.hash, upload.filename):
                return False
            if key != upload.blob:
                await files.add_blob(connection, key, len(read.text), TEXT, now())
            await self._store(unit, begun, document, read.pieces)
            done = msgspec.structs.replace(found, hash=key, status="completed", data=read.kept)
            await uploads.change(connection, upload.id, hash=key, status=done.status, data=done.data)
            await run.commit(unit)
            if found.status != done.status:
                unit.after_commit(lambda: self.changed(done))
        return True

    async def _take_out(self, run: Run, upload: Upload) -> "Read":
        reading = await _reading()
        telling = Listening(self._deps.database, upload, run, lambda progress: self._tell(upload, progress))
        read: Read = await reading.read_file(self._deps, upload, telling)
        return read

    async def _note_begun(self, upload: Upload) -> None:
        async with self._deps.database.write() as unit:
            if await uploads.begin(unit.connection, upload.id):
                begun = msgspec.structs.replace(upload, status="processing")
                unit.after_commit(lambda: self.changed(begun))

    async def _keep(self, upload: Upload, text: bytes) -> str:
        """The hash of a file's text, which the store has. A plain text is the file itself."""
        if len(text) == upload.size and hashlib.sha256(text).hexdigest() == upload.blob:
            return upload.blob
        return (await self._deps.blobs.put(text)).hash

    async def _begin(self, document: NewDocument, pieces: "list[Piece]", run: Run | None = None) -> int | None:
        """Stores the pieces of a long text in several transactions; nobody finds them yet. None for a short one."""
        if len(pieces) <= documents.PORTION:
            return None
        async with self._deps.database.write() as unit:
            n = await documents.begin(unit.connection, document, len(pieces))
        for first in range(0, len(pieces), documents.PORTION):
            if run is not None:
                run.progress(first / len(pieces), "It is put into the index.")
            async with self._deps.database.write() as unit:
                part = pieces[first : first + documents.PORTION]
                await documents.add(unit.connection, n, document.name, first, part)
        return n

    async def _store(self, unit: UnitOfWork, begun: int | None, document: NewDocument, pieces: "list[Piece]") -> None:
        """Puts a document into the index in the place of what was there. begun: its number, where its pieces are there."""
        if begun is None:
            await documents.replace(unit.connection, document, pieces)
        else:
            await documents.attach(unit.connection, begun, document)
        if self.stored is not None and pieces:
            await self.stored(unit)

    async def _given_up(self, unit: UnitOfWork, payload: Reading, reason: str) -> None:
        found = await uploads.by_id(unit.connection, payload.file_id, lock=True)
        if found is not None and found.status in UNREAD:
            failed = msgspec.structs.replace(found, status="failed", data=found.data | {"error": reason})
            await uploads.change(unit.connection, found.id, status=failed.status, data=failed.data)
            unit.after_commit(lambda: self.changed(failed))


async def _reading() -> ModuleType:
    """What reads files; it comes with the first one."""
    module: ModuleType = await load(READING)
    return module


async def ask_for(connection: AsyncConnection, file_id: str) -> None:
    """Puts in the job that reads a file, behind those of people who wait: for a command, which has no queue of its own."""
    at = await jobs.clock(connection)
    await jobs.insert(connection, new_job(NAME, ATTEMPTS, Reading(file_id), at, at, key=_key(file_id), priority=-1))


def _key(file_id: str) -> str:
    return f"file:{file_id}"
