"""Which apps are in a channel."""

from typing import Annotated, Any

from fastapi import Path

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import apps as forms
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.services.apps import invitations

router = new_router(prefix="/api/v1/channels", tag="channels")
Id = Annotated[str, Path(max_length=constants.MAX_ID)]


@router.get("/{channel_id}/apps")
@allow(USER.on("channel", "read"))
async def list_channel_apps(
    channel_id: Id, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.apps.App])]":
    """The apps that are in a channel."""
    return await invitations.listed(state, caller, channel_id)


@router.post("/{channel_id}/apps")
@allow(USER.on("channel", "write"))
async def invite(
    channel_id: Id, form: forms.AppInvitation, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.apps.App)]":
    """Puts an app into a channel that one manages."""
    return await invitations.invite(state, caller, channel_id, form.app_id)


@router.delete("/{channel_id}/apps/{app_id}")
@allow(USER.on("channel", "write"))
async def put_out(channel_id: Id, app_id: Id, state: AppState, caller: Caller) -> bool:
    """Takes an app out of a channel; what it wrote stays."""
    return await invitations.put_out(state, caller, channel_id, app_id)
