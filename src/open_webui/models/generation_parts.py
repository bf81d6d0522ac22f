"""What the journal wrote of running answers while they grow: rows that are only ever added, and go with their generation."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import messages, tables
from open_webui.models.messages import MessageRow
from open_webui.utils.answer_parts import Part, Rebuilt, rebuild

t, generation = tables.generation_part, tables.generation
_decode = msgspec.json.Decoder(Part).decode

# Only where the generation is still there: a chat may be deleted while it is answered.
_append = Prepared(
    t.insert().from_select(
        ["task_id", "seq", "data"],
        sa.select(generation.c.task_id, sa.bindparam("b_seq", type_=sa.Integer), sa.bindparam("b_data", type_=sa.Text))
        .where(generation.c.task_id == sa.bindparam("b_task", type_=sa.Text))
        .with_for_update(read=True, key_share=True),
    )
)
_of_chat = Prepared(
    sa.select(generation.c.message_id, t.c.data)
    .join(t, t.c.task_id == generation.c.task_id)
    .where(generation.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.task_id, t.c.seq)
)
_of_task = Prepared(sa.select(t.c.data).where(t.c.task_id == sa.bindparam("task")).order_by(t.c.seq))


async def append(connection: AsyncConnection, rows: Sequence[tuple[str, int, str]]) -> None:
    """Adds parts: (task, place in its sequence, the part's JSON) each."""
    if rows:
        given = [{"b_task": task_id, "b_seq": seq, "b_data": data} for task_id, seq, data in rows]
        await _append.run_many(connection, given)


async def of_task(connection: AsyncConnection, task_id: str) -> Rebuilt | None:
    """What was written of one answer; None when nothing was."""
    rows = await _of_task.all(connection, {"task": task_id})
    return rebuild([_decode(row[0]) for row in rows])


async def so_far(connection: AsyncConnection, chat_id: str) -> dict[str, Rebuilt]:
    """What was written of a chat's running answers, by message id."""
    found: dict[str, list[Part]] = {}
    for message_id, data in await _of_chat.all(connection, {"chat": chat_id}):
        found.setdefault(message_id, []).append(_decode(data))
    made = {message_id: rebuild(parts) for message_id, parts in found.items()}
    return {message_id: one for message_id, one in made.items() if one is not None}


async def lay_over_wire(
    connection: AsyncConnection,
    chat_id: str,
    wire: Iterable[tuple[str, dict[str, Any]]],
    overlay: Mapping[str, dict[str, Any]],
) -> None:
    """Lays running answers over wire messages: the overlay, and over others that are not done what was written of them so far.

    Asks the database only when there is such a message, which is rare.
    """
    waiting = {}
    for message_id, shown in wire:
        if message_id in overlay:
            shown.update(overlay[message_id])
        elif shown.get("done") is False:
            waiting[message_id] = shown
    if waiting:
        for message_id, one in (await so_far(connection, chat_id)).items():
            if message_id in waiting:
                waiting[message_id].update(one.body | {"content": one.content})


async def lay_over_rows(connection: AsyncConnection, chat_id: str, rows: Sequence[MessageRow]) -> None:
    """The same for rows; one that holds more already, since it was stored in between, keeps it."""
    waiting = {row.id: row for row in rows if not row.done}
    if waiting:
        for message_id, one in (await so_far(connection, chat_id)).items():
            row = waiting.get(message_id)
            if row is not None and one.version > version_of(row):
                row.content, row.body = one.content, one.body


async def rows_of_others(
    connection: AsyncConnection, chat_id: str, known: Collection[str]
) -> list[tuple[int, str, dict[str, Any], bool]]:
    """What other processes wrote so far of a chat's running answers, as `messages.save_answers` takes it.

    known: ids of messages that this process writes itself.
    """
    out = []
    for message_id, one in (await so_far(connection, chat_id)).items():
        row = None if message_id in known else await messages.get(connection, chat_id, message_id)
        if row is not None and not row.done and one.version > version_of(row):
            out.append((row.n, one.content, one.body, False))
    return out


def version_of(row: MessageRow) -> int:
    """The version of a running answer that its row holds; -1: none."""
    meta = row.body.get("meta")
    version = meta.get("sequence_number") if isinstance(meta, dict) else None
    return version if isinstance(version, int) else -1
