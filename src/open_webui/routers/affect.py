"""The moods of chats: what they are, and what is set for them."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Request

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, json_object, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.services import affect

if TYPE_CHECKING:
    from open_webui.schemas import bodies

router = new_router(prefix="/api/v1/affect", tag="affect")
ChatId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]


@router.get("/chats/{id}")
@allow(USER.on("chat", "read"))
async def mood(
    chat_id: ChatId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.local.Mood)]":
    """Whether the chat has moods, with which character, and what it feels now."""
    return await affect.read(state, caller, chat_id)


@router.put("/chats/{id}")
@allow(USER.on("chat", "write"))
async def change(
    chat_id: ChatId, request: "Annotated[Request, Shape(bodies.Mood)]", state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.local.Mood)]":
    """Sets `enabled`, `persona` and `state`, each if it is given; null forgets it."""
    return await affect.change(state, caller, chat_id, await json_object(request))
