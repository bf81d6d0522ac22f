"""What uses a file: found in what is stored, and noted in the transaction that stores it.

A reference is an address (`/api/v1/files/<id>/content`) anywhere in a thing, or the id or url of an entry of its `files`.
It becomes a use only where the file may be attached: it is the writer's, or the thing (for a message: its chat) uses it
already. So nobody gets at a file by writing down its id.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables
from open_webui.models.base import among
from open_webui.utils.addresses import ID, MARK, ids_in

t, file, message, chat = tables.file_use, tables.file, tables.message, tables.chat
Thing = Literal["chat_id", "share_id", "folder_id", "model_id", "profile_id", "settings_id"]
_encode = msgspec.json.encode
# Where a running answer's body may refer to files; its text is its content too.
_REFERRING: Final = frozenset({"files", "embeds", "sources"})
# Ids a statement.
BATCH: Final = 500


def references(value: Any) -> set[str]:
    """The ids of the files that a JSON value refers to, or any of several in a list."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    found = ids_in(_encode(value))
    entries = value.get("files") if isinstance(value, dict) else None
    for one in entries if isinstance(entries, list) else ():
        if isinstance(one, dict):
            found.update(i for i in (one.get("id"), one.get("url")) if isinstance(i, str) and ID.fullmatch(i))
    return found


_unlink = Prepared(t.delete().where(t.c.message_n == sa.bindparam("message")))


class Row(Protocol):
    """A message as stored (models.messages.MessageRow has it)."""

    n: int
    chat_id: str
    content: str
    body: dict[str, Any]


def may_refer(content: str, body: dict[str, Any], *, done: bool) -> bool:
    """Whether an answer may refer to a file. Of one that is not done, which is written over and over, a quick look."""
    return MARK in content or not _REFERRING.isdisjoint(body) or (done and MARK.encode() in _encode(body))


def _message_references(row: Row) -> set[str]:
    found = references(row.body) if row.body else set()
    return found | references(row.content) if MARK in row.content else found


async def link_messages(connection: AsyncConnection, rows: Sequence[Row], *, new: bool) -> None:
    """Notes what messages use now. new: they were just inserted, so there is nothing to take back."""
    wanted = {(row.n, row.chat_id, row.body.get("user_id")): f for row in rows if (f := _message_references(row))}
    links: list[dict[str, Any]] = []
    for (chat_id, author), theirs in _grouped(wanted).items():
        usable = await _usable_in_chat(connection, chat_id, author, set().union(*theirs.values()))
        links += [{"file_id": i, "message_n": n} for n, found in theirs.items() for i in sorted(found & usable)]
    if rows and not new:
        await _unlink.run_many(connection, [{"message": row.n} for row in rows])
    await _insert(connection, links)


def _grouped(wanted: Mapping[tuple[int, str, Any], set[str]]) -> dict[tuple[str, Any], dict[int, set[str]]]:
    out: dict[tuple[str, Any], dict[int, set[str]]] = {}
    for (n, chat_id, author), found in wanted.items():
        out.setdefault((chat_id, author if isinstance(author, str) else None), {})[n] = found
    return out


async def _usable_in_chat(connection: AsyncConnection, chat_id: str, author: str | None, ids: set[str]) -> set[str]:
    """Those of the files that somebody (None: its owner) may attach to a message of a chat."""
    in_chat = sa.select(t.c.file_id).join(message, message.c.n == t.c.message_n).where(message.c.chat_id == chat_id)
    owner: Any = sa.select(chat.c.user_id).where(chat.c.id == chat_id).scalar_subquery() if author is None else author
    return await _usable(connection, ids, owner, in_chat)


async def link(
    connection: AsyncConnection, thing: Thing, thing_id: str, writer_id: str, value: Any, *, new: bool = False
) -> None:
    """Notes what a thing uses now, after somebody stored this value in it. new: it was just made and used nothing."""
    found = references(value)
    if found:
        already = sa.select(t.c.file_id).where(t.c[thing] == thing_id)
        found = await _usable(connection, found, writer_id, already)
    if not new:
        await connection.execute(t.delete().where(t.c[thing] == thing_id))
    await _insert(connection, [{"file_id": i, thing: thing_id} for i in sorted(found)])


async def inherit(connection: AsyncConnection, source: Mapping[str, str], rows: Iterable[Row]) -> None:
    """Lets new messages use what the thing uses that they were copied from: {"chat_id": ...} or {"share_id": ...}.

    The caller has checked that whoever copies may read it.
    """
    wanted = {row.n: found for row in rows if (found := _message_references(row))}
    if not wanted:
        return
    (kind, source_id), *_ = source.items()
    allowed = set(await connection.scalars(_of_chat(source_id) if kind == "chat_id" else _of_share(source_id)))
    have = {(n, i) for n, i in await connection.execute(
        sa.select(t.c.message_n, t.c.file_id).where(among(t.c.message_n, wanted))
    )}  # fmt: skip
    fresh = [(n, i) for n, found in wanted.items() for i in sorted(found & allowed) if (n, i) not in have]
    await _insert(connection, [{"file_id": i, "message_n": n} for n, i in fresh])


def _of_chat(chat_id: str) -> "sa.Select[Any]":
    of_messages = sa.select(t.c.file_id).join(message, message.c.n == t.c.message_n).where(message.c.chat_id == chat_id)
    return sa.union(of_messages, sa.select(t.c.file_id).where(t.c.chat_id == chat_id)).subquery().select()


def _of_share(share_id: str) -> "sa.Select[Any]":
    return sa.select(t.c.file_id).where(t.c.share_id == share_id)


async def of(connection: AsyncConnection, thing: Thing, thing_id: str) -> set[str]:
    """The ids of the files that a thing uses."""
    return set(await connection.scalars(sa.select(t.c.file_id).where(t.c[thing] == thing_id)))


async def of_chat(connection: AsyncConnection, chat_id: str) -> set[str]:
    """The ids of the files that a chat and its messages use."""
    return set(await connection.scalars(_of_chat(chat_id)))


async def share(connection: AsyncConnection, share_id: str, chat_id: str | None) -> None:
    """Notes that a snapshot of a chat uses what the chat uses now; with None, that it uses nothing any more."""
    await connection.execute(t.delete().where(t.c.share_id == share_id))
    if chat_id is not None:
        found = _of_chat(chat_id).subquery()
        await connection.execute(
            t.insert().from_select(["file_id", "share_id"], sa.select(found.c.file_id, sa.literal(share_id)))
        )


async def copy_messages(connection: AsyncConnection, low: int, high: int, shift: int) -> None:
    """Lets copies of the messages of a range of row numbers, `shift` further on, use the same."""
    inside = sa.select(t.c.file_id, t.c.message_n + shift).where(t.c.message_n >= low, t.c.message_n < high)
    await connection.execute(t.insert().from_select(["file_id", "message_n"], inside))


async def _usable(connection: AsyncConnection, ids: set[str], writer_id: Any, already: "sa.Select[Any]") -> set[str]:
    out: set[str] = set()
    listed = sorted(ids)
    for k in range(0, len(listed), BATCH):
        mine = sa.or_(file.c.user_id == writer_id, file.c.id.in_(already))
        found = sa.select(file.c.id).where(file.c.id.in_(listed[k : k + BATCH]), mine)
        # As the use that follows locks it: one that another process is just collecting is gone then, and no error.
        out.update(await connection.scalars(found.with_for_update(read=True, key_share=True)))
    return out


async def _insert(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    if rows:
        await connection.execute(t.insert(), rows)
