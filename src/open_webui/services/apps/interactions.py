"""Buttons of apps' messages: who presses one waits for what the app says."""

from typing import Final

from open_webui.errors import Forbidden, NotFound, OuiError
from open_webui.models import apps, channel_messages, channels
from open_webui.models.base import new_id
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.schemas.apps import AppInteractionForm
from open_webui.services.apps import calls
from open_webui.services.apps.apps import UNKNOWN, is_on, target
from open_webui.services.apps.calls import Failed, Reply
from open_webui.services.apps.delivery import WRITE, Found, plain, put, what_is_told
from open_webui.services.channels.telling import READ_ONLY, Deps, Wire, check, may_write, opened

NO_MESSAGE: Final = "This message is not there any more."
NO_BUTTON: Final = "This message has no such button."
MAY_NOT_WRITE: Final = "This app may not write in channels. An administrator can let it."


async def press(deps: Deps, principal: Principal, app_id: str, form: AppInteractionForm) -> Wire:
    """Tells an app that somebody has pressed a button, and gives what it says to them. What it says to the channel is its
    message there. Raises NotFound, Forbidden, TooManyRequests, OuiError (502) where the app does not answer.
    """
    found = await _look(deps, principal, app_id, form)
    await deps.attempts.press_button(principal.id)
    request_id = new_id()
    told = what_is_told(found, request_id, "interaction") | {"user": principal.public(), "action_id": form.action_id}
    try:
        reply = await calls.tell(target(deps, found.app), request_id, told)
    except Failed as error:
        raise OuiError(str(error), status=502) from error
    await _answered(deps, principal, found, request_id, reply)
    return plain(reply)


async def _look(deps: Deps, principal: Principal, app_id: str, form: AppInteractionForm) -> Found:
    if not is_on(deps):
        raise NotFound(UNKNOWN)
    check(deps, principal)
    async with deps.database.read() as connection:
        app = await apps.repository.get_for(connection, principal, app_id)
        if app is None or not app.is_active:
            raise NotFound(UNKNOWN)
        message = await channel_messages.readable(connection, principal, form.message_id)
        if message is None or message.app_id != app_id:
            raise NotFound(NO_MESSAGE)
        channel = await channels.repository.get_for(connection, principal, message.channel_id)
        if channel is None or await apps.one_of_channel(connection, message.channel_id, app_id) is None:
            raise NotFound(UNKNOWN)
    if form.action_id not in _actions(message):
        raise NotFound(NO_BUTTON)
    if not may_write(channel, principal):
        raise Forbidden(READ_ONLY, status=403)
    return Found(app, channel, message)


def _actions(message: Message) -> set[str]:
    """The ids of a message's buttons, as `delivery.put` has stored them."""
    said = (message.data or {}).get("app")
    given = said.get("actions") if isinstance(said, dict) else None
    return {str(one["action_id"]) for one in given or () if isinstance(one, dict) and one.get("action_id")}


async def _answered(deps: Deps, principal: Principal, found: Found, request_id: str, reply: Reply) -> None:
    """Stores what an app says to the channel, and that it has answered. Raises NotFound, Forbidden."""
    channel_id, app_id = found.channel.id, found.app.id
    async with deps.database.write() as unit:
        connection = unit.connection
        if reply.is_public:
            change = await opened(deps, unit, principal, channel_id, writes=True)
            app = await apps.one_of_channel(connection, channel_id, app_id)
            message = await channel_messages.get(connection, channel_id, found.message.id)
            if app is None or message is None:
                raise NotFound(UNKNOWN)
            if not app.may(WRITE):
                raise Forbidden(MAY_NOT_WRITE, status=403)
            await put(change, app, message, reply, request_id)
        await apps.went_well(connection, app_id)
