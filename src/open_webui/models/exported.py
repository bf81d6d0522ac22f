"""Rows as an export has them: tables read by their keys, some rows at a time, all of them or one person's.

Whoever calls this has asked for the right: it reads everything.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import generation_parts, messages, tables
from open_webui.models.chat_rows import ChatRow, columns, row_of, visible
from open_webui.models.messages import Home

Owned = Callable[[str], "sa.ColumnElement[bool]"]
# What a SQLite file raises for a row that can't be read: a text that is no UTF-8.
Damage: Final = (DBAPIError, sqlite3.Error)
_chat = tables.chat
# Chats whose numbers are read at once.
CHATS: Final = 500


@dataclass(frozen=True)
class Kept:
    """How a table is read. names: as an export has its columns. chosen: the columns. keys: what its rows are in order of.
    own: which rows are a person's; None where none are. at_once: fewer where they are large. within: what is read.
    """

    names: tuple[str, ...]
    chosen: tuple["sa.ColumnElement[Any]", ...]
    keys: tuple["sa.ColumnElement[Any]", ...]
    own: Owned | None
    at_once: int = 200
    within: Any = None
    where: Any = None

    @property
    def json(self) -> frozenset[str]:
        """The columns that hold JSON."""
        pairs = zip(self.names, self.chosen, strict=True)
        return frozenset(name for name, column in pairs if isinstance(column.type, sa.JSON))


def _kept(table: sa.Table, names: str, keys: str = "id", *, own: Owned | None, **more: Any) -> Kept:
    """names: of columns, those that have another name in an export as `theirs=ours`."""
    pairs = [one.partition("=") for one in names.split()]
    chosen = tuple(table.c[ours or theirs] for theirs, _, ours in pairs)
    return Kept(tuple(one[0] for one in pairs), chosen, tuple(table.c[one] for one in keys.split()), own, **more)


def _by(column: "sa.ColumnElement[Any]") -> Owned:
    return lambda owner: column == owner


def _of(link: "sa.ColumnElement[Any]", table: sa.Table) -> Owned:
    """Rows that hang on a thing of a table, of whose owner they are."""
    return lambda owner: sa.exists().where(table.c.id == link, table.c.user_id == owner)


def _versions(kind: str, table: sa.Table) -> Kept:
    t = tables.version
    names = f"n id {kind}_id=resource_id parent_id snapshot user_id commit_message created_at"
    return _kept(t, names, "n", own=_of(t.c.resource_id, table), at_once=10, where=t.c.kind == kind)


def _granted(owner: str) -> "sa.ColumnElement[bool]":
    g = tables.access_grant
    things = {"shared_chat": _chat} | {
        table.name: table
        for table in (
            tables.note,
            tables.calendar,
            tables.folder,
            tables.knowledge,
            tables.model,
            tables.tool,
            tables.skill,
            tables.prompt,
        )
    }
    mine = (
        sa.and_(g.c.resource_type == kind, sa.exists().where(t.c.id == g.c.resource_id, t.c.user_id == owner))
        for kind, t in things.items()
    )
    return sa.or_(*mine)


_TIMES: Final = "created_at updated_at"
_OWN: Final = f"id user_id name content meta version_id {_TIMES}"
_u, _file, _base, _rating = tables.user, tables.file, tables.knowledge, tables.feedback
_calendar, _event = tables.calendar, tables.calendar_event
_channel, _said, _pin = tables.channel, tables.channel_message, tables.pinned_note
_placed, _snapshot = tables.knowledge_file, tables.feedback_snapshot
_PROFILE: Final = (
    "id email name role username profile_image_url profile_banner_image_url bio gender date_of_birth timezone presence_state"
    " status_emoji status_message status_expires_at settings info variables oauth scim last_active_at"
)
_files = _kept(
    _file, f"id user_id filename sha256=blob embedded status meta {_TIMES}", own=_by(_file.c.user_id),
    within=_file.join(tables.blob, tables.blob.c.hash == _file.c.blob),
)  # fmt: skip
_ratings = _kept(
    _rating, f"id user_id version type data meta {_TIMES}", own=_by(_rating.c.user_id), at_once=10,
    within=_rating.outerjoin(_snapshot, _snapshot.c.feedback_id == _rating.c.id),
)  # fmt: skip


def _with(kept: Kept, name: str, column: "sa.ColumnElement[Any]") -> Kept:
    more = {"names": (*kept.names, name), "chosen": (*kept.chosen, column)}
    return Kept(**{key: more.get(key, getattr(kept, key)) for key in kept.__dataclass_fields__})


def _lives(channel_id: Any) -> "sa.ColumnElement[bool]":
    return sa.exists().where(_channel.c.id == channel_id, _channel.c.deleted_at.is_(None))


def _in_channel(table: sa.Table, names: str, keys: str = "id", **more: Any) -> Kept:
    """Rows that hang on a channel which is not being removed."""
    return _kept(table, names, keys, own=None, where=_lives(table.c.channel_id), **more)


# In the order in which an export has them; chats are read by themselves.
KEPT: Final[Mapping[str, Kept]] = {
    "user": _kept(_u, f"{_PROFILE} {_TIMES}", own=_by(_u.c.id), at_once=50),
    "auth": _kept(
        tables.credential, "id=user_id password=password_hash active", "user_id", own=_by(tables.credential.c.user_id)
    ),
    "group": _kept(
        tables.group, f"id user_id name description data meta permissions share_with parent_group_id {_TIMES}", own=None
    ),
    "group_member": _kept(tables.group_member, "group_id user_id", "group_id user_id", own=None),
    "access_grant": _kept(
        tables.access_grant,
        "resource_type resource_id principal_type principal_id permission",
        "resource_type resource_id principal_type principal_id permission",
        own=_granted,
    ),
    "file": _with(_files, "size", tables.blob.c.size),
    "folder": _kept(
        tables.folder, f"id parent_id user_id name items meta data is_expanded {_TIMES}", own=_by(tables.folder.c.user_id)
    ),
    "knowledge": _kept(_base, f"id user_id name description meta {_TIMES}", own=_by(_base.c.user_id)),
    "knowledge_directory": _kept(
        tables.knowledge_directory, f"id knowledge_id parent_id name user_id {_TIMES}",
        own=_of(tables.knowledge_directory.c.knowledge_id, _base),
    ),
    "knowledge_file": _kept(
        _placed, f"id user_id knowledge_id file_id directory_id {_TIMES}",
        own=lambda owner: sa.and_(_of(_placed.c.knowledge_id, _base)(owner), _of(_placed.c.file_id, _file)(owner)),
    ),
    "model": _kept(
        tables.model, f"id user_id base_model_id name params meta is_active version_id {_TIMES}",
        own=_by(tables.model.c.user_id), at_once=20,
    ),
    "model_history": _versions("model", tables.model),
    "tool": _kept(tables.tool, f"{_OWN} valves", own=_by(tables.tool.c.user_id), at_once=10),
    "tool_history": _versions("tool", tables.tool),
    "function": _kept(
        tables.function, f"{_OWN} valves type is_active is_global", own=_by(tables.function.c.user_id), at_once=10
    ),
    "function_history": _versions("function", tables.function),
    "skill": _kept(
        tables.skill, f"{_OWN} description files is_active", own=_by(tables.skill.c.user_id), at_once=1
    ),
    "skill_history": _versions("skill", tables.skill),
    "prompt": _kept(
        tables.prompt, f"{_OWN} command data tags is_active", own=_by(tables.prompt.c.user_id), at_once=20
    ),
    "prompt_history": _versions("prompt", tables.prompt),
    "calendar": _kept(_calendar, f"id user_id name color is_default data meta {_TIMES}", own=_by(_calendar.c.user_id)),
    "calendar_event": _kept(
        _event,
        "id calendar_id user_id title description start_at end_at all_day rrule zone until_at uid color location data meta"
        f" is_cancelled {_TIMES}",
        own=_of(_event.c.calendar_id, _calendar),
        at_once=50,
    ),
    "calendar_event_attendee": _kept(
        tables.calendar_event_attendee,
        f"id event_id user_id status meta {_TIMES}",
        own=_of(tables.calendar_event_attendee.c.event_id, _event),
    ),
    "automation": _kept(
        tables.automation,
        f"id user_id folder_id name data meta is_active anchor_at zone last_run_at {_TIMES}",
        own=_by(tables.automation.c.user_id),
        at_once=50,
    ),
    "automation_run": _kept(
        tables.automation_run,
        "id automation_id chat_id status error created_at",
        own=_of(tables.automation_run.c.automation_id, tables.automation),
    ),
    "note": _kept(
        tables.note, f"id user_id title md content data meta {_TIMES}", own=_by(tables.note.c.user_id), at_once=10
    ),
    "note_history": _versions("note", tables.note),
    "pinned_note": _kept(
        _pin,
        "note_id user_id created_at",
        "note_id user_id",
        own=lambda owner: sa.and_(_pin.c.user_id == owner, _of(_pin.c.note_id, tables.note)(owner)),
    ),
    # Several people's, and so nobody's own. Channels that are being removed are gone.
    "channel": _kept(
        _channel,
        f"id user_id type name description is_private data meta people archived_at archived_by updated_by {_TIMES}",
        own=None,
        where=_channel.c.deleted_at.is_(None),
    ),
    "channel_member": _in_channel(
        tables.channel_member,
        "id channel_id user_id role is_active is_channel_muted is_channel_pinned invited_by joined_at last_read_at"
        f" {_TIMES}",
        "channel_id user_id",
    ),
    "channel_webhook": _in_channel(
        tables.channel_webhook,
        f"id channel_id user_id name profile_image_url token=sealed last_used_at {_TIMES}",
        at_once=20,
    ),
    "message": _in_channel(
        _said,
        "id channel_id user_id parent_id reply_to_id is_pinned pinned_by pinned_at content data meta"
        f" {_TIMES}",
        at_once=50,
    ),
    "message_reaction": _kept(
        tables.channel_reaction,
        "message_id user_id name created_at",
        "message_id user_id name",
        own=None,
        where=sa.exists().where(
            _said.c.id == tables.channel_reaction.c.message_id,
            _channel.c.id == _said.c.channel_id,
            _channel.c.deleted_at.is_(None),
        ),
    ),
    "channel_file": _in_channel(tables.channel_file, "message_id file_id channel_id", "message_id file_id"),
    "tag": _kept(tables.tag, "id name user_id meta", "id user_id", own=_by(tables.tag.c.user_id)),
    "shared_chat": _kept(
        tables.shared_chat, f"id chat_id user_id title mode chat {_TIMES}", own=_by(tables.shared_chat.c.user_id),
        at_once=1,
    ),
    "memory": _kept(
        tables.memory, f"id user_id type path content meta {_TIMES}", own=_by(tables.memory.c.user_id), at_once=50
    ),
    "feedback": _with(_ratings, "snapshot", _snapshot.c.snapshot),
    "config": _kept(tables.config, "key value", "key", own=None, at_once=50),
}  # fmt: skip
Raw = dict[str, Any]


async def rows(connection: AsyncConnection, name: str, owner: str | None) -> AsyncIterator[tuple[str, Raw | None]]:
    """The rows of a table, each with what it is called by; None for one that can't be read. JSON is its text.

    owner: whose; None for everybody's.
    """
    kept = KEPT[name]
    after: Sequence[Any] | None = None
    while True:
        try:
            found = await _page(connection, kept, owner, after, kept.chosen)
            page: list[tuple[Sequence[Any], Raw | None]] = [
                (row[: len(kept.keys)], dict(zip(kept.names, row[len(kept.keys) :], strict=True))) for row in found
            ]
        except Damage:
            if connection.dialect.name != "sqlite":
                raise
            page = [
                (row, await _alone(connection, kept, row)) for row in await _page(connection, kept, owner, after, ())
            ]
        for key, row in page:
            yield "/".join(map(str, key)), row
        if len(page) < kept.at_once:
            return
        after = page[-1][0]


def _selected(kept: Kept, wanted: Sequence["sa.ColumnElement[Any]"]) -> "sa.Select[Any]":
    texts = (sa.cast(one, sa.Text) if isinstance(one.type, sa.JSON) else one for one in wanted)
    # Columns of different tables may have one name.
    labelled = [one.label(f"v{place}") for place, one in enumerate([*kept.keys, *texts])]
    query = sa.select(*labelled)
    if kept.within is not None:
        query = query.select_from(kept.within)
    return query if kept.where is None else query.where(kept.where)


async def _page(
    connection: AsyncConnection,
    kept: Kept,
    owner: str | None,
    after: Sequence[Any] | None,
    wanted: Sequence["sa.ColumnElement[Any]"],
) -> Sequence[Any]:
    query = _selected(kept, wanted)
    if owner is not None:
        query = query.where(sa.false() if kept.own is None else kept.own(owner))
    if after is not None:
        query = query.where(sa.tuple_(*kept.keys) > sa.tuple_(*(sa.literal(one) for one in after)))
    found: Sequence[Any] = (await connection.execute(query.order_by(*kept.keys).limit(kept.at_once))).all()
    return found


async def _alone(connection: AsyncConnection, kept: Kept, key: Sequence[Any]) -> Raw | None:
    """One row; None where it can't be read."""
    same = [column == value for column, value in zip(kept.keys, key, strict=True)]
    try:
        row = (await connection.execute(_selected(kept, kept.chosen).where(*same))).first()
    except Damage:
        return None
    return None if row is None else dict(zip(kept.names, row[len(kept.keys) :], strict=True))


