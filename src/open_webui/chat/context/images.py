"""The stage that has a picture made, where one was asked for and the model calls no tool for that."""

from typing import Any, Final

from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.utils.loading import load

_FEATURE: Final = "image_generation"
_TOOLS: Final = frozenset({"generate_image", "edit_image"})


async def images(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft in which the model is told of the picture, which is below the answer by then; as it is where none was asked for,
    and where the model calls a tool for that.

    Raises Forbidden where pictures are not made, or not for this person.
    """
    if _FEATURE not in turn.request.features or not _TOOLS.isdisjoint(draft.tools):
        return draft
    # A part of an answer, or one that goes on: whoever began it has the picture.
    if turn.part_of is not None or turn.request.continued:
        return draft
    capabilities = turn.target.meta.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get(_FEATURE) is False:
        return draft
    # Not needed to start.
    module: Any = await load("open_webui.chat.made_pictures")
    told: Draft = await module.with_picture(turn, draft, context)
    return told
