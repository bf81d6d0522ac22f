"""Pictures are made by jobs: an order is stored, an engine works as long as it takes, and what it gives is a file of the asker.

Whoever waits is told in this process at once, and elsewhere by the job's row. A picture is there even when nobody waits any more.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from open_webui.access.identify import Identifier
from open_webui.config import Config
from open_webui.connections.calls import Call
from open_webui.connections.gate import Gate
from open_webui.errors import BadRequest, Conflict, Forbidden, NotFound, OuiError, ProviderError, TooManyRequests
from open_webui.images.checking import Checker
from open_webui.images.port import Made, Tell
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.shielding import to_the_end
from open_webui.internal.trimming import trim
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import files, jobs, uploads
from open_webui.models.base import new_id
from open_webui.models.files import NewFile
from open_webui.models.uploads import Upload
from open_webui.principal import Principal
from open_webui.services.deps import FileDeps
from open_webui.services.images.sending import Sending
from open_webui.utils.loading import load
from open_webui.utils.pictures import extension

log = get_logger(__name__)
PERMISSION: Final = "features.image_generation"
# Orders of one person that wait or run, and of everybody that run in one process.
MOST_OF_ONE: Final = 8
AT_ONCE: Final = 8
# More than an engine may ever take.
TIME_LIMIT: Final = 3_900.0
# How long the row of an order that is over can be seen, for who waits in another process.
KEPT_SECONDS: Final = 3_600.0
_LOOK: Final = 1.0
# Bytes of an order after which memory is given back.
_LARGE: Final = 2**20
# Between two looks whether an answer is over.
_DELIVER_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 10.0
_PREFIX: Final = "picture:"
# The ids of an order's pictures: made again after a crash they are the same files.
_FILES: Final = uuid.UUID("6f75692d-7069-6374-8000-7572656d6164")
OFF: Final = "Pictures are not made on this server. An administrator can switch that on."
OFF_CHANGING: Final = "Pictures are not changed on this server. An administrator can switch that on."
NOT_ALLOWED: Final = "You may not have pictures made on this server."
TOO_MANY: Final = f"You have {MOST_OF_ONE} orders of pictures that are not done yet. Wait for one of them."
CANCELLED: Final = "Making the picture was stopped."
LOST: Final = "The picture was made, and is gone again."
FULL: Final = (
    "Your files may take up {} MB together, and the picture does not fit any more. Delete some, then try again."
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is stored. images, mask: files that the asker may read. is_kept: the pictures stay in the person's files,
    else they go an hour later. chat_id, message_id: the answer that shows them. seed, guidance: for engines that take them. more:
    fields of OpenAI's API.
    """

    user_id: str
    prompt: str
    model: str = ""
    size: str = ""
    count: int = 1
    steps: int | None = None
    negative_prompt: str = ""
    seed: int | None = None
    guidance: float | None = None
    background: str = ""
    images: tuple[str, ...] = ()
    mask: str | None = None
    more: dict[str, Any] = {}
    is_kept: bool = True
    chat_id: str | None = None
    message_id: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """A picture that is a file now. seed: the number that it came of, where the engine says so."""

    id: str
    name: str
    mime: str
    seed: int | None = None
    prompt: str = ""

    def entry(self) -> dict[str, Any]:
        """As a message's files have it."""
        return {"type": "image", **wire([self])[0]}


class Delivered(msgspec.Struct, frozen=True):
    """Pictures that go into a message whose answer may be over. files: as the message has them. looks: how often it is looked
    again whether it is; who waits for a picture in another process shows it before.
    """

    user_id: str
    chat_id: str
    message_id: str
    files: list[dict[str, Any]]
    looks: int = 300


class Deps(FileDeps, Protocol):
    """What it needs of the state."""

    config: Config
    identifier: Identifier
    gate: Gate
    emitter: Any
    http: Any
    pictures: Any


