"""Channels: who is in them, webhooks, messages with their threads and files, and reactions. Times are nanoseconds."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from open_webui.constants import MAX_NAME
from open_webui.models import channel_messages, channel_webhooks, channels, file_uses, grants, moved
from open_webui.models.base import new_id
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.schemas.channels import MAX_DESCRIPTION, MAX_META, MAX_PICTURE, MAX_REACTION
from open_webui.services.channels.channels import KINDS
from open_webui.services.channels.messages import MOST_REACTIONS
from open_webui.services.channels.webhooks import MOST as MOST_WEBHOOKS
from open_webui.utils.pictures import from_data_url

_MAX_MEMBERS: Final = 100_000
_MAX_FILES: Final = 100_000
# Characters of a message, and of what is with it: models may have written it, whose answers no client sent.
_MAX_CONTENT: Final = 200_000
_MAX_DATA: Final = 2_000_000
# Messages through which it is looked for the one that a thread began with.
_DEEP: Final = 20
_TOKEN: Final = range(16, 201)
DELETED: Final = "it was deleted there"
NOBODY: Final = "nobody who is in it came along"
NOT_ALL: Final = "somebody who was in it did not come along"
KNOWN: Final = "the same people have a conversation here already: this one stands beside it"
NEW_ADDRESSES: Final = "its webhooks have new addresses: no token came along that could be taken"
NO_WEBHOOK: Final = "some of its webhooks could not be taken"
NO_THREAD: Final = "what its thread began with did not come along: it is in no thread now"
NO_WRITER: Final = "whoever wrote it did not come along"


@dataclass
class Made:
    """A channel that is going to be stored. people: whose conversation it is."""

    values: dict[str, Any]
    given: list[GrantTriple]
    members: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)


async def channel(move: Move, row: Row) -> Made:
    channel_id, kind = row.need_id(), row.text("type", 20) or None
    if (row.number("deleted_at") or 0) > 0:
        raise Left(DELETED)
    if kind is not None and kind not in KINDS:
        raise Left("it is of a kind that this server does not have")
    members, is_whole = await _members(move, row, channel_id, kind)
    owner = move.people.get(row.id("user_id") or "")
    if owner is None and kind is not None:
        owner = next((one["user_id"] for one in members), None)
        row.mended.append("its owner did not come along: somebody who is in it owns it now")
    elif owner is None:
        owner = move.owner_or_admin(row)
    if kind is not None and not members:
        raise Left(NOBODY)
    values: dict[str, Any] = {
        "id": channel_id,
        "user_id": owner,
        "type": kind,
        "name": row.cut("name", MAX_NAME) or "" if kind == "dm" else row.need("name", MAX_NAME),
        "description": row.cut("description", MAX_DESCRIPTION),
        "is_private": None if row.raw("is_private") is None else row.flag("is_private"),
        "data": row.object("data", MAX_META),
        "meta": row.object("meta", MAX_META),
        "people": await _people(move, row, members) if kind == "dm" and is_whole else None,
        "updated_by": move.people.get(row.id("updated_by") or ""),
        "archived_at": row.nanoseconds("archived_at"),
        "archived_by": move.people.get(row.id("archived_by") or ""),
    } | row.moments(move.at)
    given = await move.grants("channel", row, channel_id)
    return Made(values, given, members, await _webhooks(move, row, channel_id, owner))


async def _people(move: Move, row: Row, members: list[dict[str, Any]]) -> str | None:
    """What a conversation is found by; None for one that these people have here already."""
    # Ours knows of one in which somebody was whose account is gone.
    if len(members) < 2 or (move.archive is not None and row.raw("people") is None):
        return None
    who = [one["user_id"] for one in members]
    async with move.database.read() as connection:
        known = await channels.conversation(connection, who)
    if known is None:
        return channels.key_of(who)
    row.mended.append(KNOWN)
    return None


async def _members(move: Move, row: Row, channel_id: str, kind: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The rows of who is in it, by the time they came, and whether all of them came along."""
    found = await move.source.select("channel_member", "channel_id", [channel_id], limit=_MAX_MEMBERS)
    out: dict[str, dict[str, Any]] = {}
    is_whole = True
    for one in found:
        who, is_active = move.people.get(one.id("user_id") or ""), one.flag("is_active", default=True)
        if kind == "group" and not is_active and one.number("left_at"):
            continue
        if who is None:
            row.mended.append(NOT_ALL)
            is_whole = False
            continue
        if who in out:
            continue
        times = one.moments(move.at)
        joined = one.nanoseconds("joined_at")
        out[who] = {
            "channel_id": channel_id,
            "user_id": who,
            "id": one.id() or new_id(),
            "role": one.text("role", 50),
            "is_active": is_active,
            "is_channel_muted": one.flag("is_channel_muted"),
            "is_channel_pinned": one.flag("is_channel_pinned"),
            "invited_by": move.people.get(one.id("invited_by") or ""),
            "joined_at": times["created_at"] if joined is None else joined,
            "last_read_at": one.nanoseconds("last_read_at"),
        } | times
    return sorted(out.values(), key=lambda member: (member["joined_at"], member["user_id"])), is_whole


