"""Messages of channels: who wrote them, their threads, what they quote, reactions, and those that are pinned."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import file_uses, tables
from open_webui.models.base import among, decode_json, inserting
from open_webui.models.channels import nanoseconds, repository
from open_webui.models.repository import Condition, contains
from open_webui.principal import Principal

# People who are named with one reaction; all are counted.
MOST_NAMED: Final = 100
PINNED_PER_PAGE: Final = 20
# The newest messages among which a text is looked for.
MOST_SEARCHED: Final = 5_000
t, user, reaction, file, held = (
    tables.channel_message,
    tables.user,
    tables.channel_reaction,
    tables.file,
    tables.channel_file,
)
quoted, quoted_user = t.alias("quoted"), user.alias("quoted_user")
Wire = dict[str, Any]
# What stands for an author whose account is gone.
GONE: Final[Wire] = {"id": "", "name": "Deleted account", "role": "user"}
_HEAD: Final = (
    "id", "user_id", "channel_id", "reply_to_id", "parent_id", "is_pinned", "pinned_by", "pinned_at", "content", "created_at",
    "updated_at",
)  # fmt: skip


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message. author: as people see them. data: None where only `has_data` was read. quote: without what it quotes."""

    id: str
    user_id: str | None
    channel_id: str
    reply_to_id: str | None
    parent_id: str | None
    is_pinned: bool
    pinned_by: str | None
    pinned_at: int | None
    content: str
    created_at: int
    updated_at: int
    has_data: bool
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    author: Wire
    reply_count: int = 0
    latest_reply_at: int | None = None
    quote: "Message | None" = None

    @property
    def app_id(self) -> str | None:
        """The id of the app that wrote it."""
        app = _signed(self.meta, "app")
        return None if app is None else str(app["id"])

    def plain(self, data: Any) -> Wire:
        """The message's own fields, as the wire has them."""
        head = {name: getattr(self, name) for name in _HEAD}
        return {
            "id": head["id"], "user_id": head["user_id"], "app_id": self.app_id, "channel_id": head["channel_id"],
            "reply_to_id": head["reply_to_id"], "parent_id": head["parent_id"], "is_pinned": head["is_pinned"],
            "pinned_by": head["pinned_by"], "pinned_at": head["pinned_at"], "content": head["content"], "data": data,
            "meta": self.meta, "created_at": head["created_at"], "updated_at": head["updated_at"],
        }  # fmt: skip

    @property
    def etag(self) -> Wire:
        return {"etag": str(self.updated_at)}

    def stored(self) -> Wire:
        """As whoever stored it gets it."""
        return self.plain(self.data) | self.etag

    def slim(self) -> Wire:
        """As a message that is quoted."""
        return self.plain(self.has_data) | {"user": self.author} | self.etag

    def whole(self, reactions: Sequence[Wire], *, with_data: bool) -> Wire:
        """As lists and events have it. Lists say only whether there is data."""
        data: Any = self.data if with_data else self.has_data
        return (
            self.plain(data)
            | {
                "user": self.author,
                "reply_to_message": None if self.quote is None else self.quote.slim(),
                "latest_reply_at": self.latest_reply_at,
                "reply_count": self.reply_count,
                "reactions": list(reactions),
            }
            | self.etag
        )


def _columns(table: Any, author: Any, *, with_data: bool) -> list[Any]:
    data: Any = sa.cast(table.c.data, sa.Text) if with_data else sa.null()
    return [
        *(table.c[name] for name in _HEAD),
        table.c.has_data,
        data,
        sa.cast(table.c.meta, sa.Text),
        author.c.name,
        author.c.role,
        table.c.reply_count,
        table.c.latest_reply_at,
    ]


_WIDTH: Final = len(_HEAD) + 7


def _message(row: Sequence[Any], quote: Message | None = None) -> Message:
    head = dict(zip(_HEAD, row, strict=False))
    has_data, data, meta, name, role, replies, latest = row[len(_HEAD) : _WIDTH]
    told = decode_json(meta)
    told = told if isinstance(told, dict) else None
    found = decode_json(data)
    return Message(
        **head,
        has_data=bool(has_data),
        data=found if isinstance(found, dict) else None,
        meta=told,
        author=_author(head["user_id"], name, role, told),
        reply_count=replies,
        latest_reply_at=latest,
        quote=quote,
    )


def _author(user_id: str | None, name: str | None, role: str | None, meta: Wire | None) -> Wire:
    if user_id is not None:
        return {"id": user_id, "name": name, "role": role}
    return _signed(meta, "webhook") or _signed(meta, "app") or dict(GONE)


