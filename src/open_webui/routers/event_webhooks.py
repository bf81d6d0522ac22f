"""Events of the server, and webhooks that are told of them; for administrators."""

from typing import Annotated, Any

from fastapi import Path

from open_webui import constants
from open_webui.access.policy import ADMIN
from open_webui.deps import AppState
from open_webui.errors import BadRequest
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.notifications import EventWebhookForm, EventWebhookUpdateForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import event_webhooks, webhook_calls

router = new_router(prefix="/api/events", tag="event-webhooks")
WebhookId = Annotated[str, Path(max_length=constants.MAX_ID)]


@router.get("")
@allow(ADMIN)
async def catalogue() -> "Annotated[dict[str, Any], Shape(replies.notifications.Catalogue)]":
    """The events that webhooks can be told of."""
    return event_webhooks.catalogue()


@router.get("/webhooks")
@allow(ADMIN)
async def listed(state: AppState) -> "Annotated[list[dict[str, Any]], Shape(list[replies.notifications.EventWebhook])]":
    """The webhooks. The one that WEBHOOK_URL makes is `default`."""
    return await state.event_webhooks.listed()


@router.post("/webhooks")
@allow(ADMIN)
async def create(
    form: EventWebhookForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.notifications.EventWebhook)]":
    """Makes a webhook. The reply has the secret that signs its events; it is not told again."""
    return await state.event_webhooks.create(form)


@router.put("/webhooks/{webhook_id}")
@allow(ADMIN)
async def update(
    webhook_id: WebhookId, form: EventWebhookUpdateForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.notifications.EventWebhook)]":
    """Changes a webhook; what is left out stays. Of the default one the address alone can be changed."""
    if webhook_id != event_webhooks.DEFAULT or not state.config[event_webhooks.SETTING]:
        return await state.event_webhooks.update(webhook_id, form)
    if form.url is None:
        raise BadRequest(event_webhooks.FIXED)
    await state.save_config({event_webhooks.SETTING: webhook_calls.checked(form.url, allow_local=True)})
    return (await state.event_webhooks.listed())[0]


@router.delete("/webhooks/{webhook_id}")
@allow(ADMIN)
async def delete(webhook_id: WebhookId, state: AppState) -> bool:
    """Removes a webhook."""
    if webhook_id != event_webhooks.DEFAULT or not state.config[event_webhooks.SETTING]:
        return await state.event_webhooks.delete(webhook_id)
    await state.save_config({event_webhooks.SETTING: ""})
    return True
