"""Whole histories: saved by their differences, copied inside the database, and measured."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import Forbidden
from open_webui.models import file_uses, generations, messages, tables
from open_webui.models.base import clean, now
from open_webui.models.chat_rows import ChatRow, LockedChat
from open_webui.models.messages import (
    BATCH,
    PAGE,
    POSITIONS,
    Home,
    MessageRow,
    as_int,
    as_text,
    body_of,
    first_number,
    owner_word,
    storable,
)
from open_webui.utils import tree
from open_webui.utils.threads import in_thread_if_large

t = tables.message
_encode = msgspec.json.encode


class Difference(msgspec.Struct, frozen=True):
    """What a save changes of a chat's messages: new rows, changed ones, and the numbers of those that go, with their ids.

    since: the position that the next new message had when this was found out.
    """

    fresh: list[MessageRow]
    changed: list[MessageRow]
    gone: list[tuple[int, str]]
    since: int

    def __len__(self) -> int:
        return len(self.fresh) + len(self.changed) + len(self.gone)

    def part(self, first: int, last: int) -> "Difference":
        """From one place to before another, where the new ones come first and those that go last."""
        a, b = len(self.fresh), len(self.fresh) + len(self.changed)
        return Difference(
            self.fresh[first:last],
            self.changed[max(0, first - a) : max(0, last - a)],
            self.gone[max(0, first - b) : max(0, last - b)],
            self.since,
        )


async def replace(
    connection: AsyncConnection,
    chat: LockedChat,
    author: str,
    given: Sequence[tree.Fields],
    *,
    may_edit: bool = True,
    may_delete: bool = True,
) -> None:
    """Makes a chat's messages what a page says they all are, writing only rows that differ. Where what it gives answers to
    messages that are stored and not given, it is a part of them, as calls save what was spoken: then none goes.

    Messages that are being answered keep what they are, and stay with all that they answer to, also when the page does
    not know them yet. A page that still waits for an answer which is done does not undo it. Whoever is not the chat's
    owner (author) changes and removes only own messages. Raises Forbidden where what a message says would be changed, or a
    message removed, and that is not allowed.
    """
    found = await difference(connection, chat, author, given, may_edit=may_edit, may_delete=may_delete)
    await messages.delete(connection, chat, [n for n, _ in found.gone])
    await messages.update(connection, chat, found.changed)
    await messages.insert(connection, chat, found.fresh)


async def difference(
    connection: AsyncConnection,
    chat: ChatRow,
    author: str,
    given: Sequence[tree.Fields],
    *,
    may_edit: bool = True,
    may_delete: bool = True,
) -> Difference:
    """What `replace` would change. Raises Forbidden as it does."""
    fields = {f.id: f for f in given}
    before = await messages.links(connection, chat)
    # Read before the rows: an answer that ends in between is left alone too, and new ones need the chat first.
    live = await generations.running_messages(connection, chat.id)
    is_part = any(f.has_parent and f.parent in before and f.parent not in fields for f in given)
    kept = set(before) if is_part else _with_ancestors(before, live)
    parents = await in_thread_if_large(len(fields) + len(before), _merged, fields, before, live, kept)
    changed: list[MessageRow] = []
    gone: list[tuple[int, str]] = []
    at = now()
    async for rows in messages.raw_pages(connection, chat, PAGE):
        for r in rows:
            i = as_text(r[2])
            if i in live or (author != chat.user_id and body_of(r[8]).get("user_id") != author):
                continue
            if i in fields:
                row = _changed(r, fields[i], parents[i], at)
                if row is not None:
                    if not may_edit and (row.role, row.content) != (r[4], r[5]):
                        raise Forbidden(constants.NO_EDITS, status=403)
                    changed.append(row)
            elif i not in kept:
                gone.append((r[0], i))
    if gone and not may_delete:
        raise Forbidden(constants.NO_DELETIONS, status=403)

    def made() -> list[MessageRow]:
        new = tree.in_order([f for f in fields.values() if f.id not in before])
        return [messages.new_row(f, chat.id, parents[f.id], author, chat.user_id, at) for f in new]

    # The newest go first, so that a removal which is cut off leaves a tree.
    return Difference(await in_thread_if_large(len(fields), made), changed, gone[::-1], chat.next_position)


async def apply(connection: AsyncConnection, chat: LockedChat, part: Difference) -> None:
    """Stores a part of a difference that was found out before the chat was held.

    What others did meanwhile stays: messages that are being answered now, new ones, and all that these answer to.
    """
    live = await generations.running_messages(connection, chat.id)
    there = set(await messages.existing(connection, chat.id, [row.id for row in part.fresh]))
    await messages.insert(connection, chat, [row for row in part.fresh if row.id not in there])
    await messages.update(connection, chat, [row for row in part.changed if row.id not in live])
    if not part.gone:
        return
    newer = await connection.scalars(
        sa.select(t.c.id).where(t.c.chat_id == chat.id, t.c.n >= first_number(chat.n) + part.since)
    )
    needed = live | set(newer)
    kept = _with_ancestors(await messages.links(connection, chat), needed) if needed else needed
    await messages.delete(connection, chat, [n for n, i in part.gone if i not in kept])


def _merged(
    fields: dict[str, tree.Fields], before: dict[str, str | None], live: set[str], kept: set[str]
) -> dict[str, str | None]:
    """Everybody's parent after a save: what the page says, and for what stays without it what was."""
    said = tree.parents_of(fields.values())
    return tree.repair(
        {i: before[i] if i in live or i not in said else said[i] for i in before if i in said or i in kept}
        | {i: p for i, p in said.items() if i not in before}
    )


