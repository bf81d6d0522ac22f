"""Who is in a channel: shown, let in, put out; and what each has set of it."""

import time
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.events import ChannelEvent, Hearers
from open_webui.models import channels
from open_webui.models.channels import Channel, Member, Person
from open_webui.principal import Principal
from open_webui.schemas.channels import MembersForm, RemoveMembersForm
from open_webui.services.channels.channels import TOO_MANY, groups_for, is_here, tell_created
from open_webui.services.channels.telling import (
    MANAGED,
    Deps,
    Wire,
    author,
    check,
    granted_to,
    is_manager,
    may_write,
    opened,
)

NO_GROUP: Final = "Only groups have members that are added and removed. Who may read an open channel, its grants say."
OWNER_STAYS: Final = "Whoever made the group stays in it."


class Asked(msgspec.Struct, frozen=True):
    """Which page of people: by a part of the name, in which order."""

    text: str | None
    order_by: str | None
    direction: str | None
    number: int


async def page(deps: Deps, principal: Principal, channel_id: str, asked: Asked) -> Wire:
    """A page of who is in a channel, or may read it. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        channel = await channels.repository.get_for(connection, principal, channel_id)
        if channel is None:
            raise NotFound
        found, total = await channels.people(
            connection, channel, asked.text, asked.order_by, asked.direction, asked.number
        )
    return {"users": [_shown(deps, principal, one) for one in found], "total": total}


def _shown(deps: Deps, principal: Principal, person: Person) -> Wire:
    """Somebody as a member sees them: the address is for administrators, and for themselves."""
    sees = principal.is_admin or principal.id == person.id
    # A picture may be a megabyte in a row: pages fetch it by itself.
    picture = f"/api/v1/users/{person.id}/profile/image"
    return {
        "id": person.id,
        "email": person.email if sees else "",
        "name": person.name,
        "role": person.role,
        "profile_image_url": picture,
        "presence_state": person.presence_state,
        "status_emoji": person.status_emoji,
        "status_message": person.status_message,
        "status_expires_at": person.status_expires_at,
        "is_active": is_here(deps, person),
    }


async def add(deps: Deps, principal: Principal, channel_id: str, form: MembersForm) -> list[Member]:
    """Lets people into a group, and says who was not in it. Raises NotFound, Forbidden, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        connection = unit.connection
        change = await opened(deps, unit, principal, channel_id, manages=True)
        _check_group(change.channel)
        named = await groups_for(unit, principal, form.group_ids)
        wanted = await channels.accounts(connection, form.user_ids, named)
        everybody = set(wanted) | change.hearers.users
        if len(everybody) > channels.MOST_PEOPLE:
            raise BadRequest(TOO_MANY.format(channels.MOST_PEOPLE))
        added = await channels.add_members(connection, channel_id, wanted, by=principal.id)
        if added:
            await tell_created(deps, unit, change.channel, principal)
        return await channels.members(connection, channel_id, added)


async def remove(deps: Deps, principal: Principal, channel_id: str, form: RemoveMembersForm) -> int:
    """Puts people out of a group; everybody may go by themselves. Says how many were in it. Raises as `add`."""
    check(deps, principal)
    async with deps.database.write() as unit:
        change = await opened(deps, unit, principal, channel_id)
        _check_group(change.channel)
        goes = set(form.user_ids)
        if goes - {principal.id} and not is_manager(change.channel, principal):
            raise Forbidden(MANAGED, status=403)
        if change.channel.user_id in goes:
            raise BadRequest(OWNER_STAYS)
        # Who is put out has the list fetched anew, too.
        change.tell("channel:created", None, None, message_id=None, by=author(principal))
        return await channels.remove_members(unit.connection, channel_id, goes)


def _check_group(channel: Channel) -> None:
    if channel.type != "group":
        raise BadRequest(NO_GROUP)


async def set_active(deps: Deps, principal: Principal, channel_id: str, is_active: bool) -> bool:
    """Puts a conversation away, or brings it back. Raises NotFound, Forbidden."""
    await _set(deps, principal, channel_id, {"is_active": is_active})
    return True


async def set_muted(deps: Deps, principal: Principal, channel_id: str, is_muted: bool) -> Wire:
    """Whether one is told of new messages. Raises NotFound, Forbidden."""
    await _set(deps, principal, channel_id, {"is_channel_muted": is_muted})
    told: dict[str, Any] = {"is_channel_muted": is_muted}
    payload = {"channel_id": channel_id, "data": {"type": "channel:mute", "data": told}}
    deps.emitter.channel(ChannelEvent(channel_id, None, Hearers(frozenset((principal.id,))), payload))
    return told


async def _set(deps: Deps, principal: Principal, channel_id: str, values: dict[str, Any]) -> None:
    check(deps, principal)
    async with deps.database.write() as unit:
        if not await channels.readable(unit.connection, principal, channel_id):
            raise NotFound
        await channels.set_member(unit.connection, channel_id, principal.id, values)


async def mark_read(deps: Deps, principal: Principal, channel_id: str) -> None:
    """Notes that somebody has seen a channel. Pages say it with every key: where nothing is new, nothing is written."""
    check(deps, principal)
    async with deps.database.look() as connection:
        if not await channels.readable(connection, principal, channel_id):
            return
        read, last = await channels.read_marks(connection, channel_id, principal.id)
    if read is not None and read >= (last or 0):
        return
    async with deps.database.write() as unit:
        # What was written since the look is seen, too, by its time; another machine's clock may be ahead of this one's.
        at = max(time.time_ns(), last or 0)
        await channels.set_member(unit.connection, channel_id, principal.id, {"last_read_at": at})


class Typing(msgspec.Struct, frozen=True):
    """That somebody types, and whether they still do."""

    channel_id: str
    message_id: str | None
    typing: bool


async def tell_typing(deps: Deps, principal: Principal, said: Typing) -> None:
    """Tells a channel, if its writer may write there. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.look() as connection:
        channel = await channels.repository.get_for(connection, principal, said.channel_id)
        if channel is None or not may_write(channel, principal):
            return
        if channel.type is None:
            heard_by = granted_to(channel)
        else:
            heard_by = Hearers(frozenset(await channels.member_ids(connection, channel.id)))
    payload = {
        "channel_id": said.channel_id,
        "message_id": said.message_id,
        "data": {"type": "typing", "data": {"typing": said.typing}},
        "user": author(principal),
    }
    deps.emitter.channel(ChannelEvent(said.channel_id, None, heard_by, payload))
