"""Chats: who may read and write them, and the document that pages know, put together from rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import grants, messages, tables, tags
from open_webui.models.base import clean, new_id, now
from open_webui.models.messages import MessageRow, fields_of
from open_webui.principal import Principal
from open_webui.utils import tree
from open_webui.utils.aside import aside

t, shared, folder, user = tables.chat, tables.shared_chat, tables.folder, tables.user
Action = Literal["read", "write"]
# What the document's `chat` object holds in places of its own.
OWN_KEYS = frozenset({"history", "messages", "title", "share_mode"})


class ChatRow(msgspec.Struct):
    """A chat without its messages. body: what a page keeps in the document beside title and history."""

    n: int
    id: str
    user_id: str
    title: str
    body: dict[str, Any]
    current_message_id: str | None
    next_position: int
    meta: dict[str, Any]
    variables: dict[str, Any] | None
    tasks: Any
    summary: str | None
    archived: bool
    pinned: bool
    folder_id: str | None
    share_id: str | None
    last_read_at: int | None
    created_at: int
    updated_at: int


_JSON = {"body", "meta", "variables", "tasks"}
# JSON columns as text, decoded below: one that somebody broke must not take the list of chats with it.
columns = tuple(
    sa.cast(t.c[name], sa.Text).label(name) if name in _JSON else t.c[name] for name in ChatRow.__struct_fields__
)


def decode(text: Any) -> Any:
    """The value of a JSON column's text; None for one that is not JSON."""
    if not isinstance(text, str | bytes):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _object(text: Any) -> dict[str, Any]:
    value = decode(text)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def row_of(r: Sequence[Any]) -> ChatRow:
    """The chat of a row of `columns`."""
    return ChatRow(
        n=r[0],
        id=r[1],
        user_id=r[2],
        title=_text(r[3]),
        body=_object(r[4]),
        current_message_id=None if r[5] is None else _text(r[5]),
        next_position=r[6] if isinstance(r[6], int) else 0,
        meta=_object(r[7]),
        variables=_object(r[8]),
        tasks=decode(r[9]),
        summary=None if r[10] is None else _text(r[10]),
        archived=bool(r[11]),
        pinned=bool(r[12]),
        folder_id=r[13],
        share_id=r[14],
        last_read_at=r[15] if isinstance(r[15], int) else None,
        created_at=r[16] if isinstance(r[16], int) else 0,
        updated_at=r[17] if isinstance(r[17], int) else 0,
    )


def _granted(principal: Principal | None, action: Action) -> "sa.ColumnElement[bool]":
    """Not the owner, but let in: by a live share, or by the folder that the chat lies in."""
    live = sa.exists().where(shared.c.chat_id == t.c.id, shared.c.mode == "continue")
    return sa.or_(
        sa.and_(live, grants.granted("shared_chat", t.c.id, principal, action)),
        sa.and_(t.c.folder_id.is_not(None), grants.granted("folder", t.c.folder_id, principal, action)),
    )


def readable_by(principal: Principal | None, *, admin_access: bool = False) -> "sa.ColumnElement[bool]":
    """The chats that somebody (None: without an account) may read. admin_access: admins read all
    (settings.enable_admin_chat_access).
    """
    if principal is None:
        return _granted(None, "read")
    if admin_access and principal.is_admin:
        return sa.true()
    return sa.or_(t.c.user_id == principal.id, _granted(principal, "read"))


def writable_by(principal: Principal) -> "sa.ColumnElement[bool]":
    """The chats that somebody may write into. Admins too need a grant."""
    return sa.or_(t.c.user_id == principal.id, _granted(principal, "write"))


_own = Prepared(sa.select(*columns).where(t.c.id == sa.bindparam("chat"), t.c.user_id == sa.bindparam("owner")))


async def own(connection: AsyncConnection, user_id: str, chat_id: str) -> ChatRow | None:
    """A chat of this user."""
    row = await _own.first(connection, {"chat": chat_id, "owner": user_id})
    return None if row is None else row_of(row)


