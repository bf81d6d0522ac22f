"""One change of a channel: who may make it, its place among the others, and who is told of it once it is stored."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from open_webui import constants
from open_webui.errors import Forbidden, NotFound
from open_webui.events import ChannelEvent, Hearers
from open_webui.internal.db import UnitOfWork
from open_webui.jobs.queue import Queue
from open_webui.models import channel_messages, channels
from open_webui.models.channel_messages import Message
from open_webui.models.channels import PERMISSION, Channel
from open_webui.principal import Principal
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.services.notifications import Notifier

Wire = dict[str, Any]
OFF: Final = "Channels are switched off on this server. An administrator can switch them on."
READ_ONLY: Final = "You may read this channel, but not write in it. Ask whoever manages it."
MANAGED: Final = "Only whoever manages this channel may do this."


class Deps(ServiceDeps, Protocol):
    """What it needs of the state. jobs: work that outlives a request. notifier: tells people elsewhere."""

    jobs: Queue
    notifier: Notifier


def is_on(deps: Deps, principal: Principal) -> bool:
    """Whether somebody may use channels at all."""
    return bool(deps.config["channels.enable"]) and principal.may(PERMISSION)


def check(deps: Deps, principal: Principal) -> None:
    """Raises Forbidden where somebody may not use channels."""
    if not deps.config["channels.enable"]:
        raise Forbidden(OFF, status=403)
    if not principal.may(PERMISSION):
        raise Forbidden(constants.UNAUTHORIZED)


def is_manager(channel: Channel, principal: Principal) -> bool:
    """Whether somebody may change a channel that they may read."""
    return channel.user_id == principal.id or (channel.type is None and principal.is_admin)


def author(principal: Principal) -> Wire:
    """Somebody as others see them beside what they do."""
    return {"id": principal.id, "name": principal.name, "role": principal.role}


class Change(msgspec.Struct, frozen=True):
    """A change that is being made: nobody else changes the channel until its unit of work ends.

    hearers: who hears of it, as the database has them in this unit.
    """

    deps: Deps
    unit: UnitOfWork
    channel: Channel
    hearers: Hearers

    def tell(self, kind: str, data: Any, number: int | None, *, message_id: str | None, by: Wire | None) -> None:
        """Has an event told once the unit has committed. by: who does it; None where nobody does."""
        payload: Wire = {
            "channel_id": self.channel.id,
            "message_id": message_id,
            "data": {"type": kind, "data": data},
        }
        if by is not None:
            payload |= {"user": by, "channel": msgspec.structs.asdict(self.channel)}
        event = ChannelEvent(self.channel.id, number, self.hearers, payload)
        self.unit.after_commit(partial(_send, self.deps, event))

    async def tell_message(
        self, kind: str, message: Message, number: int, by: Wire | None, *, with_data: bool = True, **more: Any
    ) -> Wire:
        """The same of a message, as it is now with all that belongs to it; which is given back."""
        found = await channel_messages.reactions(self.unit.connection, [message.id])
        whole = message.whole(found.get(message.id, ()), with_data=with_data)
        before = {"temp_id": more.pop("temp_id")} if "temp_id" in more else {}
        self.tell(kind, before | whole | more, number, message_id=message.id, by=by)
        return whole


async def _send(deps: Deps, event: ChannelEvent) -> None:
    deps.emitter.channel(event)


async def opened(
    deps: Deps, unit: UnitOfWork, principal: Principal, channel_id: str, *, writes: bool = False, manages: bool = False
) -> Change:
    """A channel that somebody is about to change. Raises NotFound for one that they may not read; Forbidden (403) for one that
    they may only read, or do not manage.
    """
    connection = unit.connection
    channel = await channels.repository.get_for(connection, principal, channel_id, lock=True)
    if channel is None:
        raise NotFound
    heard_by = await hearers(unit, channel)
    # Whoever waited for the lock was found to be a member before it, and may have been put out by who had it.
    if channel.type is not None and principal.id not in heard_by.users:
        raise NotFound
    if manages and not is_manager(channel, principal):
        raise Forbidden(MANAGED, status=403)
    if writes and not may_write(channel, principal):
        raise Forbidden(READ_ONLY, status=403)
    return Change(deps, unit, channel, heard_by)


def may_write(channel: Channel, principal: Principal) -> bool:
    """Whether somebody who may read a channel may write in it, too."""
    return channel.type is not None or channels.repository.may(channel, principal, "write")


async def hearers(unit: UnitOfWork, channel: Channel) -> Hearers:
    """Who hears of a channel, as the unit of work sees it."""
    if channel.type is not None:
        return Hearers(frozenset(await channels.member_ids(unit.connection, channel.id)))
    return granted_to(channel)


def granted_to(channel: Channel) -> Hearers:
    """Who hears of an open channel."""
    named: Mapping[str, list[str]] = {
        kind: [g.principal_id for g in channel.access_grants if g.principal_type == kind] for kind in ("user", "group")
    }
    everyone = "*" in named["user"]
    return Hearers(frozenset([channel.user_id, *named["user"]]), frozenset(named["group"]), everyone, admins=True)
