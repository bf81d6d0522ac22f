"""What apps of a channel are told of a new message: put in as jobs with it, done by `delivery`."""

from typing import Final, Literal

import msgspec

from open_webui.internal.log import get_logger
from open_webui.models import apps, jobs
from open_webui.models.apps import App
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.services.channels import mentions
from open_webui.services.channels.telling import Change

log = get_logger(__name__)
KIND: Final = "tell an app"
MENTIONS: Final = "channels:mentions:read"
MESSAGES: Final = "channels:messages:read"
# What waits to be told to one app. What comes on top of it is dropped, with a line in the log.
MOST_WAITING: Final = 1_000


class Notice(msgspec.Struct, frozen=True):
    """The payload of the job. id: what the app knows it by, over all attempts."""

    id: str
    app_id: str
    channel_id: str
    message_id: str
    type: Literal["mention", "message"]


async def put_in(change: Change, principal: Principal, message: Message) -> None:
    """Puts in what apps are told of a new message of somebody's, with the unit of work that stores it."""
    deps, connection = change.deps, change.unit.connection
    kind = deps.jobs.kinds.get(KIND)
    if kind is None or not deps.config["apps.enable"]:
        return
    mentioned = mentions.apps_in(message.content)
    for app in await apps.of_channel(connection, change.channel.id, only_active=True):
        may_use = apps.repository.may(app, principal, "read")
        what = told(app, is_mentioned=app.id in mentioned and may_use)
        if what is None:
            continue
        key = f"app:{app.id}:"
        if await jobs.count_live(connection, key) >= MOST_WAITING:
            log.warning("an app is told too slowly: something is not told", app=app.slug, most=MOST_WAITING)
            continue
        notice = Notice(f"{message.id}.{app.id}", app.id, change.channel.id, message.id, what)
        await deps.jobs.enqueue(change.unit, kind, notice, key=f"{key}{message.id}")


def told(app: App, *, is_mentioned: bool) -> Literal["mention", "message"] | None:
    """As what an app is told of a message; None where it may not know of it."""
    if is_mentioned and app.may(MENTIONS):
        return "mention"
    return "message" if app.may(MESSAGES) else None
