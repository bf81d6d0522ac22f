"""Import names of the documented API; everything is in `consciousness`."""

from consciousness.enhanced import EnhancedConsciousness
from consciousness.generator import ResponseGenerator
from consciousness.heuristics import (
    length_based_on_complexity,
    mood_to_temperature,
    topic_creativity_boost,
    topic_requires_creativity,
)
from consciousness.sources import Connection

__all__ = [
    "Connection",
    "EnhancedConsciousness",
    "ResponseGenerator",
    "length_based_on_complexity",
    "mood_to_temperature",
    "topic_creativity_boost",
    "topic_requires_creativity",
]
