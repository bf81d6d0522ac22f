"""Channels themselves: listed, made, changed, opened to people, put away and removed."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import Database, UnitOfWork
from open_webui.jobs.kinds import Kind, Run
from open_webui.models import channels, groups
from open_webui.models.base import among
from open_webui.models.channels import Channel, Listed, Person
from open_webui.principal import Principal
from open_webui.schemas.channels import AccessForm, ChannelForm, CreateChannelForm
from open_webui.services.channels.telling import (
    Change,
    Deps,
    Wire,
    author,
    check,
    hearers,
    is_manager,
    is_on,
    may_write,
    opened,
)

KINDS: Final = ("group", "dm")
NO_NAME: Final = "A channel needs a name."
NO_KIND: Final = "A channel is a 'group', a 'dm', or open to whom its grants name."
NOBODY: Final = "Choose somebody to talk to."
TOO_MANY: Final = "At most {:,} people can be in it."
MOST_IN_CONVERSATION: Final = 20
# Living channels of one person: groups and conversations that they began, too.
MOST_OWN: Final = 200
FULL: Final = "You have {:,} channels, and these are the most. Remove some that are not needed any more."
# Messages that one unit of work removes.
AT_ONCE: Final = 500
REMOVING: Final = "remove a channel"


class Gone(msgspec.Struct, frozen=True):
    """The payload of the job: a channel that nobody sees any more."""

    channel_id: str


def removing(database: Database) -> Kind[Gone]:
    """The job that removes a channel with all its messages, in portions, so that others write in between."""

    async def remove(run: Run, gone: Gone) -> None:
        more = True
        while more:
            async with database.write() as unit:
                more = await channels.remove_some(unit.connection, gone.channel_id, AT_ONCE)
                if not more:
                    await run.commit(unit)

    return Kind(name=REMOVING, payload=Gone, handler=remove, keep=0)


# Reading


async def listed(deps: Deps, principal: Principal) -> list[Wire]:
    """One's channels, with what one has not read of each. None where one may not use channels."""
    if not is_on(deps, principal):
        return []
    async with deps.database.read() as connection:
        found = await channels.listed(connection, principal)
        people = await channels.people_by_channel(connection, channels.ids(found))
    return [_listed(deps, one, people.get(one.channel.id, ())) for one in found]


def _listed(deps: Deps, one: Listed, people: Sequence[Person]) -> Wire:
    return wire(one.channel) | {
        "is_channel_muted": one.is_muted,
        **_people(deps, people if one.channel.type == "dm" else None),
        "last_message_at": one.last_message_at,
        "unread_count": one.unread,
    }


def wire(channel: Channel) -> Wire:
    return msgspec.structs.asdict(channel)


def _people(deps: Deps, people: Sequence[Person] | None) -> Wire:
    if people is None:
        return {"user_ids": None, "users": None}
    shown = [
        {
            "status_emoji": one.status_emoji, "status_message": one.status_message,
            "status_expires_at": one.status_expires_at, "id": one.id, "name": one.name, "is_active": is_here(deps, one),
        }
        for one in people
    ]  # fmt: skip
    return {"user_ids": [one.id for one in people], "users": shown}


def is_here(deps: Deps, person: Person) -> bool:
    return person.was_active or deps.emitter.is_connected(person.id)


async def all_of_mine(deps: Deps, principal: Principal) -> list[Channel]:
    """All that one may read, without what one has of them."""
    if not is_on(deps, principal):
        return []
    async with deps.database.read() as connection:
        return [one.channel for one in await channels.repository.as_had(connection, principal)]


