"""Apps: outside programs that administrators connect; and the buttons of their messages."""

from typing import Annotated, Any

from fastapi import Path

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import apps as forms
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.services.apps import apps, interactions

router = new_router(prefix="/api/v1/apps", tag="apps")
AppId = Annotated[str, Path(max_length=constants.MAX_ID)]


@router.get("")
@allow(USER)
async def list_apps(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.apps.App])]":
    """The apps that one may use; none where apps are off."""
    return await apps.listed(state, caller)


@router.post("")
@allow(ADMIN)
async def create(
    form: forms.AppForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.App)]":
    """Makes an app, which is switched off until it is connected. Its key is kept encrypted, and never told."""
    return await apps.create(state, caller, form)


@router.post("/manifest/preview")
@allow(ADMIN)
async def preview(
    form: forms.AppManifestForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.apps.Manifest)]":
    """Asks the app at an address what it is."""
    return await apps.preview(state, form)


@router.get("/{app_id}")
@allow(ADMIN)
async def get(
    app_id: AppId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.AppWithAccess)]":
    """An app, with who may use it."""
    return await apps.get(state, caller, app_id)


@router.patch("/{app_id}")
@allow(ADMIN)
async def update(
    app_id: AppId, form: forms.AppUpdateForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.App)]":
    """Changes an app, or switches it on or off; what is left out stays."""
    return await apps.update(state, caller, app_id, form)


@router.delete("/{app_id}")
@allow(ADMIN)
async def delete(
    app_id: AppId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.App)]":
    """Removes an app from all channels; what it wrote stays."""
    return await apps.delete(state, caller, app_id)


@router.post("/{app_id}/connect")
@allow(ADMIN)
async def connect(
    app_id: AppId, form: forms.AppConnectionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.App)]":
    """Asks an app whether it is there, and switches it on."""
    return await apps.connect(state, caller, app_id, form)


@router.post("/{app_id}/interactions")
@allow(USER)
async def interact(
    app_id: AppId, form: forms.AppInteractionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.AppReply)]":
    """Presses a button of an app's message, and answers what the app says."""
    return await interactions.press(state, caller, app_id, form)
