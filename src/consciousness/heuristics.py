"""Settings guessed from a mood or a topic, for programs without a better idea: lists of English words, and arithmetic.

Topics in other languages find none of the words; the answers are then those for nothing in particular.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from consciousness.emotions import checked_state
from consciousness.express import DEFAULTS, shaped
from llamaforge.exceptions import ParameterError

Mood = str | Mapping[str, float] | None

_WORD = re.compile(r"\w+")
_CREATIVE_WORDS = frozenset(
    "art ballad brainstorm character creative dream fantasy fiction haiku humor humour idea ideas imagine improvise invent "
    "joke limerick lyrics metaphor myth name names novel parody plot poem poems poet poetry riddle satire scene song "
    "sonnet stories story tale verse".split()
)
_EXACT_WORDS = frozenset(
    "address algebra arithmetic calculate code compile convert date debug define definition diagnosis dosage equation error "
    "fact facts formula invoice law legal medical number price proof regex schema spell spelling sql sum syntax tax "
    "translate unit".split()
)
_COMPLEX_WORDS = frozenset(
    "analyse analyze architecture argue compare comparison comprehensive contrast derive design detailed discuss essay "
    "evaluate explain guide history how implications prove relationship report steps strategy theory thesis tradeoffs "
    "tutorial why".split()
)
_SHORTEST, _LONGEST = 128, 2048
_SHORT_TOPIC, _PER_WORD, _PER_DEMAND = 256, 8, 256


def mood_to_temperature(mood: Mood = None) -> float:
    """The temperature for a mood: 0.9 for none, more when aroused, less when calm; always from 0.1 to 2.

    mood: an emotion's name, felt fully, or a state. Raises ParameterError for an unknown emotion or a wrong intensity.
    """
    if mood is None:
        return float(DEFAULTS["temperature"])
    state = checked_state({mood: 1.0} if isinstance(mood, str) else mood)
    return round(float(shaped({"temperature": DEFAULTS["temperature"]}, state)["temperature"]), 4)


def topic_requires_creativity(topic: str | None = None) -> bool:
    """Whether a topic asks for something invented (a story, a poem, ideas). Without a topic nothing says so: False."""
    return topic is not None and bool(_words(topic) & _CREATIVE_WORDS)


def topic_creativity_boost(topic: str | None = None) -> float:
    """A `creativity_boost`: 0.3 where something is to be invented, 0 where there is a right answer, else 0.1."""
    if topic_requires_creativity(topic):
        return 0.3
    return 0.0 if topic is not None and _words(topic) & _EXACT_WORDS else 0.1


def length_based_on_complexity(topic: str | None = None) -> int:
    """A limit of length in tokens, 128 to 2048: more for long topics and for words such as "compare" or "explain".

    256 without a topic; 8 a word beyond that, 256 for each different demanding word, half for one to three plain words.
    """
    if topic is None:
        return _SHORT_TOPIC
    words = _WORD.findall(_text(topic).lower())
    demands = len(set(words) & _COMPLEX_WORDS)
    if len(words) <= 3 and not demands:
        return _SHORTEST
    return min(_SHORT_TOPIC + _PER_WORD * len(words) + _PER_DEMAND * demands, _LONGEST)


def _words(topic: str) -> set[str]:
    return set(_WORD.findall(_text(topic).lower()))


def _text(topic: object) -> str:
    if not isinstance(topic, str):
        raise ParameterError("A topic must be text.")
    return topic
