"""The eight emotions, where they lie between unpleasant and pleasant, drowsy and aroused, and what a state of them may be."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeGuard

from llamaforge.exceptions import ParameterError
from llamaforge.parameters import unknown


class EmotionalState(StrEnum):
    """The emotions that a state may hold."""

    JOY = "joy"
    SADNESS = "sadness"
    ANGER = "anger"
    FEAR = "fear"
    CALM = "calm"
    EXCITEMENT = "excitement"
    CONTEMPLATION = "contemplation"
    LOVE = "love"


EMOTIONS = tuple(emotion.value for emotion in EmotionalState)

CREATIVITY = "creativity"
"""No emotion, but accepted in a state: the documentation's own example sets it."""

STATE_NAMES = (*EMOTIONS, CREATIVITY)

# Mean pleasure and arousal, each from -1 to 1, of the term beside it: J. A. Russell and A. Mehrabian, "Evidence for a
# three-factor theory of emotions", Journal of Research in Personality 11 (1977) 273-294, table of 151 terms. The paper has
# no "calm", "contemplative" or "loving"; their nearest terms stand for them.
COORDINATES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "joy": (0.76, 0.48),  # joyful
        "sadness": (-0.63, -0.27),  # sad
        "anger": (-0.51, 0.59),  # angry
        "fear": (-0.64, 0.60),  # fearful
        "calm": (0.68, -0.46),  # relaxed
        "excitement": (0.62, 0.75),  # excited
        "contemplation": (0.19, -0.40),  # quiet
        "love": (0.64, 0.35),  # affectionate
    }
)

State = Mapping[str, float]


def checked_state(state: object) -> dict[str, float]:
    """A copy of `state`, emotions by name with intensities from 0 to 1. Those of 0 stay in it.

    Raises ParameterError (a ValueError) for an unknown name, with the nearest known, and for anything but a number
    within the bounds.
    """
    if not isinstance(state, Mapping):
        raise ParameterError("An emotional state must be a mapping of emotions to intensities from 0 to 1.")
    found: dict[str, float] = {}
    for given, value in state.items():
        name = str(given)
        if not isinstance(given, str) or name not in STATE_NAMES:
            raise ParameterError(unknown(given, STATE_NAMES, "emotion"))
        found[name] = checked_intensity(name, value)
    return found


def checked_intensity(name: str, value: Any) -> float:
    """`value` as a number from 0 to 1. Raises ParameterError."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise ParameterError(f"The intensity of '{name}' must be a number from 0 to 1, not {value!r}.")
    return float(value)


def checked_coordinate(name: str, value: object) -> float:
    """`value` as a valence or arousal, a number from -1 to 1. Raises ParameterError."""
    if not is_number(value) or not -1.0 <= value <= 1.0:
        raise ParameterError(f"The {name} must be a number from -1 to 1, not {value!r}.")
    return float(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; True and False are none, nor is an integer beyond all floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def core_affect(state: State) -> tuple[float, float]:
    """Valence and arousal of a state, each from -1 to 1: the sum of its emotions' coordinates by intensity.

    The order of the emotions does not matter, and a stronger emotion never moves the point away from its own side.
    """
    felt = [(state.get(name, 0.0), COORDINATES[name]) for name in EMOTIONS]
    valence = math.fsum(intensity * pleasure for intensity, (pleasure, _) in felt)
    arousal = math.fsum(intensity * activation for intensity, (_, activation) in felt)
    return _within(valence), _within(arousal)


def emotions_at(valence: float, arousal: float) -> dict[str, float]:
    """The emotions whose sum is a point: the two between whose directions it lies; none at the origin.

    So `core_affect` of them is the point again, as long as neither would have to be stronger than 1: then both are less,
    in the same direction. Raises ParameterError for what is not from -1 to 1.
    """
    distance = math.hypot(checked_coordinate("valence", valence), checked_coordinate("arousal", arousal))
    if distance == 0.0:
        return {}
    angle = math.atan2(arousal, valence)
    # The nearest on either side: what comes first going back, and what comes first going on.
    before = min(EMOTIONS, key=lambda name: (angle - _angle(name)) % math.tau)
    after = min(EMOTIONS, key=lambda name: (_angle(name) - angle) % math.tau)
    if before == after:
        return {before: min(distance / math.hypot(*COORDINATES[before]), 1.0)}
    gap = math.sin(_angle(after) - _angle(before))
    found = {
        before: distance * math.sin(_angle(after) - angle) / (gap * math.hypot(*COORDINATES[before])),
        after: distance * math.sin(angle - _angle(before)) / (gap * math.hypot(*COORDINATES[after])),
    }
    strongest = max(1.0, *found.values())
    return {name: intensity / strongest for name, intensity in found.items() if intensity > 0.0}


def dominant(state: State) -> tuple[str, float] | None:
    """The strongest emotion and its intensity, the first in the order of EMOTIONS where two are equal; None if none."""
    strongest = max(EMOTIONS, key=lambda name: state.get(name, 0.0))
    intensity = state.get(strongest, 0.0)
    return (strongest, intensity) if intensity > 0.0 else None


def _angle(name: str) -> float:
    valence, arousal = COORDINATES[name]
    return math.atan2(arousal, valence)


def _within(value: float) -> float:
    return min(max(value, -1.0), 1.0)
