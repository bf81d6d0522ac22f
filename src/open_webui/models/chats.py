"""Chats: who may read and write them, and the document that pages know, put together from rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import NotFound
from open_webui.internal import acts
from open_webui.internal.prepared import Prepared
from open_webui.models import file_uses, folders, generation_parts, grants, messages, tables, tags
from open_webui.models.base import among, clean, new_id, now
from open_webui.models.chat_rows import (
    ChatRow,
    LockedChat,
    LockedChats,
    columns,
    decode,
    locked_row_of,
    row_of,
    visible,
)
from open_webui.models.messages import MessageRow, fields_of
from open_webui.principal import Principal
from open_webui.utils import tree
from open_webui.utils.threads import in_thread_if_large, let_others

t, shared, folder, user = tables.chat, tables.shared_chat, tables.folder, tables.user
Action = Literal["read", "write"]
# What the document's `chat` object holds in places of its own.
OWN_KEYS = frozenset({"history", "messages", "title", "share_mode"})


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
        return sa.and_(visible, _granted(None, "read"))
    if admin_access and principal.is_admin:
        return visible
    return sa.and_(visible, sa.or_(t.c.user_id == principal.id, _granted(principal, "read")))


def writable_by(principal: Principal) -> "sa.ColumnElement[bool]":
    """The chats that somebody may write into. Admins too need a grant."""
    return sa.and_(visible, sa.or_(t.c.user_id == principal.id, _granted(principal, "write")))


_this = sa.select(*columns).where(t.c.id == sa.bindparam("chat"), visible)
_owned = _this.where(t.c.user_id == sa.bindparam("owner"))
_own = Prepared(_owned)


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
    if row is None:
        return None
    found = row_of(row)
    if action == "read" and admin_access and principal.is_admin:
        given = sa.select(t.c.n).where(t.c.id == chat_id, readable_by(principal))
        if await connection.scalar(given) is None:
            acts.opened("chat", chat_id, found.user_id)
    return found


_own_locked = Prepared(_owned.with_for_update(of=t, key_share=True))


async def lock(
    connection: AsyncConnection,
    principal: Principal,
    chat_id: str,
    action: Literal["own", "write"] = "write",
    *,
    admin_access: bool = False,
) -> LockedChat | None:
    """The chat, held until this transaction is over, if the principal may change it; None otherwise.

    Taking the row and asking for the right is one statement: nobody changes the chat between what is read here and what
    is written by it. On SQLite a transaction that writes is alone anyway. action: "own" is for owners only.
    admin_access: admins may do it with any chat.
    """
    row = await _own_locked.first(connection, {"chat": chat_id, "owner": principal.id})
    if row is not None:
        return locked_row_of(row)
    if admin_access and principal.is_admin:
        allowed = visible
    elif action == "write":
        allowed = writable_by(principal)
    else:
        return None
    wanted = sa.select(*columns).where(t.c.id == chat_id, allowed)
    row = (await connection.execute(wanted.with_for_update(of=t, key_share=True))).first()
    # Grants are other rows: what was granted when the wait for the chat began may be gone now, and is asked for again.
    if row is None or (await connection.execute(sa.select(t.c.n).where(t.c.id == chat_id, allowed))).first() is None:
        return None
    return locked_row_of(row)


_any_locked = Prepared(_this.with_for_update(of=t, key_share=True))


async def lock_for_server(connection: AsyncConnection, chat_id: str) -> LockedChat | None:
    """The chat, held for what the server itself writes after an answer; None when it is gone."""
    row = await _any_locked.first(connection, {"chat": chat_id})
    return None if row is None else locked_row_of(row)


Which = Literal["all", "active", "archived", "unread", "shared"]


async def lock_all(
    connection: AsyncConnection, user_id: str, which: Which = "all", folder_ids: Sequence[str] | None = None
) -> LockedChats:
    """A user's chats, or those of a kind, or in some folders, held in the order of their ids.

    Whoever holds several chats takes them in this order; otherwise two could wait for each other.
    """
    kinds = {
        "all": sa.true(),
        "active": sa.not_(t.c.archived),
        "archived": t.c.archived,
        "unread": folders.unread,
        "shared": t.c.share_id.is_not(None),
    }
    mine = sa.select(t.c.id).where(t.c.user_id == user_id, kinds[which], visible)
    wanted = mine.order_by(t.c.id).with_for_update(key_share=True)
    if folder_ids is not None:
        wanted = wanted.where(among(t.c.folder_id, folder_ids))
    return LockedChats(user_id, tuple(await connection.scalars(wanted)))


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
) -> LockedChat:
    """A new chat with its wire messages. `more` are further columns (meta, variables, archived, pinned, times).

    The folder must have been checked. The current message is current_id if that exists, else the last one.
    """
    new = await draft(user_id, title, body, fields_of(messages), current_id, folder_id=folder_id, **more)
    return await insert_whole(connection, new)


class NewChat(msgspec.Struct, frozen=True):
    """A chat that is not stored yet: its columns, the rows of its messages in order, not numbered yet, and names of tags."""

    values: dict[str, Any]
    rows: list[MessageRow]
    tags: tuple[str, ...] = ()


async def draft(
    user_id: str,
    title: str,
    body: Mapping[str, Any],
    fields: Sequence[tree.Fields],
    current_id: str | None,
    **more: Any,
) -> NewChat:
    """A new chat with messages that are taken apart already. The arguments are those of `create`."""
    at = now()
    own = {k: v for k, v in body.items() if k not in OWN_KEYS}
    encoded = _encode(own)
    await let_others(len(encoded))
    values: dict[str, Any] = {
        "id": new_id(),
        "user_id": user_id,
        "title": clean(title),
        "body": messages.storable(own, encoded),
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
    rows = await in_thread_if_large(len(fields), messages.new_rows, values["id"], user_id, fields)
    ids = {row.id for row in rows}
    values.setdefault("current_message_id", current_id if current_id in ids else rows[-1].id if rows else None)
    values.setdefault("next_position", len(rows))
    return NewChat(values, rows)


_encode = msgspec.json.encode
_insert = Prepared(t.insert().returning(t.c.n), [column.name for column in t.c if column is not t.c.n])


async def insert(connection: AsyncConnection, new: NewChat, *, hidden: bool = False) -> LockedChat:
    """Stores a new chat without its messages. hidden: nobody sees it until `show`."""
    number = await _insert.first(connection, new.values | {"hidden_at": now() if hidden else None})
    acts.about("chat", new.values["id"])
    chat = LockedChat(n=0 if number is None else number[0], **new.values)
    documents = [chat.body, chat.meta, chat.variables]
    await file_uses.link(connection, "chat_id", chat.id, chat.user_id, documents, new=True)
    return chat


async def insert_whole(connection: AsyncConnection, new: NewChat) -> LockedChat:
    """Stores a new chat with its messages."""
    chat = await insert(connection, new)
    await messages.insert_at(connection, chat, new.rows, 0)
    return chat


async def lock_hidden(connection: AsyncConnection, chat_ids: Sequence[str]) -> list[LockedChat]:
    """Those of the chats that are hidden and there, in the order of their ids, for who makes or removes them."""
    out = []
    for k in range(0, len(chat_ids), messages.BATCH):
        part = sorted(chat_ids)[k : k + messages.BATCH]
        hidden = sa.select(*columns).where(t.c.id.in_(part), sa.not_(visible))
        out += [
            locked_row_of(row)
            for row in await connection.execute(hidden.order_by(t.c.id).with_for_update(key_share=True))
        ]
    return out


def by_owner(held: Iterable[LockedChat]) -> list[LockedChats]:
    """Chats that are held, those of each person together."""
    owners: dict[str, list[str]] = {}
    for chat in held:
        owners.setdefault(chat.user_id, []).append(chat.id)
    return [LockedChats(user_id, tuple(ids)) for user_id, ids in owners.items()]


async def show(connection: AsyncConnection, user_id: str, chat_ids: Sequence[str]) -> LockedChats:
    """Lets people see hidden chats of this user. Raises NotFound where one is gone."""
    held = LockedChats(user_id, tuple(sorted(chat_ids)))
    for ids in portions(held):
        shown = t.update().where(t.c.id.in_(ids), sa.not_(visible)).values(hidden_at=None)
        if (await connection.execute(shown)).rowcount < len(ids):
            raise NotFound
    return held


async def hide(connection: AsyncConnection, chats: LockedChats, heir: str | None = None) -> None:
    """Lets nobody see chats any more: their shares, grants and tags go. heir: whose they are until they are removed."""
    values = {"hidden_at": now(), "share_id": None} | ({} if heir is None else {"user_id": heir})
    for ids in portions(chats):
        await grants.clear(connection, "shared_chat", ids)
        await connection.execute(shared.delete().where(shared.c.chat_id.in_(ids)))
        await connection.execute(tables.chat_tag.delete().where(tables.chat_tag.c.chat_id.in_(ids)))
    await change_all(connection, chats, **values)
    await tags.prune(connection, chats.user_id)


async def hidden(connection: AsyncConnection, chat_id: str) -> ChatRow | None:
    """A chat that is hidden."""
    row = (await connection.execute(sa.select(*columns).where(t.c.id == chat_id, sa.not_(visible)))).first()
    return None if row is None else row_of(row)


async def hidden_before(connection: AsyncConnection, at: int | None) -> list[str]:
    """The ids of chats that were hidden before this time (None: at any time)."""
    found = sa.select(t.c.id).where(sa.not_(visible))
    return list(await connection.scalars(found if at is None else found.where(t.c.hidden_at < at)))


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
    await generation_parts.lay_over_wire(connection, chat.id, history.items(), overlay or {})
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
        names.update((i, name) for i, name in await connection.execute(_names.where(among(user.c.id, missing))))
    for author, written in authors.items():
        if author in names:
            for message in written:
                message["user"] = {"id": author, "name": names[author]}


_names = sa.select(user.c.id, user.c.name)
_tags = Prepared(
    sa.select(tables.chat_tag.c.tag_id)
    .where(tables.chat_tag.c.chat_id == sa.bindparam("chat"))
    .order_by(tables.chat_tag.c.tag_id)
)


async def tags_of(connection: AsyncConnection, chat_id: str) -> list[str]:
    """The ids of a chat's tags."""
    return [row[0] for row in await _tags.all(connection, {"chat": chat_id})]


