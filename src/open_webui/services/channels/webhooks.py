"""Webhooks of channels: made and shown by whoever manages a channel; whoever knows one's address writes there."""

import hmac
import secrets
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from open_webui.models import channel_webhooks, channels
from open_webui.models.channel_webhooks import Webhook
from open_webui.principal import Principal
from open_webui.schemas.channels import WebhookForm, WebhookMessageForm
from open_webui.services.channels.messages import NOTHING_SAID, add
from open_webui.services.channels.telling import OFF, Change, Deps, Wire, check, hearers, opened
from open_webui.services.people import Picture, nobody
from open_webui.utils.pictures import from_data_url

MOST: Final = 50
FULL: Final = "A channel can have {} webhooks. Remove one that is not needed any more."
NO_PICTURE: Final = "The picture must be a PNG, JPEG, GIF or WebP as a data: URL."
WRONG: Final = "There is no webhook at this address. Look at it again in the channel's settings."
_TOKEN_BYTES: Final = 32


def _wire(deps: Deps, one: Webhook) -> Wire:
    """As whoever manages the channel sees it, with its token."""
    told = msgspec.structs.asdict(one)
    del told["token_hash"], told["sealed"]
    shown = deps.sealer.unseal(one.sealed, one.id) or ""
    out: Wire = {}
    for name, value in told.items():
        out[name] = value
        if name == "profile_image_url":
            out["token"] = shown
    return out


def _values(form: WebhookForm) -> dict[str, Any]:
    url = form.profile_image_url or None
    if url is not None and url.startswith(("/", "http")):
        # Pages send back the address under which they have shown it.
        return {"name": form.name}
    if url is not None and from_data_url(url) is None:
        raise BadRequest(NO_PICTURE)
    return {"name": form.name, "profile_image_url": url}


async def listed(deps: Deps, principal: Principal, channel_id: str) -> list[Wire]:
    """A channel's. Raises NotFound, Forbidden for whoever does not manage it."""
    check(deps, principal)
    async with deps.database.write() as unit:
        await opened(deps, unit, principal, channel_id, manages=True)
        return [_wire(deps, one) for one in await channel_webhooks.of(unit.connection, channel_id)]


async def create(deps: Deps, principal: Principal, channel_id: str, form: WebhookForm) -> Wire:
    """A new one. Raises as `listed`, BadRequest."""
    check(deps, principal)
    values = _values(form)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    async with deps.database.write() as unit:
        connection = unit.connection
        await opened(deps, unit, principal, channel_id, manages=True)
        if len(await channel_webhooks.of(connection, channel_id)) >= MOST:
            raise BadRequest(FULL.format(MOST))
        values |= {"channel_id": channel_id, "user_id": principal.id, "token_hash": channel_webhooks.hash_of(token)}
        webhook_id = await channel_webhooks.add(connection, values | {"sealed": ""})
        sealed = deps.sealer.seal(token, webhook_id)
        await channel_webhooks.change(connection, webhook_id, {"sealed": sealed}, touch=False)
        return _wire(deps, await _of(connection, channel_id, webhook_id))


async def _of(connection: Any, channel_id: str, webhook_id: str) -> Webhook:
    found = await channel_webhooks.get(connection, webhook_id, channel_id)
    if found is None:
        raise NotFound
    return found


async def update(deps: Deps, principal: Principal, channel_id: str, webhook_id: str, form: WebhookForm) -> Wire:
    """Changes one. Raises as `create`."""
    check(deps, principal)
    values = _values(form)
    async with deps.database.write() as unit:
        await opened(deps, unit, principal, channel_id, manages=True)
        await _of(unit.connection, channel_id, webhook_id)
        await channel_webhooks.change(unit.connection, webhook_id, values)
        return _wire(deps, await _of(unit.connection, channel_id, webhook_id))


async def delete(deps: Deps, principal: Principal, channel_id: str, webhook_id: str) -> bool:
    """Removes one; what it wrote stays. Raises as `listed`."""
    check(deps, principal)
    async with deps.database.write() as unit:
        await opened(deps, unit, principal, channel_id, manages=True)
        await _of(unit.connection, channel_id, webhook_id)
        await channel_webhooks.delete(unit.connection, webhook_id)
    return True


async def picture(deps: Deps, webhook_id: str) -> Picture:
    """What to show for one: a picture of everybody's where there is none."""
    async with deps.database.look() as connection:
        found = await channel_webhooks.get(connection, webhook_id)
    shown = from_data_url(found.profile_image_url or "") if found is not None else None
    return nobody() if shown is None else Picture(*shown)


async def post(deps: Deps, address: str, webhook_id: str, token: str, form: WebhookMessageForm) -> Wire:
    """A message by whoever knows the address. Raises Unauthenticated, TooManyRequests, BadRequest, Forbidden."""
    await deps.attempts.find_webhook(address)
    async with deps.database.look() as connection:
        found = await channel_webhooks.get(connection, webhook_id)
    # Of one that is not there it takes as long.
    known = found.token_hash if found is not None else channel_webhooks.hash_of("")
    is_right = hmac.compare_digest(known, channel_webhooks.hash_of(token))
    if found is None or not is_right:
        raise Unauthenticated(WRONG)
    if not deps.config["channels.enable"]:
        raise Forbidden(OFF, status=403)
    if not form.content.strip():
        raise BadRequest(NOTHING_SAID)
    await deps.attempts.use_webhook(webhook_id)
    async with deps.database.write() as unit:
        channel = await channels.repository.get(unit.connection, found.channel_id, lock=True)
        if (
            channel is None
            or channel.deleted_at is not None
            or await channel_webhooks.get(unit.connection, webhook_id) is None
        ):
            raise Unauthenticated(WRONG)
        change = Change(deps, unit, channel, await hearers(unit, channel))
        meta = {"webhook": {"id": found.id, "name": found.name}}
        by = {"id": found.id, "name": found.name, "role": "webhook"}
        values = {"user_id": None, "content": form.content, "data": None, "meta": meta}
        message = await add(change, values, by)
        await channel_webhooks.change(unit.connection, webhook_id, {"last_used_at": message.created_at}, touch=False)
    return {"success": True, "message_id": message.id}