async def get(
    connection: AsyncConnection,
    principal: Principal,
    chat_id: str,
    action: Action = "read",
    *,
    admin_access: bool = False,
) -> ChatRow | None:
    """The chat, if the principal may do this with it; None otherwise, and when there is none."""
    # Nearly always the owner asks, and that is the cheap question.
    chat = await own(connection, principal.id, chat_id)
    if chat is not None:
        return chat
    allowed = writable_by(principal) if action == "write" else readable_by(principal, admin_access=admin_access)
    row = (await connection.execute(sa.select(*columns).where(t.c.id == chat_id, allowed))).first()
    return None if row is None else row_of(row)


async def hold(connection: AsyncConnection, chat_id: str) -> None:
    """Lets others who are about to change what they read of this chat wait until this transaction is over."""
    await connection.execute(sa.select(t.c.n).where(t.c.id == chat_id).with_for_update())


async def touch(
    connection: AsyncConnection,
    chat_id: str,
    *,
    current_message_id: str | None = None,
    title: str | None = None,
    at: int | None = None,
) -> None:
    """Marks a chat as changed now (or at a time); moves its current message and its title if given."""
    values: dict[str, Any] = {"updated_at": now() if at is None else at}
    if current_message_id is not None:
        values["current_message_id"] = current_message_id
    if title is not None:
        values["title"] = clean(title)
    await connection.execute(t.update().where(t.c.id == chat_id).values(values))


async def create(
    connection: AsyncConnection,
    user_id: str,
    *,
    title: str,
    body: Mapping[str, Any],
    folder_id: str | None = None,
    messages: Sequence[dict[str, Any]] = (),
    current_id: str | None = None,
    **more: Any,
) -> ChatRow:
    """A new chat with its wire messages. `more` are further columns (meta, variables, archived, pinned, times).

    The folder must have been checked. The current message is current_id if that exists, else the last one.
    """
    fields = fields_of(messages)
    return (await create_from(connection, user_id, title, body, fields, current_id, folder_id=folder_id, **more))[0]


async def create_from(
    connection: AsyncConnection,
    user_id: str,
    title: str,
    body: Mapping[str, Any],
    fields: Sequence[tree.Fields],
    current_id: str | None,
    **more: Any,
) -> tuple[ChatRow, list[MessageRow]]:
    """The same with messages that are taken apart already; gives their rows too, in row order."""
    at = now()
    values: dict[str, Any] = {
        "id": new_id(),
        "user_id": user_id,
        "title": clean(title),
        "body": messages.storable({k: v for k, v in body.items() if k not in OWN_KEYS}),
        "meta": {},
        "variables": {},
        "tasks": None,
        "summary": None,
        "archived": False,
        "pinned": False,
        "folder_id": None,
        "share_id": None,
        "last_read_at": at,
        "created_at": at,
        "updated_at": at,
    } | more
    rows = await aside(len(fields), messages.new_rows, values["id"], user_id, fields)
    ids = {row.id for row in rows}
    values.setdefault("current_message_id", current_id if current_id in ids else rows[-1].id if rows else None)
    values.setdefault("next_position", len(rows))
    number = await _insert.first(connection, values)
    chat = ChatRow(n=0 if number is None else number[0], **values)
    await messages.insert_at(connection, chat, rows, 0)
    return chat, rows


_insert = Prepared(t.insert().returning(t.c.n), [column.name for column in t.c if column is not t.c.n])


