"""The stage that puts the system prompts first: the profile's, the folder's, the chat's; variables filled in."""

import re
from typing import Final

from msgspec.structs import replace

from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.params import with_system

# A fixed, linear pattern: names of letters, digits, blanks and a few signs between double braces.
_VARIABLE: Final = re.compile(r"\{\{[A-Za-z0-9_ .:-]{1,64}\}\}")


async def prompt(turn: Turn, draft: Draft, _context: StageContext) -> Draft:
    """Joins the system prompts into one message in front, before one that the conversation brings itself."""
    texts = [filled(text, turn.request.variables) for text in turn.system if text.strip()]
    if not texts:
        return draft
    return replace(draft, messages=tuple(with_system("\n\n".join(texts), draft.messages)))


def filled(text: str, variables: dict[str, str]) -> str:
    """The text with {{NAME}} replaced where a value is known; others stay as they are."""
    return _VARIABLE.sub(lambda match: variables.get(match.group(), match.group()), text)