def _signed(meta: Wire | None, kind: str) -> Wire | None:
    """The webhook or the app that wrote a message, as people see it."""
    found = (meta or {}).get(kind)
    if not isinstance(found, dict):
        return None
    return {"id": str(found.get("id", "")), "name": str(found.get("name", "")), "role": kind}


async def _found(
    connection: AsyncConnection, where: Condition, *rest: Any, with_data: bool = False, **page: int
) -> list[Message]:
    query = (
        sa.select(*_columns(t, user, with_data=with_data), *_columns(quoted, quoted_user, with_data=False))
        .select_from(
            t.outerjoin(user, user.c.id == t.c.user_id)
            .outerjoin(quoted, sa.and_(quoted.c.id == t.c.reply_to_id, quoted.c.channel_id == t.c.channel_id))
            .outerjoin(quoted_user, quoted_user.c.id == quoted.c.user_id)
        )
        .where(where)
        .order_by(*rest)
    )
    if page:
        query = query.limit(page["limit"]).offset(page.get("skip", 0))
    return [
        _message(row, None if row[_WIDTH] is None else _message(row[_WIDTH:]))
        for row in await connection.execute(query)
    ]


# Reading


async def outside(connection: AsyncConnection, channel_id: str, skip: int, limit: int) -> list[Message]:
    """Messages that are in no thread, the newest first."""
    where = sa.and_(t.c.channel_id == channel_id, t.c.parent_id.is_(None))
    return await _found(connection, where, t.c.created_at.desc(), skip=skip, limit=limit)


async def thread(
    connection: AsyncConnection, channel_id: str, parent_id: str, skip: int, limit: int, before: str | None = None
) -> list[Message]:
    """The messages of a thread, the newest first. before: only those that are older than this one."""
    where = sa.and_(t.c.channel_id == channel_id, t.c.parent_id == parent_id)
    if before is not None:
        older = t.alias("older")
        limit_at = sa.select(older.c.created_at).where(older.c.id == before, older.c.channel_id == channel_id)
        where = sa.and_(where, t.c.created_at < limit_at.scalar_subquery())
    return await _found(connection, where, t.c.created_at.desc(), skip=skip, limit=limit)


async def place_in_thread(connection: AsyncConnection, channel_id: str, parent_id: str, message_id: str) -> int:
    """How many messages of a thread are newer than one of it."""
    own = t.alias("own")
    at = sa.select(own.c.created_at).where(own.c.id == message_id, own.c.channel_id == channel_id).scalar_subquery()
    newer = sa.select(sa.func.count()).where(
        t.c.parent_id == parent_id, t.c.channel_id == channel_id, t.c.created_at > at
    )
    return int(await connection.scalar(newer) or 0)


async def pinned(connection: AsyncConnection, channel_id: str, number: int) -> list[Message]:
    """A page of the messages that are pinned, the newest pin first."""
    where = sa.and_(t.c.channel_id == channel_id, t.c.is_pinned)
    skip = (number - 1) * PINNED_PER_PAGE
    return await _found(connection, where, t.c.pinned_at.desc(), t.c.id, skip=skip, limit=PINNED_PER_PAGE)


async def get(
    connection: AsyncConnection, channel_id: str, message_id: str, *, with_data: bool = True
) -> Message | None:
    """A message of a channel."""
    found = await _found(connection, sa.and_(t.c.id == message_id, t.c.channel_id == channel_id), with_data=with_data)
    return found[0] if found else None


async def before(
    connection: AsyncConnection, channel_id: str, at: int, parent_id: str | None, most: int
) -> list[Message]:
    """What was said up to a moment, in a thread with the message that it began with, or outside of threads; the oldest first."""
    here = t.c.parent_id.is_(None) if parent_id is None else sa.or_(t.c.parent_id == parent_id, t.c.id == parent_id)
    where = sa.and_(t.c.channel_id == channel_id, here, t.c.created_at <= at)
    return list(reversed(await _found(connection, where, t.c.created_at.desc(), limit=most)))


