"""What an ended process left: its answers are marked as interrupted, with what had arrived of them."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.chat.endings import interruption
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import embedded, generation_parts, generations, jobs, messages
from open_webui.models.messages import MessageRow
from open_webui.utils.answer_parts import Rebuilt, ended

log = get_logger(__name__)
# How often it is looked whether another process left answers behind.
SWEEP_SECONDS: Final = 2.0
# Of so many looks, one is for answers that nobody ever wrote.
REPAIR_EVERY: Final = 15
# Answers a transaction: nobody waits long for the writer.
BATCH: Final = 50


class Ended(msgspec.Struct, frozen=True):
    """An answer that was ended in the place of its process. body: of its message, as it is stored now."""

    left: generations.Leftover
    body: dict[str, Any]


Tell = Callable[[Ended], None]


async def recover(database: Database, judge: str | None, *, repair: bool = True, tell: Tell | None = None) -> int:
    """Marks what lost processes were writing as interrupted, and with `repair` answers that are not done and nobody writes.

    judge: this process, which has a lease; None where no other shares the database, so that whatever is noted there is
    lost. tell: called with each answer of a lost process, once its mark is stored. Returns how many there were.
    """
    count = await _recover_generations(database, judge, tell)
    if repair:
        count += await _repair_unfinished(database, judge)
    if count:
        log.info("answers were interrupted by an earlier end of the server", count=count)
    return count


async def _recover_generations(database: Database, judge: str | None, tell: Tell | None) -> int:
    count = 0
    while True:
        async with database.read() as connection:
            if not await generations.are_left(connection, judge):
                return count
        async with database.write() as unit:
            # Looked at again where nobody else can change them: a process that was only slow has beaten meanwhile.
            found = await generations.take_left(unit.connection, BATCH, judge)
            ended = await _end(unit.connection, found, interrupted=True)
        if tell is not None:
            for one in ended:
                tell(one)
        if not found:
            return count
        count += len(found)


async def release_jobs(database: Database, judge: str, seconds: float) -> None:
    """Has others do at once what dead processes had to do after their answers. seconds: for which that was theirs at most."""
    longest = int(seconds * 1000)
    async with database.read() as connection:
        if not await jobs.are_lost(connection, longest, judge):
            return
    async with database.write() as unit:
        await jobs.release_lost(unit.connection, longest, judge)


async def end_for(database: Database, task_ids: Sequence[str]) -> list[str]:
    """Stops answers of a process that can't be reached: what it wrote so far is all of them, for it too. Gives which."""
    async with database.write() as unit:
        found = await generations.take(unit.connection, task_ids)
        await _end(unit.connection, found, interrupted=False)
    return [left.task_id for left in found]


async def _end(connection: AsyncConnection, found: Sequence[generations.Leftover], *, interrupted: bool) -> list[Ended]:
    ended = []
    for left in found:
        row = await messages.get(connection, left.chat_id, left.message_id)
        if row is not None and not row.done:
            body = await _mark(connection, row, await _written(connection, left), interrupted=interrupted)
            ended.append(Ended(left, body))
    if found:
        await generations.end(connection, [left.task_id for left in found])
    return ended


async def _repair_unfinished(database: Database, judge: str | None) -> int:
    count = 0
    while True:
        async with database.read() as connection:
            if not await generations.are_unfinished(connection, judge):
                return count
        async with database.write() as unit:
            found = await generations.take_unfinished(unit.connection, BATCH, judge)
            for chat_id, message_id in found:
                row = await messages.get(unit.connection, chat_id, message_id)
                if row is not None:
                    await _mark(unit.connection, row, None, interrupted=True)
        if not found:
            return count
        count += len(found)


async def _written(connection: AsyncConnection, left: generations.Leftover) -> Rebuilt | None:
    try:
        return await generation_parts.of_task(connection, left.task_id)
    except msgspec.DecodeError:
        log.exception("what was written of an answer can't be read", chat_id=left.chat_id, message_id=left.message_id)
        return None


async def _mark(
    connection: AsyncConnection, row: MessageRow, written: Rebuilt | None, *, interrupted: bool
) -> dict[str, Any]:
    """Ends an answer, as interrupted or as stopped. A row that was stored after the last part holds more than the parts."""
    content, body = row.content, row.body
    if written is not None and written.version > generation_parts.version_of(row):
        content, body = written.content, written.body
    body = ended(body)
    if interrupted:
        body |= interruption(body)
    await messages.save_answers(connection, [(row.n, content, body, True)])
    await embedded.note_message(connection, row.n, content, body)
    return body