async def get(deps: Deps, principal: Principal, channel_id: str) -> Wire:
    """A channel, as one has it. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await channels.one(connection, principal, channel_id)
        if found is None:
            raise NotFound
        channel, people = found.channel, None
        if channel.type is not None:
            people = (await channels.people_by_channel(connection, [channel.id])).get(channel.id, [])
        count = len(people) if people is not None else await channels.count_people(connection, channel)
    return wire(channel) | {
        "is_manager": is_manager(channel, principal),
        "write_access": may_write(channel, principal),
        "user_count": count,
        "is_channel_muted": found.is_muted,
        **_people(deps, people),
        "last_read_at": found.last_read_at,
        "unread_count": found.unread,
    }


# Making


async def create(deps: Deps, principal: Principal, form: CreateChannelForm) -> Channel:
    """A new channel; of a conversation the one that these people have already. Raises BadRequest, Forbidden."""
    check(deps, principal)
    kind = form.type or None
    if kind is not None and kind not in KINDS:
        raise BadRequest(NO_KIND)
    if kind is None and not principal.is_admin:
        raise Forbidden(constants.UNAUTHORIZED)
    if kind != "dm" and not form.name:
        raise BadRequest(NO_NAME)
    try:
        async with deps.database.write() as unit:
            return await _create(deps, unit, principal, form, kind)
    except sa.exc.IntegrityError:
        # Both began it at the same moment.
        async with deps.database.write() as unit:
            return await _create(deps, unit, principal, form, kind)


async def _create(
    deps: Deps, unit: UnitOfWork, principal: Principal, form: CreateChannelForm, kind: str | None
) -> Channel:
    connection = unit.connection
    people = await _invited(unit, principal, form, kind) if kind is not None else []
    if kind == "dm" and (known := await channels.conversation(connection, people)) is not None:
        await channels.show_again(connection, known, principal.id)
        return await stored(unit, known)
    if await channels.count_own(connection, principal.id) >= MOST_OWN:
        raise BadRequest(FULL.format(MOST_OWN))
    values = form.model_dump(include={"name", "description", "is_private", "data", "meta"})
    values |= {"type": kind, "people": channels.key_of(people) if kind == "dm" else None}
    made = await channels.repository.create(connection, principal.id, values)
    if made is None:
        raise NotFound
    if kind is None:
        await channels.repository.set_grants(connection, principal, made.id, form.access_grants or (), strict=False)
    else:
        await channels.add_members(connection, made.id, [principal.id], by=principal.id, role="manager")
        others = [who for who in people if who != principal.id]
        await channels.add_members(connection, made.id, others, by=principal.id)
    channel = await stored(unit, made.id)
    await tell_created(deps, unit, channel, principal)
    return channel


async def _invited(unit: UnitOfWork, principal: Principal, form: CreateChannelForm, kind: str) -> list[str]:
    """Who is in a new group or conversation. Raises BadRequest."""
    wanted = {*(form.user_ids or ()), principal.id}
    named = (form.group_ids or ()) if kind == "group" else ()
    found = await channels.accounts(unit.connection, wanted, await groups_for(unit, principal, named))
    most = channels.MOST_PEOPLE if kind == "group" else MOST_IN_CONVERSATION
    if len(found) > most:
        raise BadRequest(TOO_MANY.format(most))
    if kind == "dm" and len(found) < 2:
        raise BadRequest(NOBODY)
    return found


async def groups_for(unit: UnitOfWork, principal: Principal, group_ids: Sequence[str]) -> list[str]:
    """Those of the groups that somebody may share with, as with grants: who is in others is not for them to learn."""
    if not group_ids or principal.is_admin:
        return list(group_ids)
    found = await groups.repository.all(unit.connection, among(groups.t.c.id, group_ids))
    return [g.id for g in found if g.share is True or (g.share == "members" and g.id in principal.groups)]


async def tell_created(deps: Deps, unit: UnitOfWork, channel: Channel, principal: Principal) -> None:
    """Has those who are in it fetch their lists."""
    change = Change(deps, unit, channel, await hearers(unit, channel))
    change.tell("channel:created", None, None, message_id=None, by=author(principal))


async def stored(unit: UnitOfWork, channel_id: str) -> Channel:
    row = await channels.repository.get(unit.connection, channel_id)
    if row is None:
        raise NotFound
    return row


async def conversation_with(deps: Deps, principal: Principal, user_id: str, *, begin: bool) -> Channel | None:
    """One's conversation with somebody. begin: a new one, where there is none; None for nobody's id, and one's own."""
    check(deps, principal)
    both = [principal.id, user_id]
    async with deps.database.read() as connection:
        known = await channels.conversation(connection, both)
        there = user_id != principal.id and bool(await channels.accounts(connection, [user_id]))
        if known is not None and not begin:
            return await channels.repository.get_for(connection, principal, known)
    if not there or not begin:
        return None
    return await create(deps, principal, CreateChannelForm(type="dm", user_ids=[user_id]))


# Changing


async def update(deps: Deps, principal: Principal, channel_id: str, form: ChannelForm) -> Channel:
    """What a channel is called and what is said about it. What the form leaves out stays. Raises as `opened`, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change = await opened(deps, unit, principal, channel_id, manages=True)
        values = form.model_dump(include=form.model_fields_set & {"name", "description", "is_private", "data", "meta"})
        if change.channel.type != "dm" and not values.get("name", "x"):
            raise BadRequest(NO_NAME)
        await channels.repository.change(unit.connection, channel_id, values | {"updated_by": principal.id})
        return await stored(unit, channel_id)


async def set_access(deps: Deps, principal: Principal, channel_id: str, form: AccessForm) -> Channel:
    """Replaces the grants on an open channel. Raises as `opened`, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change = await opened(deps, unit, principal, channel_id, manages=True)
        if change.channel.type is not None:
            raise BadRequest("A group or a conversation is its members'. Add and remove people instead.")
        # Those who were let in, and those who are out now, have their lists fetched anew.
        change.tell("channel:created", None, None, message_id=None, by=author(principal))
        await channels.repository.set_grants(unit.connection, principal, channel_id, form.access_grants, strict=True)
        await channels.repository.change(unit.connection, channel_id, {"updated_by": principal.id})
        channel = await stored(unit, channel_id)
        await tell_created(deps, unit, channel, principal)
        return channel


async def delete(deps: Deps, principal: Principal, channel_id: str) -> bool:
    """Nobody sees the channel any more; its messages go in the background. Raises as `opened`."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change = await opened(deps, unit, principal, channel_id, manages=True)
        values = {"deleted_at": channels.nanoseconds(), "deleted_by": principal.id, "people": None}
        await channels.repository.change(unit.connection, channel_id, values)
        change.tell("channel:created", None, None, message_id=None, by=author(principal))
        await deps.jobs.enqueue(unit, deps.jobs.kinds[REMOVING], Gone(channel_id), key=f"channel:{channel_id}")
    return True
