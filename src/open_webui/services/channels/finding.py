"""Channels and messages that somebody may read, found by words or by a message's id alone."""

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import NotFound
from open_webui.models import channel_messages, channels
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.services.channels.telling import Deps, check


class Called(msgspec.Struct, frozen=True):
    """A channel of a list. people: of a conversation, the names of who is in it."""

    id: str
    name: str
    description: str | None
    type: str | None
    people: tuple[str, ...]


class Read(msgspec.Struct, frozen=True):
    """Some messages of a channel, the oldest first."""

    channel_id: str
    channel: str
    messages: Sequence[Message]


async def called(deps: Deps, principal: Principal, text: str, most: int) -> list[Called]:
    """Channels with a text in their name or description, those first in which somebody wrote last. Raises Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await channels.search(connection, principal, text, most)
        talks = [channel_id for channel_id, _, _, kind in found if kind == "dm"]
        people = await channels.people_by_channel(connection, talks)
    return [Called(*row, tuple(person.name for person in people.get(row[0], ()))) for row in found]


async def saying(
    deps: Deps, principal: Principal, text: str, begin: int, end: int, most: int
) -> list[tuple[Message, str]]:
    """Messages with a text, the newest first, each with its channel's name. Times are nanoseconds. Raises Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        return await channel_messages.search(connection, principal, text, begin, end, most)


async def message(deps: Deps, principal: Principal, message_id: str) -> Read:
    """A message of whatever channel. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await channel_messages.readable(connection, principal, message_id)
        if found is None:
            raise NotFound
        return await _read(connection, [found])


async def thread(deps: Deps, principal: Principal, message_id: str, most: int) -> Read:
    """The message that a thread began with, and the newest of its answers. message_id: of any of them. Raises as `message`."""
    check(deps, principal)
    async with deps.database.read() as connection:
        first = await channel_messages.readable(connection, principal, message_id)
        if first is not None and first.parent_id is not None:
            first = await channel_messages.get(connection, first.channel_id, first.parent_id)
        if first is None:
            raise NotFound
        answers = await channel_messages.thread(connection, first.channel_id, first.id, 0, most)
        return await _read(connection, [first, *reversed(answers)])


async def _read(connection: AsyncConnection, found: list[Message]) -> Read:
    channel = await channels.repository.get(connection, found[0].channel_id)
    return Read(found[0].channel_id, "" if channel is None else channel.name, found)
