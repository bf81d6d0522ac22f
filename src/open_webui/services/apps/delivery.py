"""Jobs that tell apps what is said in their channels, with retries; what an app answers is its message there, once."""

import uuid
from functools import partial
from typing import Final

import msgspec

from open_webui.errors import BadRequest, OuiError
from open_webui.internal.db import UnitOfWork
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.models import apps, channel_messages, channels
from open_webui.models.apps import App
from open_webui.models.channel_messages import Message
from open_webui.models.channels import Channel
from open_webui.services.apps import calls
from open_webui.services.apps.apps import about, is_on, target
from open_webui.services.apps.calls import Failed, Reply
from open_webui.services.channels import app_notices as notices
from open_webui.services.channels import telling
from open_webui.services.channels.app_notices import MENTIONS, MESSAGES, Notice
from open_webui.services.channels.messages import add
from open_webui.services.channels.telling import Change, Deps, Wire

WRITE: Final = "channels:messages:write"
DETAILS: Final = "channels:read"
# Notices that an app could not be told one after the other, until it is switched off.
MOST_FAILURES: Final = 20
RETRY: Final = Retry(attempts=6, first=10.0, longest=3_600.0)
_IDS: Final = uuid.UUID("6f75692d-6170-4073-8000-616e73776572")


def kind(deps: Deps) -> Kind[Notice]:
    """The job that tells one app of one message."""
    return Kind(
        name=notices.KIND,
        payload=Notice,
        handler=partial(_tell, deps),
        retry=RETRY,
        time_limit=60.0,
        concurrency=8,
        keep=0,
        given_up=_given_up,
    )


class Found(msgspec.Struct, frozen=True):
    """What a notice is about, as it is now."""

    app: App
    channel: Channel
    message: Message


async def _tell(deps: Deps, run: Run, notice: Notice) -> None:
    found = await _look(deps, notice)
    if found is None:
        return
    try:
        at = target(deps, found.app)
    except BadRequest:
        raise GiveUp(
            "The app's key can't be read any more: the server's secret key has changed. Connect it again."
        ) from None
    try:
        reply = await calls.tell(
            at, notice.id, what_is_told(found, notice.id, notice.type) | {"user": found.message.author}
        )
    except Failed as error:
        if error.final:
            raise GiveUp(str(error)) from error
        async with deps.database.write() as unit:
            await apps.is_tried_again(unit.connection, notice.app_id)
        raise OuiError(str(error), status=502) from error
    async with deps.database.write() as unit:
        await _take(deps, unit, notice, reply)
        await apps.went_well(unit.connection, notice.app_id)
        await run.commit(unit)


async def _look(deps: Deps, notice: Notice) -> Found | None:
    """None where the app is not to be told any more."""
    if not is_on(deps):
        return None
    async with deps.database.read() as connection:
        app = await apps.one_of_channel(connection, notice.channel_id, notice.app_id)
        channel = await channels.repository.get(connection, notice.channel_id)
        message = await channel_messages.get(connection, notice.channel_id, notice.message_id)
    if app is None or channel is None or channel.deleted_at is not None or message is None:
        return None
    return Found(app, channel, message) if app.may(MENTIONS if notice.type == "mention" else MESSAGES) else None


def what_is_told(found: Found, event_id: str, kind: str) -> Wire:
    """What an app is told: as much of the channel as it may know."""
    channel, message = found.channel, found.message
    details = {"name": channel.name, "description": channel.description} if found.app.may(DETAILS) else {}
    return {
        "id": event_id,
        "type": kind,
        "app": about(found.app),
        "channel": {"id": channel.id} | details,
        "message": {
            "id": message.id, "parent_id": message.parent_id, "reply_to_id": message.reply_to_id,
            "content": message.content, "created_at": message.created_at,
        },
    }  # fmt: skip


async def _take(deps: Deps, unit: UnitOfWork, notice: Notice, reply: Reply) -> None:
    """What becomes of an answer: a message, something for who has asked alone, or nothing."""
    if reply.type == "ack":
        return
    channel = await channels.repository.get(unit.connection, notice.channel_id, lock=True)
    message = await channel_messages.get(unit.connection, notice.channel_id, notice.message_id)
    app = await apps.one_of_channel(unit.connection, notice.channel_id, notice.app_id)
    if channel is None or channel.deleted_at is not None or message is None or app is None:
        return
    if reply.is_public:
        if app.may(WRITE):
            await put(Change(deps, unit, channel, await telling.hearers(unit, channel)), app, message, reply, notice.id)
    elif message.user_id is not None:
        unit.after_commit(partial(_say, deps, message.user_id, shown(app, message, reply)))


async def put(change: Change, app: App, about: Message, reply: Reply, answers: str) -> None:
    """Stores an app's message beside the one that it is about, which it quotes. answers: the id of the request; another
    attempt at the same one stores nothing.
    """
    message_id = str(uuid.uuid5(_IDS, answers))
    if await channel_messages.get(change.unit.connection, change.channel.id, message_id) is not None:
        return
    values = {
        "id": message_id, "user_id": None, "content": reply.content, "parent_id": about.parent_id,
        "reply_to_id": about.id, "meta": {"app": {"id": app.id, "name": app.name}},
        "data": {"app": {"actions": msgspec.to_builtins(reply.actions)}} if reply.actions else None,
    }  # fmt: skip
    await add(change, values, {"id": app.id, "name": app.name, "role": "app"})


def shown(app: App, about: Message, reply: Reply) -> Wire:
    """The payload of `events:app`: what an app says to one person, below the message that it is about."""
    return {
        "app_id": app.id,
        "app_name": app.name,
        "channel_id": about.channel_id,
        "message_id": about.id,
        "parent_id": about.parent_id,
        "reply": plain(reply),
    }


def plain(reply: Reply) -> Wire:
    """A reply as pages get it."""
    out: Wire = msgspec.structs.asdict(reply)
    return out | {"actions": msgspec.to_builtins(reply.actions)}


async def _say(deps: Deps, user_id: str, payload: Wire) -> None:
    await deps.emitter.to_users([user_id], "events:app", payload)


async def _given_up(unit: UnitOfWork, notice: Notice, _error: str) -> None:
    await apps.went_wrong(unit.connection, notice.app_id, MOST_FAILURES)
