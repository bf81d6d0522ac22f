"""The stage that puts the system prompts first: the profile's, the folder's, the chat's; variables filled in."""

import re
from typing import Final

from open_webui.chat.turn import Draft, Turn

# A fixed, linear pattern: names of letters, digits, blanks and a few signs between double braces.
_VARIABLE: Final = re.compile(r"\{\{[A-Za-z0-9_ .:-]{1,64}\}\}")


def prompt(turn: Turn, draft: Draft) -> Draft:
    """Joins the system prompts into one message in front, before one that the conversation brings itself."""
    texts = [filled(text, turn.variables) for text in turn.system if text.strip()]
    if not texts:
        return draft
    rest = draft.messages
    if rest and rest[0]["role"] == "system" and isinstance(rest[0]["content"], str):
        texts.append(rest[0]["content"])
        rest = rest[1:]
    system = {"role": "system", "content": "\n\n".join(texts)}
    return Draft(messages=(system, *rest), fields=draft.fields)


def filled(text: str, variables: dict[str, str]) -> str:
    """The text with {{NAME}} replaced where a value is known; others stay as they are."""
    return _VARIABLE.sub(lambda match: variables.get(match.group(), match.group()), text)
