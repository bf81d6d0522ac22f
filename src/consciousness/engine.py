"""A state as one temperature, one top_p and one boost, after its strongest emotion: the older, simpler rule."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from consciousness.emotions import checked_state, dominant

NEUTRAL = 0.9
_KEPT_PER_CALL = 0.95

# Temperature, top_p and creativity boost at full intensity. The reference has none for fear; ours lies between sadness,
# which it is as unpleasant as, and calm sampling: careful rather than agitated.
TARGETS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "joy": (1.1, 0.95, 0.2),
        "sadness": (0.8, 0.85, -0.1),
        "anger": (1.2, 0.9, 0.1),
        "fear": (0.75, 0.8, -0.1),
        "calm": (0.9, 0.9, 0.0),
        "excitement": (1.3, 0.95, 0.3),
        "contemplation": (0.7, 0.8, 0.15),
        "love": (1.0, 0.92, 0.25),
    }
)


class EmotionalEngine:
    """Turns states into settings, and remembers what was felt.

    memory: of each emotion the strongest it was, faded by a twentieth with each call.
    """

    def __init__(self) -> None:
        self.memory: dict[str, float] = {}

    def process_emotional_state(self, state: Mapping[str, float]) -> dict[str, float]:
        """{temperature, top_p, creativity_boost}: 0.9, 0.9 and 0 moved towards the target of the strongest emotion by its
        intensity. An empty state changes nothing. Raises ParameterError, the memory staying as it was.
        """
        emotions = checked_state(state)
        faded = {name: value * _KEPT_PER_CALL for name, value in self.memory.items()}
        self.memory = faded | {name: max(value, faded.get(name, 0.0)) for name, value in emotions.items()}
        strongest = dominant(emotions)
        if strongest is None:
            return {"temperature": NEUTRAL, "top_p": NEUTRAL, "creativity_boost": 0.0}
        name, intensity = strongest
        temperature, top_p, boost = TARGETS[name]
        return {
            "temperature": NEUTRAL + (temperature - NEUTRAL) * intensity,
            "top_p": NEUTRAL + (top_p - NEUTRAL) * intensity,
            "creativity_boost": boost * intensity,
        }