async def document(
    connection: AsyncConnection,
    chat: ChatRow,
    *,
    rows: Sequence[MessageRow] | None = None,
    overlay: Mapping[str, dict[str, Any]] | None = None,
    tag_ids: Sequence[str] | None = None,
    names: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The whole chat as pages know it (the answer of GET /chats/{id}).

    rows: its messages, where the caller has them all. overlay: fields of running answers by message id, laid over what
    is stored. tag_ids: where known. names: of users, where known. Values may be encoded JSON (msgspec.Raw).
    """
    if rows is None:
        history = await messages.history(connection, chat)
    else:
        children = tree.children_of({r.id: r.parent_id for r in rows})
        history = {r.id: r.wire(children[r.id]) for r in rows}
    for message_id, fields in (overlay or {}).items():
        if message_id in history:
            history[message_id].update(fields)
    await sign(connection, chat, history.values(), {} if names is None else names)
    if tag_ids is None:
        tag_ids = await tags_of(connection, chat.id)
    return envelope(chat, history, tag_ids)


def envelope(chat: ChatRow, history: Any, tag_ids: Sequence[str]) -> dict[str, Any]:
    """The document around a history's messages."""
    current = chat.current_message_id
    if isinstance(history, dict) and current not in history:
        current = next(reversed(history), None)
    body = {
        **chat.body,
        "title": chat.title,
        "history": {"currentId": current, "messages": history},
        # A flat copy of the branch in older releases; pages read the history.
        "messages": [],
    }
    body.setdefault("models", [])
    return {
        "id": chat.id,
        "user_id": chat.user_id,
        "title": chat.title,
        "chat": body,
        "updated_at": chat.updated_at,
        "created_at": chat.created_at,
        "share_id": chat.share_id,
        "archived": chat.archived,
        "pinned": chat.pinned,
        "meta": {**chat.meta, "tags": list(tag_ids)} if tag_ids or "tags" in chat.meta else chat.meta,
        "variables": chat.variables or {},
        "folder_id": chat.folder_id,
        "tasks": chat.tasks,
        "summary": chat.summary,
        "current_message_id": current,
        "context_usage": None,
    }


async def sign(connection: AsyncConnection, chat: ChatRow, wire: Iterable[Any], names: dict[str, str]) -> None:
    """Notes on wire messages who wrote them. names: of users by id; those that are missing are looked up and added."""
    authors: dict[str, list[dict[str, Any]]] = {}
    for message in wire:
        author = message.get("user_id")
        if isinstance(author, msgspec.Raw):
            author = decode(bytes(author))
        author = author if isinstance(author, str) else chat.user_id
        message["user_id"] = author
        if message.get("role") == "user":
            authors.setdefault(author, []).append(message)
    missing = authors.keys() - names.keys()
    if missing:
        names.update((i, name) for i, name in await connection.execute(_names, {"ids": list(missing)}))
    for author, written in authors.items():
        if author in names:
            for message in written:
                message["user"] = {"id": author, "name": names[author]}


_names = sa.select(user.c.id, user.c.name).where(user.c.id.in_(sa.bindparam("ids", expanding=True)))
_tags = Prepared(
    sa.select(tables.chat_tag.c.tag_id)
    .where(tables.chat_tag.c.chat_id == sa.bindparam("chat"))
    .order_by(tables.chat_tag.c.tag_id)
)


async def tags_of(connection: AsyncConnection, chat_id: str) -> list[str]:
    """The ids of a chat's tags."""
    return [row[0] for row in await _tags.all(connection, {"chat": chat_id})]


async def change(connection: AsyncConnection, chat: ChatRow, **values: Any) -> ChatRow:
    """Stores some columns and gives the chat as it is now."""
    await connection.execute(t.update().where(t.c.n == chat.n).values(values))
    return msgspec.structs.replace(chat, **values)


async def delete(connection: AsyncConnection, chat: ChatRow) -> None:
    """Removes a chat with its messages, its share and the grants on it; tags without another chat go too."""
    await grants.clear(connection, "shared_chat", [chat.id])
    await connection.execute(t.delete().where(t.c.n == chat.n))
    await tags.prune(connection, chat.user_id)


async def delete_all(connection: AsyncConnection, user_id: str, folder_ids: Sequence[str] | None = None) -> int:
    """Removes all chats of a user, or those in some folders."""
    mine = (
        t.c.user_id == user_id if folder_ids is None else sa.and_(t.c.user_id == user_id, t.c.folder_id.in_(folder_ids))
    )
    ids = sa.select(t.c.id).where(mine)
    await grants.clear(connection, "shared_chat", list(await connection.scalars(ids)))
    result = await connection.execute(t.delete().where(mine))
    await tags.prune(connection, user_id)
    return int(result.rowcount)


async def by_numbers(connection: AsyncConnection, numbers: Sequence[int]) -> list[ChatRow]:
    """Chats by number, in the given order. For exports; the caller has asked for numbers that may be read."""
    rows = await connection.execute(sa.select(*columns).where(t.c.n.in_(numbers)))
    found = {row[0]: row_of(row) for row in rows}
    return [found[n] for n in numbers if n in found]
