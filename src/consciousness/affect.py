"""An emotional state over time: what happens is felt, fades by half within a half-life, and a persona is what remains.

Everything here is a pure function of its arguments; the time is given by the caller, in seconds of any clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from consciousness.emotions import EMOTIONS, STATE_NAMES, State, checked_intensity, checked_state, is_number
from llamaforge.exceptions import ParameterError
from llamaforge.parameters import unknown

Reaction = Mapping[str, Mapping[str, float]]

MIRROR: Reaction = MappingProxyType({name: MappingProxyType({name: 1.0}) for name in EMOTIONS})
"""What a user feels is felt likewise."""

# To meet anger with anger helps nobody. Which emotion answers which, and how strongly, is our choice.
EMPATHY: Reaction = MappingProxyType(
    {
        **MIRROR,
        "anger": MappingProxyType({"calm": 0.7}),
        "fear": MappingProxyType({"calm": 0.6, "love": 0.3}),
        "sadness": MappingProxyType({"love": 0.6, "sadness": 0.2}),
    }
)
"""Pleasant feelings are shared; anger and fear meet calm, sadness meets warmth."""


@dataclass(frozen=True, slots=True)
class Persona:
    """A character: the state it rests in, how fast it returns there, how much it is moved, and how it reacts.

    half_life: seconds within which half of the distance to the baseline is gone. gain: from 0 (unmoved) to 1.
    reaction: of each emotion of the user, the emotions it raises and how strongly.
    """

    name: str
    baseline: State = field(default_factory=dict)
    half_life: float = 600.0
    gain: float = 0.5
    reaction: Reaction = field(default_factory=lambda: EMPATHY)

    def __post_init__(self) -> None:
        """Raises ParameterError where a value can't be used."""
        object.__setattr__(self, "baseline", MappingProxyType(checked_state(self.baseline)))
        checked_intensity("gain", self.gain)
        if not is_number(self.half_life) or self.half_life <= 0.0:
            raise ParameterError(f"The half-life must be a positive number of seconds, not {self.half_life!r}.")
        for emotion, raised in self.reaction.items():
            checked_state({emotion: 0.0})
            checked_state(raised)


PERSONAS: Mapping[str, Persona] = MappingProxyType(
    {
        persona.name: persona
        for persona in (
            Persona("neutral"),
            Persona("warm", {"love": 0.3, "joy": 0.2}),
            Persona("calm", {"calm": 0.4}, gain=0.25),
            Persona("enthusiastic", {"excitement": 0.3, "joy": 0.3}, gain=0.7),
            Persona("reflective", {"contemplation": 0.4, "calm": 0.1}, half_life=1800.0, gain=0.3),
        )
    }
)


def persona_named(name: str) -> Persona:
    """One of PERSONAS. Raises ParameterError with the nearest name."""
    if name not in PERSONAS:
        raise ParameterError(unknown(name, PERSONAS, "persona"))
    return PERSONAS[name]


@dataclass(frozen=True, slots=True)
class AffectState:
    """What is felt at one moment. emotions: intensities from 0 to 1. at: that moment, in seconds."""

    emotions: State = field(default_factory=dict)
    at: float = 0.0

    def __post_init__(self) -> None:
        """Raises ParameterError where a value can't be used."""
        object.__setattr__(self, "emotions", MappingProxyType(checked_state(self.emotions)))
        if not is_number(self.at):
            raise ParameterError(f"The moment of a state must be a number of seconds, not {self.at!r}.")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return {"emotions": dict(self.emotions), "at": self.at}

    @classmethod
    def from_dict(cls, stored: Any) -> AffectState:
        """What `to_dict` wrote. Raises ParameterError."""
        if not isinstance(stored, Mapping) or not {"emotions", "at"} >= stored.keys():
            raise ParameterError("A stored state must be an object with 'emotions' and 'at'.")
        return cls(stored.get("emotions", {}), stored.get("at", 0.0))


def at_rest(persona: Persona, now: float) -> AffectState:
    """The state of a persona to which nothing has happened."""
    return AffectState(persona.baseline, now)


def decayed(state: AffectState, now: float, persona: Persona) -> AffectState:
    """The state at `now`, nearer to the persona's baseline. A clock that went backwards changes nothing but the moment."""
    elapsed = max(now - state.at, 0.0)
    remaining = math.exp2(-elapsed / persona.half_life)
    names = [name for name in STATE_NAMES if name in state.emotions or name in persona.baseline]
    emotions = {}
    for name in names:
        rest = persona.baseline.get(name, 0.0)
        emotions[name] = min(max(state.emotions.get(name, 0.0) * remaining + rest * (1.0 - remaining), 0.0), 1.0)
    return AffectState(emotions, now)


def reacted(emotions: State, reaction: Reaction) -> dict[str, float]:
    """The emotions that a user's raise, each at most 1. Those that `reaction` leaves out raise nothing."""
    raised: dict[str, list[float]] = {}
    for name, intensity in checked_state(emotions).items():
        for other, weight in reaction.get(name, {}).items():
            raised.setdefault(other, []).append(intensity * weight)
    return {name: min(math.fsum(parts), 1.0) for name, parts in raised.items()}


def felt(state: AffectState, emotions: State, gain: float = 1.0) -> AffectState:
    """The state after `emotions` have been added at its own moment: x becomes 1 - (1 - x)(1 - gain * e).

    So intensities stay within bounds, and of several things at one moment the order does not matter.
    """
    gain = checked_intensity("gain", gain)
    after = dict(state.emotions)
    for name, intensity in checked_state(emotions).items():
        before = after.get(name, 0.0)
        after[name] = min(before + gain * intensity * (1.0 - before), 1.0)
    return AffectState(after, state.at)


def after_message(state: AffectState, emotions: State, now: float, persona: Persona) -> AffectState:
    """The state after a message in which the user's `emotions` were found: decay, reaction, feeling."""
    return felt(decayed(state, now, persona), reacted(emotions, persona.reaction), persona.gain)