# Chats


async def chats(connection: AsyncConnection, owner: str | None) -> AsyncIterator[tuple[int, ChatRow | None]]:
    """The chats that people have, by their numbers; None for one that can't be read."""
    after = -1
    while True:
        query = sa.select(_chat.c.n).where(visible, _chat.c.n > after)
        if owner is not None:
            query = query.where(_chat.c.user_id == owner)
        found = list(await connection.scalars(query.order_by(_chat.c.n).limit(CHATS)))
        for number in found:
            try:
                row = (await connection.execute(sa.select(*columns).where(_chat.c.n == number))).first()
            except Damage:
                if connection.dialect.name != "sqlite":
                    raise
                row = None
            yield number, None if row is None else row_of(row)
        if len(found) < CHATS:
            return
        after = found[-1]


Pages = AsyncIterator[list[tuple[str, dict[str, Any] | None]]]


async def history(connection: AsyncConnection, chat: Home) -> tuple[dict[str, str | None], Pages]:
    """What each message of a chat hangs below, and the messages as pages know them, some at a time; None for one that can't be
    read.
    """
    parents = await messages.links(connection, chat)
    return parents, _messages(connection, chat, parents)


async def _messages(connection: AsyncConnection, chat: Home, parents: dict[str, str | None]) -> Pages:
    children = messages.children(parents)
    after = -1
    while True:
        try:
            page, after = await messages.wire_page(connection, chat, parents, children, after)
        except Damage:
            if connection.dialect.name != "sqlite":
                raise
            async for one in _one_by_one(connection, chat, parents, children, after):
                yield one
            return
        await generation_parts.lay_over_wire(connection, chat.id, page, {})
        yield list(page)
        if after < 0:
            return


async def _one_by_one(
    connection: AsyncConnection,
    chat: Home,
    parents: dict[str, str | None],
    children: dict[str, list[str]],
    after: int,
) -> Pages:
    t = tables.message
    first = messages.first_number(chat.n)
    query = sa.select(t.c.n, t.c.id).where(
        t.c.n >= max(first, after + 1), t.c.n < first + messages.POSITIONS, t.c.chat_id == chat.id
    )
    for number, message_id in (await connection.execute(query.order_by(t.c.n))).all():
        try:
            row = await messages.by_number(connection, number)
        except Damage:
            row = None
        if row is None:
            yield [(message_id, None)]
            continue
        row.parent_id = parents.get(message_id)
        yield [(message_id, row.wire(children.get(message_id, [])))]


async def valves_of(connection: AsyncConnection, user_id: str) -> list[tuple[str, str, str]]:
    """What a person set of plugins for themselves: "tool" or "function", which, and the sealed values."""
    t = tables.user_valves
    query = sa.select(t.c.kind, t.c.plugin_id, t.c.sealed).where(t.c.user_id == user_id)
    found = await connection.execute(query.order_by(t.c.kind, t.c.plugin_id))
    return [(kind, plugin, sealed) for kind, plugin, sealed in found]
