"""States over time: bounds, decay, order, reactions, personas."""

import math

import pytest
from hypothesis import given
from hypothesis import settings as fixed
from hypothesis import strategies as st

from consciousness.affect import (
    EMPATHY,
    MIRROR,
    PERSONAS,
    AffectState,
    Persona,
    after_message,
    at_rest,
    decayed,
    felt,
    persona_named,
    reacted,
)
from consciousness.emotions import COORDINATES, EMOTIONS, checked_state, core_affect, emotions_at

FIXED = fixed(derandomize=True, deadline=None, max_examples=200)
INTENSITIES = st.floats(0, 1)
STATES = st.dictionaries(st.sampled_from(EMOTIONS), INTENSITIES)
PERSONA = st.sampled_from(list(PERSONAS.values()))
SECONDS = st.floats(0, 1e9)


def test_there_are_eight_emotions_with_a_place_each():
    assert len(EMOTIONS) == 8
    assert set(COORDINATES) == set(EMOTIONS) == set(MIRROR) == set(EMPATHY)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"joi": 0.5}, "There is no emotion 'joi'. Did you mean 'joy'?"),
        ({1: 0.5}, "There is no emotion '1'"),
        ({"joy": 1.01}, "must be a number from 0 to 1, not 1.01"),
        ({"joy": -0.1}, "not -0.1"),
        ({"joy": math.nan}, "not nan"),
        ({"joy": math.inf}, "not inf"),
        ({"joy": "much"}, "not 'much'"),
        ({"joy": True}, "not True"),
        ({"joy": None}, "not None"),
        (["joy"], "must be a mapping"),
        (None, "must be a mapping"),
    ],
)
def test_a_wrong_state_is_refused(state, sentence):
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        checked_state(state)


def test_creativity_is_accepted_though_it_is_no_emotion():
    assert checked_state({"creativity": 0.8}) == {"creativity": 0.8}
    assert core_affect({"creativity": 0.8}) == (0.0, 0.0)


@FIXED
@given(STATES)
def test_core_affect_stays_within_bounds_and_forgets_the_order(state):
    valence, arousal = core_affect(state)
    assert -1 <= valence <= 1
    assert -1 <= arousal <= 1
    assert core_affect(dict(reversed(state.items()))) == (valence, arousal)


@FIXED
@given(STATES, st.sampled_from(EMOTIONS), INTENSITIES, INTENSITIES)
def test_more_of_an_emotion_moves_to_its_own_side(state, emotion, one, other):
    low, high = sorted((one, other))
    before, after = core_affect({**state, emotion: low}), core_affect({**state, emotion: high})
    for less, more, side in zip(before, after, COORDINATES[emotion], strict=True):
        assert more >= less if side > 0 else more <= less


@FIXED
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_emotions_at_a_point_are_a_state(valence, arousal):
    state = emotions_at(valence, arousal)
    assert checked_state(state) == state
    assert len(state) <= 2
    found = core_affect(state)
    if max(state.values(), default=0.0) < 1.0:
        assert found == pytest.approx((valence, arousal), abs=1e-9)
    else:  # as far as emotions go, in the same direction
        assert valence * found[1] == pytest.approx(arousal * found[0], abs=1e-9)
        assert math.hypot(*found) <= math.hypot(valence, arousal) + 1e-9


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_is_found_at_its_own_place(emotion):
    assert emotions_at(*COORDINATES[emotion]) == pytest.approx({emotion: 1.0})


def test_there_is_nothing_at_the_origin():
    assert emotions_at(0, 0) == {}
    for point in ((math.nan, 0), (0, 1.1), ("0", 0)):
        with pytest.raises(ValueError, match="from -1 to 1"):
            emotions_at(*point)


@FIXED
@given(STATES, PERSONA, SECONDS, SECONDS)
def test_decay_goes_to_the_baseline_and_never_beyond(state, persona, at, elapsed):
    before = AffectState(state, at)
    after = decayed(before, at + elapsed, persona)
    for emotion in EMOTIONS:
        rest, was, is_ = (s.get(emotion, 0.0) for s in (persona.baseline, before.emotions, after.emotions))
        assert min(rest, was) - 1e-12 <= is_ <= max(rest, was) + 1e-12


