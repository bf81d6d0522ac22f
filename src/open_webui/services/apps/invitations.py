"""Which apps are in a channel: whoever manages it invites them, and takes them out again."""

from typing import Final

from open_webui.errors import BadRequest, NotFound
from open_webui.models import apps, channels
from open_webui.principal import Principal
from open_webui.services.apps.apps import UNKNOWN, is_on, wire
from open_webui.services.channels.telling import Deps, Wire, check, opened

MOST: Final = 20
FULL: Final = f"{MOST} apps are in this channel, which is the most. Take one out first."
NO_CHANNEL: Final = "Channel unavailable"
NOT_HERE: Final = "Apps are in open channels and groups, and in no conversation."
IS_OFF: Final = "This app is switched off. An administrator can switch it on."


async def listed(deps: Deps, principal: Principal, channel_id: str) -> list[Wire]:
    """A channel's apps, for whoever may read it. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.read() as connection:
        if not await channels.readable(connection, principal, channel_id):
            raise NotFound(NO_CHANNEL)
        found = await apps.of_channel(connection, channel_id) if is_on(deps) else []
    return [wire(deps, one, principal) for one in found]


async def invite(deps: Deps, principal: Principal, channel_id: str, app_id: str) -> Wire:
    """Puts an app into a channel. Raises NotFound, Forbidden, BadRequest."""
    check(deps, principal)
    async with deps.database.write() as unit:
        connection = unit.connection
        try:
            change = await opened(deps, unit, principal, channel_id, manages=True)
        except NotFound:
            raise NotFound(NO_CHANNEL) from None
        app = await apps.repository.get_for(connection, principal, app_id) if is_on(deps) else None
        if app is None:
            raise NotFound(UNKNOWN)
        if change.channel.type == "dm":
            raise BadRequest(NOT_HERE)
        if not app.is_active:
            raise BadRequest(IS_OFF)
        is_in = await apps.one_of_channel(connection, channel_id, app_id) is not None
        if not is_in and await apps.count_of_channel(connection, channel_id) >= MOST:
            raise BadRequest(FULL)
        await apps.invite(connection, channel_id, app_id, principal.id)
    return wire(deps, app, principal)


async def put_out(deps: Deps, principal: Principal, channel_id: str, app_id: str) -> bool:
    """Takes an app out of a channel; what it wrote stays. Raises NotFound, Forbidden."""
    check(deps, principal)
    async with deps.database.write() as unit:
        try:
            await opened(deps, unit, principal, channel_id, manages=True)
        except NotFound:
            raise NotFound(NO_CHANNEL) from None
        if not await apps.put_out(unit.connection, channel_id, app_id):
            raise NotFound(UNKNOWN)
    return True
