"""The journal: running answers are written at least once a second, finished ones before anybody is told, in group commits."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.chat.assemble import Answer
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.turn import Turn
from open_webui.connections.base import Target
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import generations, messages, turns, usages
from open_webui.models.base import now
from open_webui.principal import Principal

log = get_logger(__name__)
# Waits between tries while the database refuses; the last one again and again, for as long as the server runs.
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
# Tries that are left when the server ends.
LAST_TRIES: Final = 3
# Usage rows that wait for a database that refuses; older ones are let go.
MAX_WAITING: Final = 100_000
# Other processes take a generation for lost after generations.STALE_SECONDS without a beat.
BEAT_SECONDS: Final = 5.0


class Live(msgspec.Struct, kw_only=True):
    """A running answer: its turn, its reducer, its room, and what else the message's body holds."""

    turn: Turn
    answer: Answer
    room: AnswerSender
    body: dict[str, Any]
    title: str
    written: int = -1
    # Its end is on the way to the database: what runs is no longer written over it.
    ended: bool = False

    def snapshot(self, *, done: bool, extra: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Content and body as they are now."""
        body = dict(self.body)
        body["output"] = self.answer.output()
        if self.answer.usage is not None:
            body["usage"] = self.answer.usage
        if extra:
            body |= extra
        meta = dict(body.get("meta") or {})
        if done:
            meta.pop("sequence_number", None)
        else:
            meta["sequence_number"] = self.answer.version
        body["meta"] = meta
        return self.answer.text, body


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A provider call to be accounted for. kind: "chat", "api" or "task". started: time.monotonic()."""

    user_id: str
    model_id: str
    connection: str
    kind: str
    started: float
    chat_id: str | None = None
    message_id: str | None = None


def call_of(
    principal: Principal, target: Target, kind: str, chat_id: str | None = None, message_id: str | None = None
) -> Call:
    """A call that begins now."""
    return Call(
        user_id=principal.id,
        model_id=target.model_id,
        connection=target.entry.connection,
        kind=kind,
        started=time.monotonic(),
        chat_id=chat_id,
        message_id=message_id,
    )


class Finished(msgspec.Struct, frozen=True):
    """A row of work for the next commit."""

    live: Live
    content: str
    body: dict[str, Any]
    written: "asyncio.Future[None]"


# What is written of answers: row number, content, body, done.
Rows = list[tuple[int, str, dict[str, Any], bool]]


def is_unstorable(error: Exception) -> bool:
    """Whether values are to blame, so that another try can't help; anything else may be the database's bad day."""
    if isinstance(error, sa.exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        bad = sa.exc.DataError | sa.exc.IntegrityError | sa.exc.ProgrammingError
        return isinstance(error, bad) or (isinstance(state, str) and state.startswith("22"))
    return isinstance(error, sa.exc.StatementError | ValueError | TypeError | OverflowError)


class Recorder:
    """Writes all running answers in one transaction a round, and finished ones and usage rows with them."""

    def __init__(self, database: Database, interval: float, running: Callable[[], list[Live]], instance: str) -> None:
        self._database = database
        self._interval = interval
        self._running = running
        self._instance = instance
        self._finished: list[Finished] = []
        self._usage: list[dict[str, Any]] = []
        self._wake = asyncio.Event()
        self._beat_at = 0.0
        self._closing = False
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._rounds(), name="recorder")

    def hurry(self) -> None:
        """The server is about to end: a database that refuses is tried a few times more, then no longer."""
        self._ending.set()

    async def close(self) -> None:
        """Writes what is left and stops; a round under way is not cut."""
        self.hurry()
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def finish(self, live: Live, extra: dict[str, Any] | None = None) -> None:
        """Stores the end of an answer; returns when it is committed."""
        live.ended = True
        content, body = live.snapshot(done=True, extra=extra)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished.append(Finished(live, content, body, written))
        self._wake.set()
        await written

    def count(self, call: Call, status: int, usage: dict[str, Any] | None) -> None:
        """Notes the usage of one provider call; it is written with the next round. status: HTTP's, 499 when stopped."""
        usage = usage or {}
        self._usage.append(
            {
                "user_id": call.user_id,
                "model_id": call.model_id,
                "connection": call.connection,
                "kind": call.kind,
                "chat_id": call.chat_id,
                "message_id": call.message_id,
                "status": status,
                "prompt_tokens": _count(usage, "prompt_tokens", "input_tokens"),
                "completion_tokens": _count(usage, "completion_tokens", "output_tokens"),
                "duration_ms": int((time.monotonic() - call.started) * 1000),
                "created_at": now(),
            }
        )

    async def _rounds(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval)
            closing = self._closing
            self._wake.clear()
            await self._round()
            if closing:
                return

    async def _round(self) -> None:
        """One commit of everything that is due. A database that refuses is tried again; nothing is dropped."""
        finished, self._finished = self._finished, []
        usage, self._usage = self._usage[-MAX_WAITING:], []
        rows = [(f.live.turn.row, f.content, f.body, True) for f in finished if f.live.turn.row is not None]
        versions: list[tuple[Live, int]] = []
        running = self._running()
        for live in running:
            if live.turn.row is not None and not live.ended and live.answer.version != live.written:
                versions.append((live, live.answer.version))
                content, body = live.snapshot(done=False)
                rows.append((live.turn.row, content, body, False))
        beat = bool(running) and time.monotonic() - self._beat_at > BEAT_SECONDS
        if not (rows or usage or finished or beat):
            return
        try:
            await self._until_written(rows, finished, usage, beat=beat)
        except Exception as error:
            # The task runner's place: what can't be stored must not take the rest of the round with it.
            log.exception("some of the journal can't be written")
            await self._one_by_one(rows, finished, usage if is_unstorable(error) else [])
        for live, version in versions:
            live.written = version
        for entry in finished:
            if not entry.written.done():
                entry.written.set_result(None)

    async def _until_written(
        self, rows: Rows, finished: list[Finished], usage: list[dict[str, Any]], *, beat: bool
    ) -> None:
        """Raises what the values are to blame for, and everything once the server ends."""
        tries, last = 0, LAST_TRIES
        while True:
            try:
                await self._write(rows, finished, usage, beat=beat)
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
                        await asyncio.wait_for(self._ending.wait(), wait)

    async def _one_by_one(self, rows: Rows, finished: list[Finished], usage: list[dict[str, Any]]) -> None:
        """Stores what can be stored; whoever waits for one that can't be is told why."""
        by_row = {f.live.turn.row: f for f in finished}
        works: list[tuple[Rows, list[Finished], list[dict[str, Any]]]] = [
            ([row], [by_row[row[0]]] if row[3] else [], []) for row in rows
        ]
        works += [([], [f], []) for f in finished if f.live.turn.row is None]
        works += [([], [], [entry]) for entry in usage]
        for work in works:
            try:
                await self._write(*work, beat=False)
            except Exception as reason:
                log.exception("a row of the journal can't be written")
                for entry in work[1]:
                    if not entry.written.done():
                        entry.written.set_exception(reason)

    async def _write(
        self,
        rows: Rows,
        finished: list[Finished],
        usage: list[dict[str, Any]],
        *,
        beat: bool,
    ) -> None:
        async with self._database.write() as unit:
            connection = unit.connection
            with unit.together():
                await self._write_all(connection, rows, finished, usage, beat=beat)

    async def _write_all(
        self,
        connection: AsyncConnection,
        rows: Rows,
        finished: list[Finished],
        usage: list[dict[str, Any]],
        *,
        beat: bool,
    ) -> None:
        if finished:
            # Chats before messages, as everybody takes them.
            await turns.touch(connection, {f.live.turn.chat_id for f in finished if f.live.turn.row is not None})
        if rows:
            await messages.save_answers(connection, rows)
        if beat:
            await generations.beat(connection, self._instance)
            self._beat_at = time.monotonic()
        if finished:
            await generations.end(connection, [f.live.turn.task_id for f in finished])
        if usage:
            await usages.add(connection, usage)


def _count(usage: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
    return None
