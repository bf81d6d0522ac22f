"""Runs the code that a model wrote between tags; an item of the answer holds what came of it."""

import msgspec

from open_webui.chat.approval import Approval
from open_webui.chat.assemble import Call
from open_webui.chat.code_tags import CodeTags, output_of
from open_webui.chat.context.stage import StageContext
from open_webui.chat.running import RunningAnswer
from open_webui.chat.tools import run_calls
from open_webui.chat.turn import Draft


def tags_for(draft: Draft) -> CodeTags | None:
    """What finds code in the next text of the model; None where none is run."""
    return None if draft.code is None else CodeTags()


async def run_written(
    running: RunningAnswer, context: StageContext, draft: Draft, tags: CodeTags, approval: Approval
) -> None:
    """Runs what stood between tags, if anything did. Pictures are shown below the answer."""
    if tags.code is None or draft.code is None:
        return
    item_id, frames = running.answer.begin_code(tags.code)
    running.say(frames)
    # What code does can't be undone: that it is run is on record before.
    await running.kept()
    name = draft.code.definition["name"]
    call = Call(item_id, name, msgspec.json.encode({"code": tags.code}).decode())
    ((_, result),) = await run_calls([call], {name: draft.code}, context, approval=approval)
    if result.files:
        await context.emit("files", {"files": list(result.files)})
    running.say(running.answer.end_code(item_id, output_of(result.text)))
