"""Import names of the documented API; everything is in `consciousness`."""

from consciousness.enhanced import EnhancedConsciousness
from consciousness.generator import ResponseGenerator
from consciousness.hints import (
    length_based_on_complexity,
    mood_to_temperature,
    topic_creativity_boost,
    topic_requires_creativity,
)
from consciousness.models import ModelManager
from consciousness.routing import ModelRouter
from consciousness.sources import Connection
from consciousness.utilities import AIUtils

__all__ = [
    "AIUtils",
    "Connection",
    "EnhancedConsciousness",
    "ModelManager",
    "ModelRouter",
    "ResponseGenerator",
    "length_based_on_complexity",
    "mood_to_temperature",
    "topic_creativity_boost",
    "topic_requires_creativity",
]
