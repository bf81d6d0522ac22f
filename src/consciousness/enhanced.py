"""A conversation's state, fed by its messages: what the server's stage and a script use."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from consciousness.affect import AffectState, Persona, after_message, at_rest, persona_named
from consciousness.appraisal import Appraiser, LexiconAppraiser
from consciousness.emotions import core_affect
from consciousness.express import expression

_MOST_CONVERSATIONS = 10_000


class EnhancedConsciousness:
    """Reads messages, keeps one state for each conversation (in memory, the longest silent forgotten first), and says what
    that state does to an answer. The text itself is never changed.
    """

    def __init__(self, persona: str | Persona = "neutral", appraiser: Appraiser | None = None) -> None:
        """persona: one of PERSONAS by name, or one's own. appraiser: else the lexicon's. Raises ParameterError."""
        self.persona = persona_named(persona) if isinstance(persona, str) else persona
        self._appraiser = appraiser
        self._states: OrderedDict[str, AffectState] = OrderedDict()

    def state_of(self, conversation_id: str, now: float | None = None) -> AffectState:
        """The state as it was after the conversation's last message, or the persona at rest."""
        return self._states.get(conversation_id) or at_rest(self.persona, time.time() if now is None else now)

    async def process_input(
        self, text: str, context: Mapping[str, Any] | None = None, *, now: float | None = None
    ) -> dict[str, Any]:
        """{text, metadata}: the text as it came, and what it did.

        context: `conversation_id` names the conversation ("" for the one without a name). now: seconds since 1970.
        metadata: consciousness_system, context, what the message expresses (valence, arousal, emotions), the state after
        it, and its expression: what to add to temperature, top_p and repetition_penalty, the factor of length, the style.
        """
        now = time.time() if now is None else now
        conversation = str((context or {}).get("conversation_id", ""))
        if self._appraiser is None:
            self._appraiser = LexiconAppraiser()
        read = await self._appraiser.appraise(text)
        state = after_message(self.state_of(conversation, now), read.emotions, now, self.persona)
        self._keep(conversation, state)
        valence, arousal = core_affect(state.emotions)
        return {
            "text": text,
            "metadata": {
                "consciousness_system": "affect",
                "context": dict(context or {}),
                "message": {"valence": read.valence, "arousal": read.arousal, "emotions": dict(read.emotions)},
                "state": {"valence": valence, "arousal": arousal, "emotions": dict(state.emotions)},
                "expression": asdict(expression(state.emotions)),
            },
        }

    def _keep(self, conversation: str, state: AffectState) -> None:
        self._states[conversation] = state
        self._states.move_to_end(conversation)
        if len(self._states) > _MOST_CONVERSATIONS:
            self._states.popitem(last=False)