@FIXED
@given(STATES, PERSONA)
def test_half_is_left_after_a_half_life(state, persona):
    after = decayed(AffectState(state, 100.0), 100.0 + persona.half_life, persona)
    for emotion in EMOTIONS:
        rest = persona.baseline.get(emotion, 0.0)
        assert after.emotions.get(emotion, 0.0) - rest == pytest.approx((state.get(emotion, 0.0) - rest) / 2)


@FIXED
@given(STATES, PERSONA, st.floats(0, 1e6), st.floats(0, 1e6))
def test_to_decay_twice_is_to_decay_once(state, persona, first, second):
    start = AffectState(state)
    twice = decayed(decayed(start, first, persona), first + second, persona)
    once = decayed(start, first + second, persona)
    assert twice.emotions == pytest.approx(dict(once.emotions), abs=1e-9)


@FIXED
@given(STATES, PERSONA)
def test_a_clock_that_goes_back_changes_nothing(state, persona):
    after = decayed(AffectState(state, 50.0), 20.0, persona)
    assert after.at == 20.0
    assert {name: value for name, value in after.emotions.items() if value} == pytest.approx(
        {name: value for name, value in state.items() if value}
    )


@FIXED
@given(STATES, PERSONA)
def test_a_persona_rests_where_it_is(state, persona):
    assert decayed(at_rest(persona, 0.0), 1e9, persona).emotions == pytest.approx(dict(persona.baseline))
    far = decayed(AffectState(state), 1e9, persona)
    assert {n: v for n, v in far.emotions.items() if v} == pytest.approx(dict(persona.baseline))


@FIXED
@given(STATES, STATES, STATES, INTENSITIES)
def test_what_happens_at_one_moment_has_no_order(state, one, other, gain):
    start = AffectState(state)
    assert felt(felt(start, one, gain), other, gain).emotions == pytest.approx(
        dict(felt(felt(start, other, gain), one, gain).emotions)
    )


@FIXED
@given(STATES, STATES, INTENSITIES)
def test_feeling_only_adds_and_nothing_felt_changes_nothing(state, emotions, gain):
    start = AffectState(state)
    after = felt(start, emotions, gain)
    assert all(after.emotions.get(name, 0.0) >= start.emotions.get(name, 0.0) for name in EMOTIONS)
    assert felt(start, {}, gain) == start
    assert felt(start, emotions, 0.0).emotions == {**dict.fromkeys(emotions, 0.0), **state}


@FIXED
@given(STATES, STATES, PERSONA, SECONDS)
def test_a_message_leaves_a_state(state, emotions, persona, elapsed):
    after = after_message(AffectState(state), emotions, elapsed, persona)
    assert checked_state(after.emotions) == dict(after.emotions)
    assert AffectState.from_dict(after.to_dict()) == after


def test_anger_is_met_with_calm_unless_mirrored():
    assert reacted({"anger": 1.0}, EMPATHY) == {"calm": 0.7}
    assert reacted({"anger": 1.0}, MIRROR) == {"anger": 1.0}
    assert reacted({"anger": 1.0, "fear": 1.0, "calm": 1.0}, EMPATHY)["calm"] == 1.0
    assert reacted({"joy": 0.4}, EMPATHY) == {"joy": 0.4}


def test_personas_by_name():
    assert persona_named("warm").baseline == {"love": 0.3, "joy": 0.2}
    with pytest.raises(ValueError, match="Did you mean 'reflective'"):
        persona_named("reflectiv")


@pytest.mark.parametrize(
    "wrong",
    [{"half_life": 0}, {"half_life": math.nan}, {"half_life": "1"}, {"gain": 2}, {"baseline": {"joy": 3}},
     {"reaction": {"joy": {"hunger": 1.0}}}, {"reaction": {"hunger": {}}}],
)  # fmt: skip
def test_a_wrong_persona_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|There is no emotion"):
        Persona("mine", **wrong)


@pytest.mark.parametrize("stored", [{"emotions": {"joy": 2}}, {"at": "now"}, {"mood": {}}, {"at": math.nan}, 7, None])
def test_a_wrong_stored_state_is_refused(stored):
    with pytest.raises(ValueError, match=r"must be"):
        AffectState.from_dict(stored)


def test_a_state_cannot_be_changed_in_place():
    state = AffectState({"joy": 0.5})
    with pytest.raises(TypeError):
        state.emotions["joy"] = 5
