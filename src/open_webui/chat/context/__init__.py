"""The stages between a stored question and a provider's request, in order. A stage is one async function in one file."""

from collections.abc import Sequence
from typing import Final

from open_webui.chat.context.affect import affect
from open_webui.chat.context.budget import budget
from open_webui.chat.context.code import code
from open_webui.chat.context.documents import documents
from open_webui.chat.context.filters import filters
from open_webui.chat.context.history import history
from open_webui.chat.context.images import images
from open_webui.chat.context.memories import memories
from open_webui.chat.context.parameters import parameters
from open_webui.chat.context.pictures import pictures
from open_webui.chat.context.prompt import prompt
from open_webui.chat.context.skills import skills
from open_webui.chat.context.stage import Stage, StageContext
from open_webui.chat.context.subagents import subagents
from open_webui.chat.context.tools import tools
from open_webui.chat.turn import Draft, Turn

STAGES: Final[tuple[Stage, ...]] = (
    history, prompt, skills, budget, pictures, documents, memories, parameters, affect, tools, code, images,
    subagents, filters,
)  # fmt: skip


async def prepare(turn: Turn, context: StageContext, stages: Sequence[Stage] = STAGES) -> Draft:
    """The draft of a turn after all stages."""
    draft = Draft()
    for stage in stages:
        draft = await stage(turn, draft, context)
    return draft