async def _webhooks(move: Move, row: Row, channel_id: str, owner: str | None) -> list[dict[str, Any]]:
    found = await move.source.select("channel_webhook", "channel_id", [channel_id], limit=MOST_WEBHOOKS + 1)
    async with move.database.read() as connection:
        taken = await moved.taken(connection, "channel_webhook", [i for one in found if (i := one.id()) is not None])
    out: list[dict[str, Any]] = []
    for one in found:
        webhook_id = one.id()
        if webhook_id is None or webhook_id in taken or len(out) >= MOST_WEBHOOKS:
            row.mended.append(NO_WEBHOOK)
            continue
        token = one.text("token", 1_000) or ""
        if len(token) not in _TOKEN or not token.isprintable():
            token = secrets.token_urlsafe(32)
            row.mended.append(NEW_ADDRESSES)
        picture = one.text("profile_image_url", MAX_PICTURE + 1) or ""
        is_picture = len(picture) <= MAX_PICTURE and from_data_url(picture) is not None
        if picture and not is_picture:
            row.mended.append("the picture of a webhook is none that can be kept")
        out.append({
            "id": webhook_id,
            "channel_id": channel_id,
            "user_id": move.people.get(one.id("user_id") or "") or owner,
            "name": (one.text("name", MAX_NAME) or "").strip() or "Webhook",
            "profile_image_url": picture if is_picture else None,
            "token_hash": channel_webhooks.hash_of(token),
            "sealed": move.sealer.seal(token, webhook_id),
            "last_used_at": one.nanoseconds("last_used_at"),
        } | one.moments(move.at))  # fmt: skip
    return out


async def store_channel(move: Move, made: Made) -> bool:
    channel_id = made.values["id"]
    async with move.database.write() as unit:
        connection = unit.connection
        if not await moved.insert(connection, "channel", made.values):
            return False
        await moved.insert_all(connection, "channel_member", made.members)
        await moved.insert_all(connection, "channel_webhook", made.webhooks)
        await grants.replace(connection, "channel", channel_id, made.given)
    return True


def is_same(move: Move, row: Row, owner: str | None) -> bool:
    """Whether a channel that is here came from there: it is its owner's; of one who is gone, somebody's who came along."""
    theirs = move.people.get(row.id("user_id") or "")
    return owner == theirs if theirs is not None else owner in set(move.people.values())


# Messages


@dataclass
class Message:
    """A message that is going to be stored, and which files it has."""

    values: dict[str, Any]
    files: list[str]


async def message(move: Move, row: Row) -> Message:
    message_id, channel_id = row.need_id(), row.id("channel_id")
    if channel_id is None or not move.is_here("channel", channel_id):
        raise Left("its channel did not come along")
    content = row.text("content", _MAX_CONTENT + 1) or ""
    if len(content) > _MAX_CONTENT:
        raise Left(f"it has more than {_MAX_CONTENT:,} characters")
    writer = move.people.get(row.id("user_id") or "")
    data, meta = row.object("data", _MAX_DATA), row.object("meta", MAX_META)
    if writer is None and row.raw("user_id") is not None and not isinstance((meta or {}).get("webhook"), dict):
        row.mended.append(NO_WRITER)
    values: dict[str, Any] = {
        "id": message_id,
        "channel_id": channel_id,
        "user_id": writer,
        "parent_id": await _thread(move, row, message_id, channel_id),
        "reply_to_id": row.id("reply_to_id"),
        "is_pinned": row.flag("is_pinned"),
        "pinned_by": move.people.get(row.id("pinned_by") or ""),
        "pinned_at": row.nanoseconds("pinned_at"),
        "content": content,
        "data": data,
        "meta": meta,
    } | row.moments(move.at)
    return Message(values, await _files(move, channel_id, writer, [data, content, meta]))


