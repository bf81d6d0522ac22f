"""Messages of channels: written, changed, removed, pinned, reacted to, and read in the order in which they came."""

from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import channel_messages, channels
from open_webui.models.base import new_id
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.schemas.channels import MessageForm
from open_webui.services.channels import app_notices as notices
from open_webui.services.channels import mentions
from open_webui.services.channels.telling import Change, Deps, Wire, author, check, is_manager, opened

NOTHING_SAID: Final = "Write something, or attach a file."
NOT_YOURS: Final = "Only whoever wrote a message may change it."
NO_PARENT: Final = "The message that you answer is not in this channel any more."
TOO_MANY_REACTIONS: Final = "A message can have {} different reactions. Choose one that is there."
MOST_REACTIONS: Final = 50
# What the server says of a message itself, and no client.
SERVERS: Final = frozenset({"model_id", "model_name", "webhook", "app", "done", "error"})
SERVERS_DATA: Final = frozenset({"output", "app"})
PER_PAGE: Final = 50


# Reading


async def outside(deps: Deps, principal: Principal, channel_id: str, skip: int, limit: int) -> list[Wire]:
    """Messages that are in no thread, the newest first. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await _readable(connection, principal, channel_id)
        found = await channel_messages.outside(connection, channel_id, skip, limit)
        return await _shown(connection, principal, found)


async def _readable(connection: Any, principal: Principal, channel_id: str) -> None:
    if not await channels.readable(connection, principal, channel_id):
        raise NotFound


async def _shown(connection: Any, principal: Principal, found: list[Message]) -> list[Wire]:
    reactions = await channel_messages.reactions(connection, [m.id for m in found], principal.id)
    return [m.whole(reactions.get(m.id, ()), with_data=False) for m in found]


class Part(msgspec.Struct, frozen=True):
    """Which part of a thread. around: the one in which this message is. before: what is older than this one."""

    skip: int
    limit: int
    around: str | None = None
    before: str | None = None


async def thread(deps: Deps, principal: Principal, channel_id: str, message_id: str, part: Part) -> list[Wire]:
    """A thread, the newest first; with the message that it began with at its end. Raises NotFound, Forbidden."""
    check(deps, principal)
    skip, limit, around, before = part.skip, part.limit, part.around, part.before
    async with deps.database.read() as connection:
        await _readable(connection, principal, channel_id)
        if around is not None:
            place = await channel_messages.place_in_thread(connection, channel_id, message_id, around)
            skip = max(0, place - limit // 2)
        found = await channel_messages.thread(connection, channel_id, message_id, skip, limit, before)
        shown = await _shown(connection, principal, found)
        if len(found) < limit:
            first = await channel_messages.get(connection, channel_id, message_id, with_data=False)
            if first is None:
                raise NotFound
            # As in its own thread: it is no answer to itself.
            [told] = await _shown(connection, principal, [first])
            shown.append(told | {"reply_count": 0, "latest_reply_at": None})
    return shown


async def pinned(deps: Deps, principal: Principal, channel_id: str, number: int) -> list[Wire]:
    """A page of the messages that are pinned. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await _readable(connection, principal, channel_id)
        found = await channel_messages.pinned(connection, channel_id, number)
        reactions = await channel_messages.reactions(connection, [m.id for m in found], principal.id)
    out = []
    for m in found:
        shown = m.slim()
        etag = shown.pop("etag")
        out.append(shown | {"reactions": reactions.get(m.id, []), "etag": etag})
    return out


async def get(deps: Deps, principal: Principal, channel_id: str, message_id: str) -> Wire:
    """A message. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await _readable(connection, principal, channel_id)
        found = await _there(connection, channel_id, message_id)
        reactions = await channel_messages.reactions(connection, [message_id], principal.id)
    return found.whole(reactions.get(message_id, ()), with_data=True)


async def _there(connection: Any, channel_id: str, message_id: str) -> Message:
    found = await channel_messages.get(connection, channel_id, message_id)
    if found is None:
        raise NotFound
    return found


async def data(deps: Deps, principal: Principal, channel_id: str, message_id: str) -> Wire | None:
    """What is with a message: files, and an answer's parts. Raises NotFound, Forbidden."""
    return (await get(deps, principal, channel_id, message_id))["data"]  # type: ignore[no-any-return]


# Writing


def _own(given: Wire | None) -> Wire | None:
    """What a client says of a message, without what is the server's to say."""
    kept = {name: value for name, value in (given or {}).items() if name not in SERVERS}
    return kept or None


def _data(given: Wire | None) -> Wire | None:
    return None if given is None else {name: value for name, value in given.items() if name not in SERVERS_DATA}


async def post(deps: Deps, principal: Principal, channel_id: str, form: MessageForm) -> Wire:
    """A new message; models that it mentions are asked, people and apps are told. Raises NotFound, Forbidden, BadRequest."""
    check(deps, principal)
    if not form.content.strip() and not (form.data or {}).get("files"):
        raise BadRequest(NOTHING_SAID)
    async with deps.database.write() as unit:
        change = await opened(deps, unit, principal, channel_id, writes=True)
        values = {
            "user_id": principal.id, "content": form.content, "data": _data(form.data), "meta": _own(form.meta),
            "parent_id": form.parent_id, "reply_to_id": form.reply_to_id,
        }  # fmt: skip
        message = await add(change, values, author(principal), temp_id=form.temp_id)
        await _link_files(change, principal, message.id, values)
        await channels.set_member(unit.connection, channel_id, principal.id, {"last_read_at": message.created_at})
        await mentions.ask(change, principal, message)
        await mentions.tell(change, principal, message)
        await notices.put_in(change, principal, message)
    return message.stored()


