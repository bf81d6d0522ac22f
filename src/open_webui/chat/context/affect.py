"""The stage that gives an answer its mood: what the question expresses, felt by a conversation that remembers.

The mood moves the model's own sampling, where nobody else chose that, and puts a sentence on its tone behind the prompt.
"""

import asyncio
import functools
from typing import Any, Final

from msgspec.structs import replace

from consciousness.affect import AffectState, after_message, at_rest
from consciousness.appraisal import LexiconAppraiser
from consciousness.emotions import State, is_number
from consciousness.express import expression, shaped
from llamaforge.exceptions import MissingExtraError, ParameterError
from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.params import merge
from open_webui.internal.log import get_logger
from open_webui.services import affect as moods
from open_webui.services.affect import KEY, Felt, felt_in, in_words, newest, rounded

log = get_logger(__name__)
UNREAD: Final = "The mood of messages can't be read on this server ({}). The conversation's own mood goes on without."
# In the meta of an answer whose question could not be appraised.
_UNREAD: Final = "unread"
# What holds at each kind of source where nothing is said, as their documentation has it: what a mood moves away from.
_USUAL: Final[dict[str, dict[str, float]]] = {
    "ollama": {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1},
    "local": {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.0},
}
_USUAL_ELSEWHERE: Final = {"temperature": 1.0, "top_p": 1.0}
_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "num_predict")


async def affect(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft as the mood shapes it, which is stored with the answer and shown; as it is where moods are off."""
    felt = moods.resolve(turn.stored.affect, turn.target.meta, moods.moment())
    if felt is None:
        return draft
    state, problem = await _feel(turn, felt)
    await _show(turn, context, state, problem)
    fields = _sampling(turn, draft, state) if felt.sampling else {}
    style = expression(state.emotions).style
    return replace(draft, messages=_styled(draft.messages, style), fields=draft.fields | fields)


async def _feel(turn: Turn, felt: Felt) -> tuple[AffectState, str | None]:
    """What is felt, and why the question could not be read. An answer that is continued keeps its mood."""
    if turn.continues is not None:
        kept = felt_in(turn.body | {"role": "assistant"})
        if kept is not None:
            return kept, None
    before = newest(felt.state, turn.history) or at_rest(felt.persona, felt.at)
    emotions: State = {}
    problem = None
    try:
        # In a thread: the lexicon takes 20 ms to load, and a long message some milliseconds.
        emotions = await asyncio.to_thread(_read, turn.question)
    except MissingExtraError as error:
        problem = str(error).rstrip(".")
    return after_message(before, emotions, felt.at, felt.persona), problem


async def _show(turn: Turn, context: StageContext, state: AffectState, problem: str | None) -> None:
    mood: dict[str, Any] = {"emotions": rounded(state.emotions), "at": state.at}
    shown = {"description": f"Mood: {in_words(state.emotions)}", "emotions": mood["emotions"]}
    statuses = [_status(shown)]
    if problem is not None:
        mood[_UNREAD] = True
        if not _was_told(turn):
            log.warning("moods can't be read", reason=problem)
            statuses.insert(0, _status({"description": UNREAD.format(problem)}))
    context.set_meta(KEY, mood)
    await context.replace_statuses(KEY, statuses)


def _status(fields: dict[str, Any]) -> dict[str, Any]:
    return {"action": KEY, "done": True, "hidden": False} | fields


def _was_told(turn: Turn) -> bool:
    """Whether the conversation's last mood was unread too."""
    for message in reversed(turn.history):
        meta = message.get("meta")
        if message.get("role") == "assistant" and isinstance(meta, dict) and isinstance(meta.get(KEY), dict):
            return _UNREAD in meta[KEY]
    return False


@functools.cache
def _lexicon() -> LexiconAppraiser:
    return LexiconAppraiser()


def _read(text: str) -> State:
    return _lexicon().read(text).emotions


def _sampling(turn: Turn, draft: Draft, state: AffectState) -> dict[str, Any]:
    """The model's own parameters moved by the mood. What the chat, its page or the request say stays as it is."""
    kind = turn.target.entry.kind
    own, said = merge(kind, turn.target.params), merge(kind, turn.params) | turn.request.fields
    length = next((name for name in _LENGTHS if name in draft.fields), None)
    names = {"temperature": "temperature", "top_p": "top_p"}
    # OpenAI's API refuses parameters that it does not know.
    if kind != "openai" or "repeat_penalty" in draft.fields:
        names["repetition_penalty"] = "repeat_penalty"
    if length is not None:
        names["max_new_tokens"] = length
    start = {name: own[field] for name, field in names.items() if is_number(own.get(field))}
    try:
        moved = shaped(None, state.emotions, {"max_new_tokens": -1} | _USUAL.get(kind, _USUAL_ELSEWHERE) | start)
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