async def change(connection: AsyncConnection, chat: LockedChat, **values: Any) -> LockedChat:
    """Stores these columns, and no others, and gives the chat as it is now."""
    await connection.execute(t.update().where(t.c.n == chat.n).values(values))
    return msgspec.structs.replace(chat, **values)


async def change_all(connection: AsyncConnection, chats: LockedChats, **values: Any) -> None:
    """Stores these columns of several chats."""
    for ids in portions(chats):
        await connection.execute(t.update().where(t.c.id.in_(ids)).values(values))


def portions(chats: LockedChats) -> Iterable[tuple[str, ...]]:
    """The ids, as many at a time as a statement takes."""
    return (chats.ids[k : k + messages.BATCH] for k in range(0, len(chats.ids), messages.BATCH))


async def delete(connection: AsyncConnection, chat: LockedChat) -> None:
    """Removes a chat with its messages, its share and the grants on it; tags without another chat go too."""
    await delete_all(connection, chat.alone())


async def delete_all(connection: AsyncConnection, chats: LockedChats) -> None:
    """Removes several chats of one person with all that hangs on them."""
    for ids in portions(chats):
        await grants.clear(connection, "shared_chat", ids)
        await connection.execute(t.delete().where(t.c.id.in_(ids)))
    await tags.prune(connection, chats.user_id)


async def by_numbers(connection: AsyncConnection, numbers: Sequence[int]) -> list[ChatRow]:
    """Chats by number, in the given order. For exports; the caller has asked for numbers that may be read."""
    rows = await connection.execute(sa.select(*columns).where(among(t.c.n, numbers), visible))
    found = {row[0]: row_of(row) for row in rows}
    return [found[n] for n in numbers if n in found]