def _with_ancestors(parents: dict[str, str | None], ids: Iterable[str]) -> set[str]:
    out: set[str] = set()
    for start in ids:
        node: str | None = start
        while node is not None and node not in out:
            out.add(node)
            node = parents.get(node)
    return out


def _changed(r: Sequence[Any], f: tree.Fields, parent: str | None, at: int) -> MessageRow | None:
    """The row as the page has it, None when that is what is stored, or older."""
    if r[6] and f.done is False:
        return None
    body = f.body
    text = as_text(r[8])
    if '"user_id"' in text:
        author = body_of(text).get("user_id")
        if author is not None:
            body["user_id"] = author
    row = MessageRow(
        n=r[0],
        chat_id=r[1],
        id=r[2],
        parent_id=parent,
        role=f.role or as_text(r[4]),
        content=clean(f.content or ""),
        done=bool(r[6]) if f.done is None else f.done,
        model_id=None if f.model is None else clean(f.model),
        body=storable(body),
        created_at=as_int(r[9]) if f.at is None else f.at,
        updated_at=at,
    )
    same = (
        (row.parent_id, row.role, row.content, row.done, row.model_id, row.created_at)
        == (r[3], r[4], r[5], bool(r[6]), r[7], r[9])
    ) and _encode(row.body).decode() == text
    return None if same else row


async def copy(
    connection: AsyncConnection, source: Home, target: LockedChat, numbers: tuple[int, int] | None = None
) -> None:
    """Copies messages of a chat into a new one, inside the database. The target has the source's next position.

    numbers: the first and the last to copy, None for all.
    """
    shift = first_number(target.n) - first_number(source.n)
    low, high = numbers or (first_number(source.n), first_number(source.n) + POSITIONS - 1)
    given = {
        "n": t.c.n + shift,
        "chat_id": sa.literal(target.id),
        "owner": sa.literal(owner_word(target.user_id)),
        "done": sa.true(),
    }
    columns = [given.get(c.name, c) for c in t.columns]
    await connection.execute(
        t.insert().from_select(
            [c.name for c in t.columns],
            sa.select(*columns).where(t.c.n.between(low, high), t.c.chat_id == source.id),
        )
    )
    await file_uses.copy_messages(connection, low, high + 1, shift)


_sizes = (
    sa.select(t.c.n, sa.func.length(t.c.content) + sa.func.length(sa.cast(t.c.body, sa.Text)))
    .where(t.c.n >= sa.bindparam("low"), t.c.n < sa.bindparam("high"), t.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.n)
)


async def sizes(connection: AsyncConnection, chat: Home) -> list[tuple[int, int]]:
    """The number of each message of a chat, in order, and how many characters are stored of it."""
    low = first_number(chat.n)
    rows = await connection.execute(_sizes, {"low": low, "high": low + POSITIONS, "chat": chat.id})
    return [(r[0], as_int(r[1])) for r in rows]


async def count(connection: AsyncConnection, chat_ids: Sequence[str]) -> int:
    """How many messages these chats have, which are not more than a statement holds."""
    mine = sa.select(sa.func.count()).select_from(t).where(t.c.chat_id.in_(chat_ids))
    return int(await connection.scalar(mine) or 0)


async def totals(connection: AsyncConnection, chat_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many rows chats are with their messages, and how many characters are stored of these, by the chat's id."""
    out = dict.fromkeys(chat_ids, (1, 0))
    for k in range(0, len(chat_ids), BATCH):
        mine = t.c.chat_id.in_(chat_ids[k : k + BATCH])
        size = sa.func.sum(sa.func.length(t.c.content) + sa.func.length(sa.cast(t.c.body, sa.Text)))
        rows = await connection.execute(sa.select(t.c.chat_id, sa.func.count(), size).where(mine).group_by(t.c.chat_id))
        out.update({r[0]: (1 + r[1], as_int(r[2])) for r in rows})
    return out


async def delete_between(connection: AsyncConnection, chat: LockedChat, numbers: tuple[int, int]) -> None:
    """Removes the messages of a chat from the first to the last of these numbers."""
    await connection.execute(t.delete().where(t.c.n.between(*numbers), t.c.chat_id == chat.id))


class Outline(msgspec.Struct, frozen=True):
    """A message without its text. length: of the text, in characters."""

    id: str
    parent_id: str | None
    role: str
    model_id: str | None
    created_at: int
    length: int


_outline = (
    sa.select(t.c.id, t.c.parent_id, t.c.role, t.c.model_id, t.c.created_at, sa.func.length(t.c.content))
    .where(t.c.n >= sa.bindparam("low"), t.c.n < sa.bindparam("high"), t.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.n)
)


async def outline(connection: AsyncConnection, chat: Home) -> list[Outline]:
    """All messages of a chat without their texts, in row order."""
    low = first_number(chat.n)
    rows = await connection.execute(_outline, {"low": low, "high": low + POSITIONS, "chat": chat.id})
    return [
        Outline(
            as_text(r[0]),
            None if r[1] is None else as_text(r[1]),
            as_text(r[2]),
            None if r[3] is None else as_text(r[3]),
            as_int(r[4]),
            as_int(r[5]),
        )
        for r in rows
    ]
