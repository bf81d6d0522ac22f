"""The mood of one answer: what the question expresses, felt by a conversation that remembers and calms down."""

import asyncio
import functools
from typing import Any, Final

import msgspec

from consciousness.affect import AffectState, at_rest, heard
from consciousness.appraisal import LexiconAppraiser
from consciousness.emotions import State
from llamaforge.exceptions import MissingExtraError
from open_webui.chat.delivery.record import Live
from open_webui.chat.turn import Mood, Turn
from open_webui.internal.log import get_logger
from open_webui.services.affect import KEY, Felt, felt_in, in_words, newest, rounded

log = get_logger(__name__)
UNREAD: Final = "The mood of messages can't be read on this server ({}). The conversation's own mood goes on without."
# In the meta of an answer whose question could not be appraised.
_UNREAD: Final = "unread"


async def feel(live: Live) -> Turn:
    """The turn with its mood, which is stored with the answer and shown to everybody who watches; as it is where moods
    are off.
    """
    turn = live.turn
    if turn.felt is None:
        return turn
    state, problem = await _state(turn, turn.felt)
    mood = {"emotions": rounded(state.emotions), "at": state.at}
    status: dict[str, Any] = {
        "action": KEY,
        "description": f"Mood: {in_words(state.emotions)}",
        "done": True,
        "hidden": False,
        "emotions": mood["emotions"],
    }
    statuses = [status]
    if problem is not None:
        mood[_UNREAD] = True
        if not _was_told(turn):
            log.warning("moods can't be read", reason=problem)
            statuses.insert(0, {"action": KEY, "description": UNREAD.format(problem), "done": True, "hidden": False})
    body = live.body
    earlier = [s for s in body.get("statusHistory") or () if not (isinstance(s, dict) and s.get("action") == KEY)]
    live.body = body | {"meta": (body.get("meta") or {}) | {KEY: mood}, "statusHistory": [*earlier, *statuses]}
    for shown in statuses:
        await live.room.event("status", shown)
    return msgspec.structs.replace(turn, mood=Mood(state, turn.felt.sampling))


async def _state(turn: Turn, felt: Felt) -> tuple[AffectState, str | None]:
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
    return heard(before, emotions, felt.at, felt.persona), problem


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