async def search(
    connection: AsyncConnection, principal: Principal, text: str, begin: int, end: int, most: int
) -> list[tuple[Message, str]]:
    """Messages that somebody may read and that contain a text, the newest first, each with its channel's name.

    It is looked for among the newest messages of the server that fit the time: an index of words is not kept of channels.
    """
    channel = tables.channel
    newest = (
        sa.select(t.c.id)
        .where(t.c.created_at >= begin, t.c.created_at <= end)
        .where(t.c.channel_id.in_(sa.select(channel.c.id).where(repository.readable_by(principal))))
        .order_by(t.c.created_at.desc())
        .limit(MOST_SEARCHED)
    )
    found = await _found(
        connection, sa.and_(t.c.id.in_(newest), contains([t.c.content], text)), t.c.created_at.desc(), limit=most
    )
    named = sa.select(channel.c.id, channel.c.name).where(among(channel.c.id, {m.channel_id for m in found}))
    names = {row[0]: row[1] for row in await connection.execute(named)} if found else {}
    return [(m, names.get(m.channel_id, "")) for m in found]


async def readable(connection: AsyncConnection, principal: Principal, message_id: str) -> Message | None:
    """A message of whatever channel that somebody may read."""
    channel = tables.channel
    mine = t.c.channel_id.in_(sa.select(channel.c.id).where(repository.readable_by(principal)))
    found = await _found(connection, sa.and_(t.c.id == message_id, mine), with_data=True)
    return found[0] if found else None


async def reactions(
    connection: AsyncConnection, message_ids: Collection[str], reader: str = ""
) -> dict[str, list[Wire]]:
    """The reactions to messages, by message: in the order in which they came, with who they are of, the reader first."""
    if not message_ids:
        return {}
    one = [reaction.c.message_id, reaction.c.name]
    own = sa.case((reaction.c.user_id == reader, 0), else_=1)
    ranked = (
        sa.select(
            reaction.c.message_id,
            reaction.c.name,
            reaction.c.user_id,
            sa.func.count().over(partition_by=one).label("total"),
            sa.func.min(reaction.c.created_at).over(partition_by=one).label("first"),
            sa.func.row_number()
            .over(partition_by=one, order_by=[own, reaction.c.created_at, reaction.c.user_id])
            .label("n"),
        )
        .where(among(reaction.c.message_id, message_ids))
        .subquery()
    )
    r = ranked.c
    query = sa.select(r.message_id, r.name, r.total, user.c.id, user.c.name).join(user, user.c.id == r.user_id)
    rows = await connection.execute(query.where(r.n <= MOST_NAMED).order_by(r.first, r.name, r.n))
    out: dict[str, dict[str, Wire]] = {}
    for message_id, name, total, user_id, called in rows:
        entry = out.setdefault(message_id, {}).setdefault(name, {"name": name, "users": [], "count": total})
        entry["users"].append({"id": user_id, "name": called})
    return {message_id: list(entries.values()) for message_id, entries in out.items()}


# Writing; the caller holds the channel (`channels.happens`, `channels.writes`)


def _says_something(data: Mapping[str, Any] | None) -> bool:
    return bool(data) and any(bool(value) for value in (data or {}).values())


async def add(connection: AsyncConnection, values: Mapping[str, Any], at: int) -> None:
    """A new message; its thread knows of it."""
    data = values.get("data")
    row = {"created_at": at, "updated_at": at, "has_data": _says_something(data), "is_pinned": False} | dict(values)
    await connection.execute(t.insert().values(row))
    if (parent_id := values.get("parent_id")) is not None:
        counted = t.update().where(t.c.id == parent_id)
        await connection.execute(counted.values(reply_count=t.c.reply_count + 1, latest_reply_at=at))


async def change(
    connection: AsyncConnection, message_id: str, values: Mapping[str, Any], *, touch: bool = True
) -> None:
    """Stores some columns. touch: it counts as changed now."""
    stamped = dict(values)
    if "data" in stamped:
        stamped["has_data"] = _says_something(stamped["data"])
    if touch:
        at = nanoseconds()
        stamped["updated_at"] = sa.case((t.c.updated_at >= at, t.c.updated_at + 1), else_=at)
    await connection.execute(t.update().where(t.c.id == message_id).values(stamped))


async def delete(connection: AsyncConnection, message: Message) -> None:
    """Removes a message with its thread."""
    await connection.execute(t.delete().where(t.c.id == message.id))
    if message.parent_id is not None:
        rest = t.alias("rest")
        latest = (
            sa.select(sa.func.max(rest.c.created_at)).where(rest.c.parent_id == message.parent_id).scalar_subquery()
        )
        fewer = sa.case((t.c.reply_count > 0, t.c.reply_count - 1), else_=0)
        await connection.execute(
            t.update().where(t.c.id == message.parent_id).values(reply_count=fewer, latest_reply_at=latest)
        )


