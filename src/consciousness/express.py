"""From an emotional state to how an answer is drawn (sampling, length) and worded (a sentence on style).

Two rules, both pure: `merged` is the documented one of the consciousness backends, where excitement and calm count;
`shaped` goes through valence and arousal, where all eight do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from consciousness.emotions import CREATIVITY, State, checked_state, core_affect, dominant
from llamaforge.exceptions import ParameterError
from llamaforge.parameters import Parameter, checked, unknown

Settings = dict[str, Any]
Rule = Callable[[Mapping[str, Any] | None, State], Settings]

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"max_new_tokens": 512, "temperature": 0.9, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1}
)
TEMPERATURE_BOUNDS = (0.1, 2.0)
TOP_P_BOUNDS = (0.1, 1.0)
REPETITION_BOUNDS = (1.0, 1.5)

_PARAMETERS = (
    Parameter("max_new_tokens", "int", ("max_tokens", "max_completion_tokens", "num_predict", "n_predict"), low=-1),
    Parameter("temperature", "float", low=0.0, high=100.0),
    Parameter("top_p", "float", low=0.0, high=1.0),
    Parameter("top_k", "int", low=-1),
    Parameter("repetition_penalty", "float", ("repeat_penalty",), low=0.0),
    Parameter("creativity_boost", "float", low=-1.0, high=1.0),
    Parameter("stop", "texts", ("stopping_strings", "stop_strings", "stop_sequences")),
)
_SPELLINGS = {spelling: parameter for parameter in _PARAMETERS for spelling in (parameter.name, *parameter.aliases)}

# ---- the documented rule


def merged(parameters: Mapping[str, Any] | None, state: State) -> Settings:
    """The settings of one answer by the documented rule, under the names of DEFAULTS; other parameters pass through.

    Without a state: the parameters over DEFAULTS, and `creativity_boost` is without effect. With one, excitement e adds
    0.3 e to the temperature, calm c takes 0.2 c from it, and a creativity_boost b > 0 adds 0.2 b to the temperature and
    0.1 b to top_p; then the temperature is held within 0.1 and 2, top_p within 0.1 and 1. `do_sample` is true.
    Only without a state, a temperature of 0 asks for the likeliest answer: of DEFAULTS it gets the length alone.
    Raises ParameterError.
    """
    emotions = checked_state(state)
    given = _canonical(parameters)
    boost = max(given.pop("creativity_boost", 0.0), 0.0)
    if not emotions and given.get("temperature") == 0.0:
        return {"max_new_tokens": DEFAULTS["max_new_tokens"], **given}
    settings: Settings = {**DEFAULTS, **given, "do_sample": True}
    if not emotions:
        return settings
    warmer = 0.3 * emotions.get("excitement", 0.0) - 0.2 * emotions.get("calm", 0.0) + 0.2 * boost
    settings["temperature"] = _clamp(settings["temperature"] + warmer, TEMPERATURE_BOUNDS)
    settings["top_p"] = _clamp(settings["top_p"] + 0.1 * boost, TOP_P_BOUNDS)
    return settings


def adjusted(parameters: Mapping[str, Any] | None, state: State) -> Settings:
    """The documented rule for a backend with parameters of its own: as written, but for what the state changes.

    Without a state that is nothing; with one, temperature and top_p, which are then always given.
    """
    written = dict(_mapping(parameters))
    changed = merged({name: value for name, value in written.items() if name in _SPELLINGS}, state)
    written.pop("creativity_boost", None)
    if state:
        written |= {"temperature": changed["temperature"], "top_p": changed["top_p"]}
    return written


# ---- the rule of valence and arousal

# Excitement (arousal 0.75) then warms by 0.3, as the documented rule has it, and calm (-0.46) cools by 0.18 (there 0.2).
_TEMPERATURE_PER_AROUSAL = 0.4
# Pleasant affect broadens what comes to mind (B. L. Fredrickson, American Psychologist 56 (2001) 218-226), unpleasant
# narrows it; how much is our choice, small beside what a user would notice as nonsense.
_TOP_P_PER_VALENCE = 0.08
_REPETITION_PER_VALENCE = 0.05
_DOUBLINGS_PER_VALENCE = 0.4


@dataclass(frozen=True, slots=True)
class Expression:
    """What a state changes: three numbers to add, a factor for the limit of length, and a sentence ("" for none)."""

    temperature: float = 0.0
    top_p: float = 0.0
    repetition_penalty: float = 0.0
    length: float = 1.0
    style: str = ""


def expression(state: State) -> Expression:
    """What `state` does to an answer; nothing where it is neutral. Each number moves one way as an emotion grows.

    `creativity` adds 0.2 of itself to the temperature and 0.1 to top_p, as a boost does. Raises ParameterError.
    """
    emotions = checked_state(state)
    valence, arousal = core_affect(emotions)
    creativity = emotions.get(CREATIVITY, 0.0)
    return Expression(
        temperature=_TEMPERATURE_PER_AROUSAL * arousal + 0.2 * creativity,
        top_p=_TOP_P_PER_VALENCE * valence + 0.1 * creativity,
        repetition_penalty=_REPETITION_PER_VALENCE * valence,
        length=math.exp2(_DOUBLINGS_PER_VALENCE * valence),
        style=style_sentence(emotions),
    )


def shaped(
    parameters: Mapping[str, Any] | None, state: State, base: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """The parameters as `state` shapes them, under the names of DEFAULTS; with a neutral state just as they were.

    base: what holds where a parameter is not given (the model's own defaults, if they are known), over DEFAULTS; it is
    only used for what the state changes. A temperature of 0 stays 0, a length without limit without. Raises ParameterError.
    """
    change = expression(state)
    given = _canonical(parameters)
    boost = max(given.pop("creativity_boost", 0.0), 0.0)
    if change == Expression() and not boost:
        return given
    start = {**DEFAULTS, "repetition_penalty": 1.0, **_canonical(base), **given}
    settings = dict(given)
    if start["temperature"] > 0.0:
        warmer = change.temperature + 0.2 * boost
        settings["temperature"] = _moved(start["temperature"], warmer, TEMPERATURE_BOUNDS)
        settings["top_p"] = _moved(start["top_p"], change.top_p + 0.1 * boost, TOP_P_BOUNDS)
    settings["repetition_penalty"] = _moved(start["repetition_penalty"], change.repetition_penalty, REPETITION_BOUNDS)
    if start["max_new_tokens"] > 0:
        settings["max_new_tokens"] = max(1, round(start["max_new_tokens"] * change.length))
    return settings


# ---- the style

_STYLES = {
    "joy": "cheerful and light",
    "sadness": "gentle and subdued",
    "anger": "firm and direct, without being hostile to the reader",
    "fear": "careful, naming risks and what is uncertain",
    "calm": "calm and unhurried, in even sentences",
    "excitement": "lively and energetic",
    "contemplation": "thoughtful, weighing several sides before concluding",
    "love": "warm and caring",
}
_FAINT = 0.15
_DEGREES = ((0.4, "slightly "), (0.75, ""), (math.inf, "markedly "))


def style_sentence(state: State) -> str:
    """An instruction for the model on its tone, after the strongest emotion; "" where none reaches 0.15."""
    strongest = dominant(state)
    if strongest is None or strongest[1] < _FAINT:
        return ""
    name, intensity = strongest
    degree = next(word for bound, word in _DEGREES if intensity < bound)
    return f"Let the tone of your answer be {degree}{_STYLES[name]}."


# ---- parts


def _canonical(parameters: Mapping[str, Any] | None) -> Settings:
    """The parameters with those known here checked and under one name each; None counts as not given."""
    found: Settings = {}
    for name, value in _mapping(parameters).items():
        parameter = _SPELLINGS.get(name)
        target = name if parameter is None else parameter.name
        if target in found:
            raise ParameterError(f"'{name}' is given twice, under two of its names.")
        if value is not None:
            found[target] = value if parameter is None else checked(parameter, name, value)
    if found.get("max_new_tokens") == 0:
        raise ParameterError("'max_tokens' must be at least 1, or -1 for as many as fit.")
    return found


def _mapping(parameters: object) -> Mapping[str, Any]:
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise ParameterError("The parameters must be a mapping of names to values.")
    for name in parameters:
        if not isinstance(name, str):
            raise ParameterError(unknown(name, _SPELLINGS))
    return parameters


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    # Sums such as 0.7 + 0.18 + 0.06 are meant to the digit in which people write them.
    return round(min(max(value, bounds[0]), bounds[1]), 12)


def _moved(value: float, change: float, bounds: tuple[float, float]) -> float:
    """`value` changed, but not beyond the bounds; a value beyond them already is not moved further out, nor back in."""
    low, high = min(bounds[0], value), max(bounds[1], value)
    return min(max(value + change, low), high)
