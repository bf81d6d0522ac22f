"""What an ended process left: its answers are marked as interrupted, with what had arrived of them."""

from open_webui.chat.endings import interruption
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import generations, messages

log = get_logger(__name__)
# How often it is looked whether another process left answers behind.
SWEEP_SECONDS = 5.0


async def recover(database: Database, *, exclusive: bool) -> int:
    """Marks the messages of lost generations as interrupted; returns how many there were.

    exclusive: no other process shares the database, so whatever is noted there is lost.
    """
    async with database.read() as connection:
        found = await generations.leftovers(connection, exclusive=exclusive)
    if not found:
        return 0
    async with database.write() as unit:
        for entry in found:
            row = await messages.get(unit.connection, entry.chat_id, entry.message_id)
            if row is not None and not row.done:
                body = row.body | interruption(row.body)
                await messages.save_answers(unit.connection, [(row.n, row.content, body, True)])
        await generations.end(unit.connection, [entry.task_id for entry in found])
    log.info("answers were interrupted by an earlier end of the server", count=len(found))
    return len(found)
