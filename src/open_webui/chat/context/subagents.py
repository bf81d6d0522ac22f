"""The stage that lets a model hand tasks to sub-agents."""

import importlib
from typing import Any, Final

import msgspec

from open_webui.chat.context.stage import StageContext
from open_webui.chat.context.tools import is_offered
from open_webui.chat.turn import Draft, Turn

NAME: Final = "delegate_task"
# The name by which a model's settings switch it off.
CATEGORY: Final = "subagents"


async def subagents(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with the tool that hands a task over; as it is where there are no sub-agents, or for one of them."""
    config = context.services.config
    if turn.part_of is not None or NAME in draft.tools or not config["subagents.enable"]:
        return draft
    if config["subagents.max_concurrent"] < 1 or not is_offered(turn, config) or _is_off(turn.target.meta):
        return draft
    entry = turn.target.entry
    if context.services.toolbox().refuses(entry.connection, entry.remote_id):
        return draft
    # Not needed to start.
    module: Any = importlib.import_module("open_webui.chat.subagents")
    background = context.services.background()
    if background is None or not background.takes(turn):
        own = {NAME: module.Delegate(turn, context)}
    else:
        own = {NAME: module.Delegate(turn, context, background), module.CHECK: module.CheckTask(turn, background)}
    return msgspec.structs.replace(draft, tools={**draft.tools, **own}, offered=draft.offered.union(own))


def _is_off(meta: dict[str, Any]) -> bool:
    chosen = meta.get("builtinTools")
    return isinstance(chosen, dict) and chosen.get(CATEGORY) is False