class Pictures:
    """Orders of pictures, and the kind of their jobs."""

    def __init__(self, deps: Deps, queue: Queue) -> None:
        self._deps = deps
        self._queue = queue
        self.checker = Checker()
        self.sending = Sending(self.checker, deps)
        # The process of the engine of this machine, once there was something to make.
        self.worker: Any = None
        self._checking = asyncio.Lock()
        # Who waits in this process, by job.
        self._waiting: dict[str, tuple[asyncio.Future[list[Kept]], Tell | None]] = {}
        self.kind: Kind[Wanted] = Kind(
            name="make pictures",
            payload=Wanted,
            handler=self._do,
            retry=Retry(attempts=2, first=1.0),
            time_limit=TIME_LIMIT,
            concurrency=AT_ONCE,
            keep=KEPT_SECONDS,
        )
        self.delivering: Kind[Delivered] = Kind(
            name="deliver pictures", payload=Delivered, handler=self._deliver, concurrency=AT_ONCE, keep=0
        )

    @property
    def kinds(self) -> tuple[Kind[Any], ...]:
        """The kinds of its jobs."""
        return self.kind, self.delivering

    def check(self, principal: Principal, *, changing: bool = False) -> None:
        """Raises Forbidden where pictures are not made or changed, or not for this person."""
        config = self._deps.config
        if not config["images.edit.enable" if changing else "image_generation.enable"]:
            raise Forbidden(OFF_CHANGING if changing else OFF, status=403)
        if not principal.may(PERMISSION):
            raise Forbidden(NOT_ALLOWED, status=403)

    async def make(self, principal: Principal, wanted: Wanted, tell: Tell | None = None) -> list[Kept]:
        """The pictures of an order, once they are files. Cancelling it cancels the order. tell: hears how far it is, where this
        process makes it.

        Raises OuiError, ProviderError among them, with what went wrong.
        """
        self.check(principal, changing=bool(wanted.images))
        area = "images.edit" if wanted.images else "image_generation"
        if not principal.may_ask(wanted.model or self._deps.config[f"{area}.model"]):
            raise Forbidden(NOT_ALLOWED, status=403)
        future: asyncio.Future[list[Kept]] = asyncio.get_running_loop().create_future()
        job_id = ""
        try:
            async with self._deps.database.write() as unit:
                await self._check_room(unit, wanted, 0)
                if await jobs.count_live(unit.connection, _of(principal.id)) >= MOST_OF_ONE:
                    raise TooManyRequests(TOO_MANY)
                key = f"{_of(principal.id)}{new_id()}"
                job_id = await self._queue.enqueue(unit, self.kind, wanted, key=key) or ""
                # Before it is committed, and may be taken.
                self._waiting[job_id] = future, tell
            return await self._result(job_id, future)
        except asyncio.CancelledError:
            await to_the_end(self._cancel(job_id))
            raise
        finally:
            self._waiting.pop(job_id, None)
            future.cancel()

    async def _result(self, job_id: str, future: "asyncio.Future[list[Kept]]") -> list[Kept]:
        while True:
            done, _ = await asyncio.wait({future}, timeout=_LOOK)
            if done:
                return future.result()
            async with self._deps.database.read() as connection:
                job = await jobs.get(connection, job_id)
            if job is None or job.state == "done":
                # Done by another process, or here a moment ago.
                return future.result() if future.done() else await self._made(job_id)
            if job.state == "cancelled":
                raise OuiError(CANCELLED, status=409)
            if job.state == "failed":
                if future.done():
                    return future.result()
                raise ProviderError(job.error or CANCELLED)

    async def _made(self, job_id: str) -> list[Kept]:
        async with self._deps.database.read() as connection:
            found = await uploads.by_ids(connection, [_file_id(job_id, k) for k in range(10)])
        if not found:
            raise OuiError(LOST, status=410)
        return [kept_of(one) for one in found]

    async def _cancel(self, job_id: str) -> None:
        try:
            await self._queue.cancel(job_id, seconds=_STOP_SECONDS)
        except (Conflict, NotFound):
            # It is over.
            return

    # What the job does

    async def _do(self, run: Run, wanted: Wanted) -> None:
        future, tell = self._waiting.get(run.job.id) or (None, None)

        def told(done: float | None, note: str | None) -> None:
            run.progress(done, note)
            if tell is not None:
                tell(done, note)

        try:
            made = await self._work(run, wanted, told, delivers=future is None)
        except OuiError as error:
            if future is not None and not future.done():
                future.set_exception(error)
                # Who waited may be gone.
                future.exception()
            raise GiveUp(error.detail) from error
        if future is not None and not future.done():
            future.set_result(made)

    async def _work(self, run: Run, wanted: Wanted, tell: Tell, *, delivers: bool) -> list[Kept]:
        """delivers: nobody here waits for it. Raises OuiError."""
        principal = await self._deps.identifier.account(wanted.user_id)
        if principal is None or not principal.is_active:
            raise Forbidden(NOT_ALLOWED, status=403)
        self.check(principal, changing=bool(wanted.images))
        ordering: Any = await load("open_webui.services.images.ordering")
        name, model, ordered = await ordering.order(self._deps, principal, wanted)
        call = Call(
            user_id=principal.id, model_id=model or name, connection=f"images:{name}", kind="api",
            started=time.monotonic(), chat_id=wanted.chat_id, message_id=wanted.message_id,
        )  # fmt: skip
        async with self._deps.gate.beside(principal, call):
            given = await ordering.engine(self._deps, changing=bool(wanted.images)).make(ordered, tell)
        by = {"model": model, "engine": name}
        new: list[NewFile] = []
        while given and len(new) < wanted.count:
            # One after the other in this process: each is held some times over.
            async with self._checking:
                new.append(await self._stored(wanted, given.pop(0), _file_id(run.job.id, len(new)), by))
        if sum(file.size for file in new) > _LARGE:
            await asyncio.to_thread(trim)
        async with self._deps.database.write() as unit:
            await self._check_room(unit, wanted, sum(file.size for file in new))
            await files.add(unit.connection, wanted.user_id, new)
            kept = [Kept(file.id, file.filename, file.mime, file.about["seed"], wanted.prompt) for file in new]
            if delivers and wanted.chat_id and wanted.message_id:
                given = Delivered(wanted.user_id, wanted.chat_id, wanted.message_id, [one.entry() for one in kept])
                await self._queue.enqueue(unit, self.delivering, given)
            await run.commit(unit)
        return kept

    async def _deliver(self, run: Run, given: Delivered) -> None:
        delivery: Any = await load("open_webui.services.images.delivery")
        async with self._deps.database.write() as unit:
            is_over = await delivery.put(self._deps, unit, given)
            await run.commit(unit)
            if not is_over and given.looks:
                at = await self._queue.clock(unit.connection) / 1000 + _DELIVER_SECONDS
                again = msgspec.structs.replace(given, looks=given.looks - 1)
                await self._queue.enqueue(unit, self.delivering, again, run_at=at)

    async def _stored(self, wanted: Wanted, made: Made, file_id: str, by: dict[str, Any]) -> NewFile:
        """A picture in the store, whose row is still to come. Raises BadRequest for one that can't be decoded."""
        looks, data = await self.checker.check(made.data)
        stored = await self._deps.blobs.put(data)
        about = {
            "made": True,
            "prompt": wanted.prompt,
            "seed": made.seed,
            **by,
            "width": looks.width,
            "height": looks.height,
        }
        if made.prompt:
            about["revised_prompt"] = made.prompt
        name = f"generated-image{extension(looks.mime)}"
        return NewFile(file_id, name, stored.hash, stored.size, looks.mime, not wanted.is_kept, about)

    async def _check_room(self, unit: UnitOfWork, wanted: Wanted, size: int) -> None:
        quota = self._deps.config["file.user_quota"]
        if not quota or not wanted.is_kept:
            return
        used = await uploads.used_bytes(unit.connection, wanted.user_id, lock=True)
        if used + size > quota * 2**20 or (not size and used >= quota * 2**20):
            raise BadRequest(FULL.format(quota))

    async def close(self) -> None:
        """Ends the processes that decode pictures and make them."""
        await self.checker.close()
        if self.worker is not None:
            await self.worker.close()


def _of(user_id: str) -> str:
    return f"{_PREFIX}{user_id}:"


def _file_id(job_id: str, place: int) -> str:
    return str(uuid.uuid5(_FILES, f"{job_id}/{place}"))


def kept_of(row: Upload) -> Kept:
    """A stored picture as an order gave it."""
    data = row.meta.get("data")
    about: dict[str, Any] = data if isinstance(data, dict) else {}
    return Kept(row.id, row.filename, row.mime, about.get("seed"), str(about.get("prompt") or ""))


def wire(made: Sequence[Kept]) -> list[dict[str, Any]]:
    """Pictures as the wire answers them, and as a message's files have them."""
    return [
        {"id": one.id, "url": f"/api/v1/files/{one.id}/content", "name": one.name, "content_type": one.mime}
        for one in made
    ]