async def add(change: Change, values: Wire, by: Wire, *, temp_id: str | None = None) -> Message:
    """A new message of an opened channel, and its events. Raises BadRequest for a thread that is not there."""
    connection, channel = change.unit.connection, change.channel
    parent_id = values.get("parent_id")
    if parent_id is not None:
        first = await channel_messages.get(connection, channel.id, parent_id, with_data=False)
        if first is None:
            raise BadRequest(NO_PARENT)
        # There are no threads in threads.
        values = values | {"parent_id": first.parent_id or first.id}
    if values.get("reply_to_id") is not None:
        quoted = await channel_messages.get(connection, channel.id, values["reply_to_id"], with_data=False)
        if quoted is None:
            raise BadRequest(NO_PARENT)
    number, at = await channels.writes(connection, channel.id)
    message_id = values.get("id") or new_id()
    await channel_messages.add(connection, values | {"id": message_id, "channel_id": channel.id}, at)
    if channel.type == "dm":
        await channels.show_again(connection, channel.id)
    message = await _there(connection, channel.id, message_id)
    await change.tell_message("message", message, number, by, temp_id=temp_id)
    if message.parent_id is not None:
        first = await _there(connection, channel.id, message.parent_id)
        await change.tell_message("message:reply", first, await channels.happens(connection, channel.id), by)
    return message


async def update(deps: Deps, principal: Principal, channel_id: str, message_id: str, form: MessageForm) -> Wire:
    """Changes a message. Raises NotFound, Forbidden, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change, message = await _held(deps, unit, principal, channel_id, message_id)
        _check_author(change, principal, message)
        values: Wire = {"content": form.content, "meta": (message.meta or {}) | (_own(form.meta) or {})}
        values["data"] = message.data or {}
        if message.user_id == principal.id:
            # Files that others would attach were opened to the channel as if the author had done it.
            values["data"] |= _data(form.data) or {}
        if not form.content.strip() and not values["data"].get("files"):
            raise BadRequest(NOTHING_SAID)
        await channel_messages.change(unit.connection, message_id, values)
        await _link_files(change, principal, message_id, values)
        return (await _told(change, principal, message_id, "message:update")).stored()


async def _link_files(change: Change, writer: Principal, message_id: str, values: Wire) -> None:
    """Pictures may stand in the text, too, and in what is said about it."""
    said = [values["data"], values["content"], values["meta"]]
    await channel_messages.link_files(change.unit.connection, message_id, change.channel.id, writer.id, said)


async def _held(
    deps: Deps, unit: Any, principal: Principal, channel_id: str, message_id: str, *, writes: bool = True
) -> tuple[Change, Message]:
    change = await opened(deps, unit, principal, channel_id, writes=writes)
    return change, await _there(unit.connection, channel_id, message_id)


def _check_author(change: Change, principal: Principal, message: Message) -> None:
    """A message is its author's; in an open channel whoever manages it may change it, too."""
    if message.user_id == principal.id:
        return
    if change.channel.type is not None or not is_manager(change.channel, principal):
        raise Forbidden(NOT_YOURS, status=403)


async def _told(change: Change, principal: Principal, message_id: str, kind: str, **more: Any) -> Message:
    connection = change.unit.connection
    message = await _there(connection, change.channel.id, message_id)
    number = await channels.happens(connection, change.channel.id)
    await change.tell_message(kind, message, number, author(principal), **more)
    return message


async def delete(deps: Deps, principal: Principal, channel_id: str, message_id: str) -> bool:
    """Removes a message with its thread: its author, or whoever manages the channel. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change, message = await _held(deps, unit, principal, channel_id, message_id)
        if message.user_id != principal.id and not is_manager(change.channel, principal):
            raise Forbidden(NOT_YOURS, status=403)
        await _told(change, principal, message_id, "message:delete")
        await channel_messages.delete(unit.connection, message)
        if message.parent_id is not None:
            await _told(change, principal, message.parent_id, "message:reply")
    return True


async def pin(deps: Deps, principal: Principal, channel_id: str, message_id: str, is_pinned: bool) -> Wire:
    """Pins a message, or takes the pin off. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change, _ = await _held(deps, unit, principal, channel_id, message_id)
        at = channels.nanoseconds() if is_pinned else None
        values = {"is_pinned": is_pinned, "pinned_by": principal.id if is_pinned else None, "pinned_at": at}
        await channel_messages.change(unit.connection, message_id, values, touch=False)
        message = await _told(change, principal, message_id, "message:update", with_data=False)
        reactions = await channel_messages.reactions(unit.connection, [message_id], principal.id)
        return message.whole(reactions.get(message_id, ()), with_data=False)


async def react(
    deps: Deps, principal: Principal, channel_id: str, message_id: str, name: str, *, takes_back: bool
) -> bool:
    """Somebody's reaction to a message, or its end. Raises NotFound, Forbidden, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        connection = unit.connection
        change, _ = await _held(deps, unit, principal, channel_id, message_id)
        if takes_back:
            is_new, kind = await channel_messages.take_back(connection, message_id, principal.id, name), "remove"
        else:
            names = await channel_messages.names_of(connection, message_id)
            if name not in names and len(names) >= MOST_REACTIONS:
                raise BadRequest(TOO_MANY_REACTIONS.format(MOST_REACTIONS))
            is_new, kind = await channel_messages.react(connection, message_id, principal.id, name), "add"
        if is_new:
            await _told(change, principal, message_id, f"message:reaction:{kind}", name=name)
    return True
