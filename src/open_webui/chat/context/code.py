"""The stage for models that call no tools, and may have code run: they are told to write it between tags."""

import msgspec

from open_webui.chat.code_tags import PROMPT
from open_webui.chat.context.stage import StageContext
from open_webui.chat.context.tools import asked
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.params import with_system

_FEATURE = "code_interpreter"
TOOL = "execute_code"


async def code(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with what runs the code, and a prompt that says how to write it; as it is where the model calls a tool for that,
    or where no code was asked for.
    """
    if _FEATURE not in turn.request.features or TOOL in draft.tools:
        return draft
    wanted = msgspec.structs.replace(asked(turn, draft, context.services.config), wants_builtin=True)
    tool = (await context.services.toolbox().offered(wanted)).get(TOOL)
    if tool is None:
        return draft
    told = context.services.config["code_interpreter.prompt_template"].strip() or PROMPT
    return msgspec.structs.replace(draft, messages=tuple(with_system(told, draft.messages)), code=tool)
