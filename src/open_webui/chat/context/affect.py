"""The stage that lets a mood shape an answer: its sampling, where nobody chose that, and a sentence on its tone."""

from typing import Any, Final

from consciousness.affect import AffectState
from consciousness.emotions import is_number
from consciousness.express import expression, shaped
from llamaforge.exceptions import ParameterError
from open_webui.chat.params import merge
from open_webui.chat.turn import Draft, Turn

# What holds at each kind of source where nothing is said, as their documentation has it: what a mood moves away from.
_USUAL: Final[dict[str, dict[str, float]]] = {
    "openai": {"temperature": 1.0, "top_p": 1.0},
    "ollama": {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1},
    "local": {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.0},
}
_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "num_predict")


def affect(turn: Turn, draft: Draft) -> Draft:
    """Adds what the turn's mood changes; nothing where it is neutral or off."""
    if turn.mood is None:
        return draft
    state = turn.mood.state
    fields = _sampling(turn, draft, state) if turn.mood.sampling else {}
    style = expression(state.emotions).style
    return Draft(messages=_styled(draft.messages, style), fields=draft.fields | fields)


def _sampling(turn: Turn, draft: Draft, state: AffectState) -> dict[str, Any]:
    """The model's own parameters moved by the mood. What the chat, its page or the request say stays as it is."""
    kind = turn.target.entry.kind
    own, said = merge(kind, turn.target.params), merge(kind, turn.params) | turn.fields
    length = next((name for name in _LENGTHS if name in draft.fields), None)
    names = {"temperature": "temperature", "top_p": "top_p"}
    # OpenAI's API refuses parameters that it does not know.
    if kind != "openai" or "repeat_penalty" in draft.fields:
        names["repetition_penalty"] = "repeat_penalty"
    if length is not None:
        names["max_new_tokens"] = length
    start = {name: own[field] for name, field in names.items() if is_number(own.get(field))}
    try:
        moved = shaped(None, state.emotions, {"max_new_tokens": -1} | _USUAL[kind] | start)
    except ParameterError:
        # The model's parameters make no sense here. That is for the provider to judge, as without a mood.
        return {}
    return {field: round(moved[name], 4) for name, field in names.items() if name in moved and said.get(field) is None}


def _styled(messages: tuple[dict[str, Any], ...], style: str) -> tuple[dict[str, Any], ...]:
    """The messages with a sentence at the end of their system prompt."""
    if not style:
        return messages
    first = messages[0] if messages else {}
    if first.get("role") == "system" and isinstance(first["content"], str):
        return ({**first, "content": f"{first['content']}\n\n{style}"}, *messages[1:])
    return ({"role": "system", "content": style}, *messages)
