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
from open_webui.models.chat_rows import LockedChat
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
from open_webui.utils.aside import aside

t = tables.message
_encode = msgspec.json.encode


async def replace(
    connection: AsyncConnection,
    chat: LockedChat,
    author: str,
    given: Sequence[tree.Fields],
    *,
    may_edit: bool = True,
    may_delete: bool = True,
) -> None:
    """Makes a chat's messages what a page says they all are, writing only rows that differ.

    Messages that are being answered keep what they are, and stay with all that they answer to, also when the page does
    not know them yet. A page that still waits for an answer which is done does not undo it. Whoever is not the chat's
    owner (author) changes and removes only own messages. Raises Forbidden where what a message says would be changed, or a
    message removed, and that is not allowed.
    """
    fields = {f.id: f for f in given}
    before = await messages.links(connection, chat)
    # Read before the rows: an answer that ends in between is left alone too, and new ones need the chat first.
    live = await generations.running_messages(connection, chat.id)
    kept = _with_ancestors(before, live)
    parents = await aside(len(fields) + len(before), _merged, fields, before, live, kept)
    changed: list[MessageRow] = []
    gone: list[int] = []
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
                gone.append(r[0])
    if gone and not may_delete:
        raise Forbidden(constants.NO_DELETIONS, status=403)
    await messages.delete(connection, chat, gone)
    await messages.update(connection, chat, changed)
    fresh = tree.in_order([f for f in fields.values() if f.id not in before])
    for k in range(0, len(fresh), BATCH):
        part = [messages.new_row(f, chat.id, parents[f.id], author, chat.user_id, at) for f in fresh[k : k + BATCH]]
        await messages.insert(connection, chat, part)


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


async def copy(connection: AsyncConnection, source: Home, target: LockedChat) -> None:
    """Copies all messages of a chat into a new one, inside the database. The target has the source's next position."""
    low = first_number(source.n)
    given = {"n": t.c.n + (first_number(target.n) - low), "chat_id": sa.literal(target.id)} | {
        "owner": sa.literal(owner_word(target.user_id)),
        "done": sa.true(),
    }
    columns = [given.get(c.name, c) for c in t.columns]
    await connection.execute(
        t.insert().from_select(
            [c.name for c in t.columns],
            sa.select(*columns).where(t.c.n >= low, t.c.n < low + POSITIONS, t.c.chat_id == source.id),
        )
    )
    await file_uses.copy_messages(connection, low, low + POSITIONS, first_number(target.n) - low)


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
