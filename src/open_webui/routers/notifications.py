"""Notifications: where one wants to be told that something has happened."""

from typing import Annotated, Any

from fastapi import Path

from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.notifications import MAX_NAME, NotificationTargetForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import notifications

router = new_router(prefix="/api/v1/notifications", tag="notifications")
TargetId = Annotated[str, Path(max_length=MAX_NAME)]


@router.get("/events")
@allow(USER)
async def events(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notifications.NotifiesList)]":
    """What one can be notified of. This and all that follows needs the permission `features.webhooks`."""
    notifications.check(state, caller)
    return notifications.catalogue()


@router.get("/targets")
@allow(USER.on("notification", "list"))
async def listed(state: AppState, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.notifications.Targets)]":
    """One's targets. Of an address only the host is shown."""
    return await notifications.listed(state, caller)


@router.post("/targets")
@allow(USER.on("notification", "create"))
async def create(
    form: NotificationTargetForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notifications.Target)]":
    """Makes a target: a webhook, e-mail to the account's address, or the pages that are open."""
    return await notifications.create(state, caller, form)


@router.put("/targets/{target_id}")
@allow(USER.on("notification", "write"))
async def update(
    target_id: TargetId, form: NotificationTargetForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notifications.Target)]":
    """Changes a target; what is left out stays."""
    return await notifications.update(state, caller, target_id, form)


@router.delete("/targets/{target_id}")
@allow(USER.on("notification", "delete"))
async def delete(target_id: TargetId, state: AppState, caller: Caller) -> bool:
    """Removes a target."""
    return await notifications.delete(state, caller, target_id)


@router.put("/targets/{target_id}/default")
@allow(USER.on("notification", "write"))
async def make_default(
    target_id: TargetId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notifications.Target)]":
    """Makes a target the one that models send to where they name none."""
    return await notifications.make_default(state, caller, target_id)


@router.post("/targets/{target_id}/test")
@allow(USER.on("notification", "write"))
async def test(target_id: TargetId, state: AppState, caller: Caller) -> bool:
    """Sends a message to a target now, and says why where that fails."""
    return await notifications.test(state, caller, target_id)
