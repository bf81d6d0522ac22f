"""The journal: running answers are written at least once a second, finished ones before anybody is told, in group commits."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.chat.kept_pictures import has_pictures_to_keep, with_kept_pictures
from open_webui.chat.running import AnswerTaken, RunningAnswer
from open_webui.chat.usage_log import UsageLog
from open_webui.internal.db import Database
from open_webui.internal.db_errors import is_away
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.models import generation_parts, generations, jobs, messages, turn_updates, usages
from open_webui.models.jobs import Job

log = get_logger(__name__)
_encode = msgspec.json.encode
# Waits between tries while the database refuses; the last one again and again, for as long as the server runs.
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
# Tries that are left when the server ends.
LAST_TRIES: Final = 3
# How long an ended answer waits until its pictures are files, and how long still when the server ends.
KEEP_SECONDS: Final = 30.0
LAST_KEEP_SECONDS: Final = 3.0
# What follows an answer is this process's for so long, which it never needs; then another does it.
FOLLOW_SECONDS: Final = 300


class Checkpoint(msgspec.Struct, frozen=True):
    """What is new of a running answer: a row of work for the next commit. seq: its place. data: JSON of a Part."""

    running: RunningAnswer
    seq: int
    data: str


class End(msgspec.Struct, frozen=True):
    """A finished answer: a row of work for the next commit. written: told when it is committed. job: does what follows it."""

    running: RunningAnswer
    content: str
    body: dict[str, Any]
    written: "asyncio.Future[None]"
    job: Job | None = None


class Work(msgspec.Struct, frozen=True):
    """What one commit writes."""

    checkpoints: list[Checkpoint] = []
    ends: list[End] = []
    usage: list[dict[str, Any]] = []

    @property
    def is_empty(self) -> bool:
        return not (self.checkpoints or self.ends or self.usage)

    def pieces(self) -> "list[Work]":
        """The same, a commit for each row."""
        return [
            *(Work(checkpoints=[one]) for one in self.checkpoints),
            *(Work(ends=[one]) for one in self.ends),
            *(Work(usage=[one]) for one in self.usage),
        ]


def is_unstorable(error: Exception) -> bool:
    """Whether values or statements are to blame, so that another try can't help; else it is the database's bad day."""
    if isinstance(error, sa.exc.DBAPIError):
        return not is_away(error)
    return isinstance(error, sa.exc.StatementError | ValueError | TypeError | OverflowError)


class Journal:
    """Writes what is new of all running answers in one transaction a round, with finished ones and usage rows.

    While an answer runs, parts of it are added, so that a checkpoint costs what is new; its message's row is written once,
    at the end, or when somebody needs it (`store_running`).
    """

    def __init__(
        self,
        database: Database,
        interval: float,
        running: Callable[[], Collection[RunningAnswer]],
        usage: UsageLog,
    ) -> None:
        """running: gives the answers that are being written in this process."""
        self._database = database
        self._interval = interval
        self._running = running
        self._usage = usage
        self._ends: list[End] = []
        # Of those who wait for the next round.
        self._awaited: list[asyncio.Future[None]] = []
        # Ended answers whose pictures are being made files: their ends are due after that.
        self._keeping: dict[RunningAnswer, asyncio.Task[None]] = {}
        self._patience: set[asyncio.Timeout] = set()
        self._wake = asyncio.Event()
        self._closing = False
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = supervise("journal", self._rounds)

    def begin_shutdown(self) -> None:
        """The server is about to end: a database that refuses is tried a few times more, and pictures are soon given up."""
        if self._ending.is_set():
            return
        self._ending.set()
        latest = asyncio.get_running_loop().time() + LAST_KEEP_SECONDS
        for patience in self._patience:
            if not patience.expired():
                patience.reschedule(min(latest, patience.when() or latest))

    async def close(self) -> None:
        """Writes what is left and stops; a round under way is not cut."""
        self.begin_shutdown()
        while self._keeping:
            await asyncio.wait(self._keeping.values())
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def store_end(self, running: RunningAnswer, extra: dict[str, Any] | None) -> "asyncio.Future[None]":
        """See `running.Store`."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.add_done_callback(_looked_at)
        end = End(running, *running.snapshot(done=True, extra=extra), written, running.followed_by())
        if has_pictures_to_keep(running, end.content, end.body):
            # Beside the rounds: the store may take its time, and other answers must be written meanwhile.
            self._keeping[running] = asyncio.create_task(self._keep_pictures(end))
        else:
            self._due(end)
        return written

    def store_now(self) -> "asyncio.Future[None]":
        """See `running.Store`."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.add_done_callback(_looked_at)
        self._awaited.append(written)
        self._wake.set()
        return written

    def _due(self, end: End) -> None:
        self._ends.append(end)
        self._wake.set()

    async def _keep_pictures(self, end: End) -> None:
        """Has the end written with the addresses of its pictures; those that can't be kept in time stay in it."""
        try:
            async with asyncio.timeout(LAST_KEEP_SECONDS if self._ending.is_set() else KEEP_SECONDS) as patience:
                self._patience.add(patience)
                try:
                    content, body = await with_kept_pictures(end.running, end.content, end.body)
                finally:
                    self._patience.discard(patience)
            end = msgspec.structs.replace(end, content=content, body=body)
        except TimeoutError:
            log.warning("keeping an answer's pictures took too long", message_id=end.running.turn.message_id)
        except Exception:
            # The task runner's place: whatever became of its pictures, the answer has ended.
            log.exception("an answer's pictures could not be kept", message_id=end.running.turn.message_id)
        finally:
            del self._keeping[end.running]
            self._due(end)

    async def store_running(self, chat_id: str) -> None:
        """Has the rows of a chat's messages hold what its running answers are by now, for who reads them as they are."""
        mine = [r for r in self._running() if r.turn.chat_id == chat_id and r.turn.row is not None]
        rows = [(r.turn.row or 0, *r.snapshot(done=False), False) for r in mine if not r.has_ended]
        for running in mine:
            await running.over()
        if not rows and self._database.is_sqlite:
            return
        async with self._database.write() as unit:
            if not self._database.is_sqlite:
                known = {running.turn.message_id for running in mine}
                rows += await generation_parts.rows_of_others(unit.connection, chat_id, known)
            await messages.save_answers(unit.connection, rows)

    async def _rounds(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            closing = self._closing
            self._wake.clear()
            await self._round()
            if closing:
                return

    async def _round(self) -> None:
        """One commit of everything that is due. A database that refuses is tried again until it takes them.

        Of usage rows that wait meanwhile the newest are kept (usage_log.MAX_WAITING).
        """
        ends, self._ends = self._ends, []
        awaited, self._awaited = self._awaited, []
        work = Work(ends=ends)
        try:
            work = Work(self._checkpoints(), ends, self._usage.take())
            if not work.is_empty:
                await self._store(work)
            for written in (*(end.written for end in ends), *awaited):
                if not written.done():
                    written.set_result(None)
        except BaseException as error:
            self._give_up(work, error)
            for written in awaited:
                if not written.done():
                    written.set_exception(error)
            raise

    def _give_up(self, work: Work, reason: BaseException) -> None:
        """Whoever waits for work that can't be stored is told; what is lost of running answers comes with the next part."""
        for checkpoint in work.checkpoints:
            checkpoint.running.lose_part()
        for end in work.ends:
            if not end.written.done():
                end.written.set_exception(reason)

    def _checkpoints(self) -> list[Checkpoint]:
        out = []
        for running in self._running():
            if running.turn.row is None or (running.has_ended and running not in self._keeping):
                continue
            try:
                taken = running.take_part()
                if taken is not None:
                    out.append(Checkpoint(running, taken[0], _encode(taken[1]).decode()))
            except Exception:
                # The task runner's place: one answer that can't be written must not take the others with it.
                running.begin_anew()
                log.exception("a running answer can't be written", chat_id=running.turn.chat_id)
        return out

    async def _store(self, work: Work) -> None:
        try:
            await self._until_written(work)
        except Exception as error:
            # The task runner's place: what can't be stored must not take the rest of the round with it.
            log.exception("some of the journal can't be written")
            await self._one_by_one(work, with_usage=is_unstorable(error))

    async def _until_written(self, work: Work) -> None:
        """Raises what the values are to blame for, and everything once the server ends."""
        tries, last = 0, LAST_TRIES
        while True:
            try:
                await self._write(work)
                return
            except Exception as error:
                last -= self._ending.is_set()
                if is_unstorable(error) or last <= 0:
                    raise
                wait = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
                tries += 1
                log.warning("the journal could not be written", again_in=wait, exc_info=tries == 1)
                if self._ending.is_set():
                    await asyncio.sleep(RETRY_SECONDS[0])
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._ending.wait()

    async def _one_by_one(self, work: Work, *, with_usage: bool) -> None:
        """Stores what can be stored; whoever waits for one that can't be is told why."""
        for piece in work.pieces():
            if piece.usage and not with_usage:
                continue
            try:
                await self._write(piece)
            except Exception as reason:
                log.exception("a row of the journal can't be written")
                self._give_up(piece, reason)

    async def _write(self, work: Work) -> None:
        async with self._database.write() as unit:
            connection = unit.connection
            with unit.together():
                taken = await self._write_all(connection, work)
        for end in taken:
            if not await self._is_stored(end):
                end.written.set_exception(AnswerTaken())

    async def _write_all(self, connection: AsyncConnection, work: Work) -> list[End]:
        """Writes what one commit holds. Gives the ends that it leaves out, since another process ended their answers."""
        stored = [end for end in work.ends if end.running.turn.row is not None]
        taken: list[End] = []
        # Chats before generations before messages, as everybody takes them.
        await turn_updates.touch(connection, sorted({end.running.turn.chat_id for end in stored}))
        if stored:
            task_ids = [end.running.turn.task_id for end in stored]
            if self._database.is_sqlite:
                await generations.end(connection, task_ids)
            else:
                held = await generations.end_held(connection, task_ids)
                taken = [end for end in stored if end.running.turn.task_id not in held]
        rows = [(end.running.turn.row or 0, end.content, end.body, True) for end in stored if end not in taken]
        await messages.save_answers(connection, rows)
        if following := [end.job for end in stored if end.job is not None and end not in taken]:
            await jobs.begin(connection, following, FOLLOW_SECONDS * 1000)
        await generation_parts.append(
            connection, [(one.running.turn.task_id, one.seq, one.data) for one in work.checkpoints]
        )
        if work.usage:
            await usages.add(connection, work.usage)
        return taken

    async def _is_stored(self, end: End) -> bool:
        """Whether an end that was left out is in its row, since its commit succeeded and nobody heard of it, or has none."""
        async with self._database.read() as connection:
            row = await messages.get(connection, end.running.turn.chat_id, end.running.turn.message_id)
        return row is None or (row.done and (row.content, row.body) == (end.content, end.body))


def _looked_at(written: "asyncio.Future[None]") -> None:
    """Nobody need wait for an end any more, when the reason why it can't be stored is known: it was logged."""
    if not written.cancelled():
        written.exception()