async def react(connection: AsyncConnection, message_id: str, user_id: str, name: str) -> bool:
    """Whether it is new that somebody reacts so."""
    row = {"message_id": message_id, "user_id": user_id, "name": name, "created_at": nanoseconds()}
    keys = [reaction.c.message_id, reaction.c.name, reaction.c.user_id]
    done = await connection.execute(
        inserting(connection, reaction).values(row).on_conflict_do_nothing(index_elements=keys)
    )
    return done.rowcount == 1


async def names_of(connection: AsyncConnection, message_id: str) -> set[str]:
    """The different reactions to a message."""
    query = sa.select(reaction.c.name).where(reaction.c.message_id == message_id).distinct()
    return set(await connection.scalars(query))


async def take_back(connection: AsyncConnection, message_id: str, user_id: str, name: str) -> bool:
    """Whether somebody had reacted so."""
    gone = await connection.execute(
        reaction.delete().where(
            reaction.c.message_id == message_id, reaction.c.user_id == user_id, reaction.c.name == name
        )
    )
    return gone.rowcount == 1


async def link_files(connection: AsyncConnection, message_id: str, channel_id: str, writer_id: str, value: Any) -> None:
    """Notes which files a message has: of those that it names, the writer's own and those that the channel has already.

    writer_id: whoever stores the value now. value: a JSON value, or several in a list.
    """
    wanted = sorted(file_uses.references(value))[: file_uses.BATCH]
    already = sa.select(held.c.file_id).where(held.c.channel_id == channel_id)
    usable = sa.select(file.c.id).where(
        file.c.id.in_(wanted), sa.or_(file.c.user_id == writer_id, file.c.id.in_(already))
    )
    # Looked up before the links go: the channel may have a file by this message alone.
    found = list(await connection.scalars(usable.with_for_update(read=True, key_share=True))) if wanted else []
    await connection.execute(held.delete().where(held.c.message_id == message_id))
    rows = [{"message_id": message_id, "file_id": file_id, "channel_id": channel_id} for file_id in found]
    if rows:
        await connection.execute(held.insert(), rows)


# That come from another server


async def bring(connection: AsyncConnection, values: Mapping[str, Any], file_ids: Collection[str]) -> bool:
    """Stores a message with its id and times, and which files it has. False where a message with its id is there.

    What its thread begins with has to be in its channel; where it isn't, the message is in no thread.
    """
    row = dict(values) | {"has_data": _says_something(values.get("data"))}
    channel_id, at = row["channel_id"], row["created_at"]
    first = sa.and_(t.c.id == row["parent_id"], t.c.channel_id == channel_id)
    if row["parent_id"] is not None and await connection.scalar(sa.select(t.c.id).where(first)) is None:
        row["parent_id"] = None
    if (await connection.execute(inserting(connection, t).values(row).on_conflict_do_nothing())).rowcount != 1:
        return False
    if row["parent_id"] is not None:
        latest = sa.case((t.c.latest_reply_at > at, t.c.latest_reply_at), else_=at)
        change = t.update().where(first).values(reply_count=t.c.reply_count + 1, latest_reply_at=latest)
        await connection.execute(change)
    channel = tables.channel
    last = sa.case((channel.c.last_message_at > at, channel.c.last_message_at), else_=at)
    await connection.execute(channel.update().where(channel.c.id == channel_id).values(last_message_at=last))
    there = list(await connection.scalars(sa.select(file.c.id).where(among(file.c.id, file_ids)))) if file_ids else []
    if there:
        links = [{"message_id": row["id"], "file_id": one, "channel_id": channel_id} for one in sorted(there)]
        await connection.execute(held.insert(), links)
    return True


async def bring_reaction(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """Stores a reaction with its time. False where it is there."""
    statement = inserting(connection, reaction).values(dict(values)).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


async def has_reacted(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """Whether a reaction is there."""
    same = (reaction.c[name] == values[name] for name in ("message_id", "user_id", "name"))
    return await connection.scalar(sa.select(reaction.c.user_id).where(*same)) is not None


async def channel_of(connection: AsyncConnection, message_id: str) -> str | None:
    """The id of the channel that a message is in."""
    found: str | None = await connection.scalar(sa.select(t.c.channel_id).where(t.c.id == message_id))
    return found


def holding(principal: Principal) -> Condition:
    """A condition on files: a message that somebody may read has it."""
    channel = tables.channel
    things = sa.select(held.c.file_id).join(channel, channel.c.id == held.c.channel_id)
    return sa.exists(things.where(held.c.file_id == file.c.id, repository.readable_by(principal)).correlate(file))