async def _thread(move: Move, row: Row, message_id: str, channel_id: str) -> str | None:
    """What its thread began with. A thread within a thread is one."""
    above = row.id("parent_id")
    if above is None:
        return None
    for _ in range(_DEEP):
        found = await move.source.select("message", "id", [above], limit=1, only=["id", "parent_id", "channel_id"])
        if not found or found[0].id("channel_id") != channel_id or above == message_id:
            break
        higher = found[0].id("parent_id")
        if higher is None:
            if move.is_here("channel_message", above):
                return above
            break
        above = higher
    row.mended.append(NO_THREAD)
    return None


async def _files(move: Move, channel_id: str, writer: str | None, value: Any) -> list[str]:
    """Which files a message has, of those that came along: its writer's own, and those that the channel had there."""
    named = sorted(one for one in file_uses.references(value) if move.is_here("file", one))[: file_uses.BATCH]
    if named and channel_id not in move.channel_files:
        found = await move.source.select("channel_file", "channel_id", [channel_id], limit=_MAX_FILES, only=["file_id"])
        move.channel_files[channel_id] = {i for one in found if (i := one.id("file_id")) is not None}
    return [
        one
        for one in named
        if (writer is not None and move.is_theirs("file", one, writer)) or one in move.channel_files[channel_id]
    ]


async def store_message(move: Move, made: Message) -> bool:
    return (await store_messages(move, [made]))[0]


async def store_messages(move: Move, made: list[Message]) -> list[bool]:
    """In one transaction."""
    async with move.database.write() as unit:
        return [await channel_messages.bring(unit.connection, one.values, one.files) for one in made]


async def reaction(move: Move, row: Row) -> dict[str, Any] | None:
    """None for one that is here, where nothing is stored that would say so."""
    message_id = row.id("message_id")
    if not move.is_here("channel_message", message_id):
        raise Left("its message did not come along")
    name = row.need("name", MAX_REACTION + 1)
    if len(name) > MAX_REACTION:
        raise Left(f"its name has more than {MAX_REACTION} characters")
    values = {"message_id": message_id, "user_id": move.owner(row), "name": name}
    if move.dry_run:
        async with move.database.read() as connection:
            if await channel_messages.has_reacted(connection, values):
                return None
    return values | {"created_at": row.moments(move.at)["created_at"]}


async def store_reaction(move: Move, made: dict[str, Any]) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        if not move.is_here("channel", await channel_messages.channel_of(connection, made["message_id"])):
            raise Left("its message is gone")
        names = await channel_messages.names_of(connection, made["message_id"])
        if made["name"] not in names and len(names) >= MOST_REACTIONS:
            raise Left(f"a message can have at most {MOST_REACTIONS} different reactions")
        return await channel_messages.bring_reaction(connection, made)


_NEEDS: Final = ("id", "channel_id", "content")
CHANNELS: Final = Part("channel", "channel", ("id", "name"), channel, store_channel, same=is_same)
# What threads began with comes before what is in them.
MESSAGES: Final = Part(
    "message",
    "channel_message",
    _NEEDS,
    message,
    store_message,
    only=lambda row: row.raw("parent_id") is None,
    together=store_messages,
)
ANSWERS: Final = Part(
    "message",
    "channel_message",
    _NEEDS,
    message,
    store_message,
    only=lambda row: row.raw("parent_id") is not None,
    together=store_messages,
)
REACTIONS: Final = Part(
    "message_reaction", "channel_reaction", ("id", "message_id", "name"), reaction, store_reaction, has_ids=False
)
