"""The documented rule, and the one through valence and arousal: exact cases, bounds, monotony, neutrality."""

import math

import pytest
from hypothesis import given
from hypothesis import settings as fixed
from hypothesis import strategies as st

from consciousness.emotions import COORDINATES, EMOTIONS
from consciousness.express import DEFAULTS, Expression, adjusted, expression, merged, shaped, style_sentence
from consciousness.heuristics import (
    length_based_on_complexity,
    mood_to_temperature,
    topic_creativity_boost,
    topic_requires_creativity,
)

FIXED = fixed(derandomize=True, deadline=None, max_examples=200)
INTENSITIES = st.floats(0, 1)
STATES = st.dictionaries(st.sampled_from([*EMOTIONS, "creativity"]), INTENSITIES)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.01, 3),
        "top_p": st.floats(0.01, 1),
        "repetition_penalty": st.floats(0.5, 2),
        "max_tokens": st.integers(1, 10_000),
        "creativity_boost": st.floats(-1, 1),
        "seed": st.integers(),
    },
)


# ---- the documented rule


def test_the_worked_example():
    settings = merged({"temperature": 0.7, "max_tokens": 500, "creativity_boost": 0.3}, {"joy": 0.8, "excitement": 0.6})
    assert settings == {
        "max_new_tokens": 500, "temperature": 0.94, "top_p": 0.93, "top_k": 40, "repetition_penalty": 1.1,
        "do_sample": True,
    }  # fmt: skip


def test_the_defaults_hold_where_nothing_is_said():
    assert merged(None, {}) == {**DEFAULTS, "do_sample": True}


@pytest.mark.parametrize(
    ("parameters", "state", "temperature", "top_p"),
    [
        ({"creativity_boost": 1.0}, {}, 0.9, 0.9),  # without a state the boost does nothing
        ({"creativity_boost": 1.0}, {"joy": 0.0}, 1.1, 1.0),
        ({"creativity_boost": -1.0}, {"joy": 0.5}, 0.9, 0.9),
        ({}, {"calm": 1.0}, 0.7, 0.9),
        ({}, {"calm": 0.5, "excitement": 0.5}, 0.95, 0.9),
        ({}, dict.fromkeys(("joy", "sadness", "anger", "fear", "contemplation", "love", "creativity"), 1.0), 0.9, 0.9),
        ({"temperature": 1.9}, {"excitement": 1.0}, 2.0, 0.9),
        ({"temperature": 0.1}, {"calm": 1.0}, 0.1, 0.9),
        ({"top_p": 0.05}, {"joy": 0.1}, 0.9, 0.1),
        ({"temperature": 0}, {"joy": 0.1}, 0.1, 0.9),
    ],
)
def test_the_documented_rule(parameters, state, temperature, top_p):
    settings = merged(parameters, state)
    assert (settings["temperature"], settings["top_p"]) == (temperature, top_p)


def test_the_likeliest_answer_is_the_models_own_without_a_state():
    assert merged({"temperature": 0}, {}) == {"temperature": 0, "max_new_tokens": 512}
    assert merged({"temperature": 0.0, "repeat_penalty": 1.2}, {}) == {
        "temperature": 0, "max_new_tokens": 512, "repetition_penalty": 1.2
    }  # fmt: skip


@FIXED
@given(PARAMETERS, STATES.filter(bool))
def test_the_documented_rule_stays_within_its_bounds(parameters, state):
    settings = merged(parameters, state)
    assert 0.1 <= settings["temperature"] <= 2.0
    assert 0.1 <= settings["top_p"] <= 1.0
    assert settings["do_sample"] is True


@pytest.mark.parametrize("rule", [merged, shaped, adjusted])
@pytest.mark.parametrize(
    "wrong",
    [{"temperature": math.nan}, {"temperature": -1}, {"temperature": "hot"}, {"top_p": 1.5}, {"max_tokens": 0},
     {"max_tokens": 1.5}, {"max_tokens": 5, "max_new_tokens": 5}, {"creativity_boost": math.inf}, {"stop": 5},
     {5: 5}, [("temperature", 1)]],
)  # fmt: skip
def test_wrong_parameters_are_refused(rule, wrong):
    with pytest.raises(ValueError, match=r"must be|given twice|no parameter"):
        rule(wrong, {"joy": 0.5})


@pytest.mark.parametrize("rule", [merged, shaped, adjusted])
def test_wrong_states_are_refused(rule):
    with pytest.raises(ValueError, match="from 0 to 1"):
        rule({}, {"joy": math.nan})


def test_other_spellings_and_parameters():
    settings = merged({"num_predict": 7, "repeat_penalty": 1.3, "stopping_strings": "\n", "seed": 1, "top_k": None}, {})
    assert settings == {
        **DEFAULTS, "max_new_tokens": 7, "repetition_penalty": 1.3, "stop": ["\n"], "seed": 1, "do_sample": True
    }  # fmt: skip


def test_a_backend_of_ones_own_gets_what_was_written():
    written = {"temperature": 0.5, "max_tokens": 5, "mine": object(), "creativity_boost": 0.1}
    assert adjusted(written, {}) == {name: value for name, value in written.items() if name != "creativity_boost"}
    assert adjusted(written, {"excitement": 1.0}) == {
        "temperature": 0.82, "top_p": 0.91, "max_tokens": 5, "mine": written["mine"]
    }  # fmt: skip


# ---- the rule of valence and arousal


@FIXED
@given(PARAMETERS)
def test_neutral_changes_nothing(parameters):
    parameters.pop("creativity_boost", None)
    expected = {("max_new_tokens" if name == "max_tokens" else name): value for name, value in parameters.items()}
    assert shaped(parameters, {}) == expected
    assert shaped(parameters, dict.fromkeys(EMOTIONS, 0.0)) == expected
    assert expression({}) == Expression()


@FIXED
@given(PARAMETERS, STATES)
def test_what_is_shaped_stays_within_bounds(parameters, state):
    settings = shaped(parameters, state)
    for name, low, high in (("temperature", 0.1, 2.0), ("top_p", 0.1, 1.0), ("repetition_penalty", 1.0, 1.5)):
        if name in settings:
            # One who asks for what lies beyond the bounds gets that, but affect leads nobody further out.
            given_value = parameters.get(name, low)
            assert min(low, given_value) <= settings[name] <= max(high, given_value)
    if "max_new_tokens" in settings:
        assert settings["max_new_tokens"] >= 1
        assert settings["max_new_tokens"] <= math.ceil(parameters.get("max_tokens", 512) * 2**0.4) + 1


@FIXED
@given(STATES, st.sampled_from(EMOTIONS), INTENSITIES, INTENSITIES)
def test_each_number_moves_one_way_as_an_emotion_grows(state, emotion, one, other):
    low, high = sorted((one, other))
    less, more = expression({**state, emotion: low}), expression({**state, emotion: high})
    valence, arousal = COORDINATES[emotion]
    for name, side in (
        ("temperature", arousal), ("top_p", valence), ("repetition_penalty", valence), ("length", valence)
    ):  # fmt: skip
        before, after = getattr(less, name), getattr(more, name)
        assert after >= before if side > 0 else after <= before


@FIXED
@given(STATES)
def test_the_order_of_emotions_does_not_matter(state):
    assert expression(state) == expression(dict(reversed(state.items())))


@FIXED
@given(STATES, st.floats(0.0001, 0.01))
def test_a_little_more_of_an_emotion_changes_little(state, more):
    for emotion in EMOTIONS:
        nudged = {**state, emotion: min(state.get(emotion, 0.0) + more, 1.0)}
        assert abs(expression(nudged).temperature - expression(state).temperature) <= 0.31 * more + 1e-12


def test_excitement_warms_as_the_documented_rule_has_it():
    assert shaped({"temperature": 0.7}, {"excitement": 1.0})["temperature"] == pytest.approx(1.0)
    assert shaped({"temperature": 0.7}, {"calm": 1.0})["temperature"] == pytest.approx(0.516)


def test_what_has_no_size_keeps_none():
    state = {"excitement": 1.0}
    settings = shaped({"temperature": 0, "max_tokens": -1}, state)
    assert settings["temperature"] == 0
    assert settings["max_new_tokens"] == -1
    assert "top_p" not in settings


def test_a_models_own_defaults_are_the_base():
    settings = shaped({}, {"excitement": 1.0}, base={"temperature": 0.6, "max_tokens": 100})
    assert settings["temperature"] == pytest.approx(0.9)
    assert settings["max_new_tokens"] == round(100 * 2 ** (0.4 * 0.62))


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_each_emotion_has_a_style(emotion):
    sentences = [style_sentence({emotion: intensity}) for intensity in (0.0, 0.14, 0.2, 0.5, 0.9)]
    assert sentences[:2] == ["", ""]
    assert len(set(sentences[2:])) == 3
    assert sentences[2].startswith("Let the tone of your answer be slightly ")
    assert sentences[3].count(".") == 1


# ---- the older rule and the hints


def test_moods():
    assert mood_to_temperature() == mood_to_temperature({}) == 0.9
    assert mood_to_temperature("calm") < 0.9 < mood_to_temperature("joy") < mood_to_temperature("excitement") == 1.2
    assert mood_to_temperature({"excitement": 0.5}) == pytest.approx(1.05)
    with pytest.raises(ValueError, match="Did you mean 'anger'"):
        mood_to_temperature("angr")


def test_topics():
    assert topic_requires_creativity() is False
    assert topic_requires_creativity("Write a poem about rain")
    assert not topic_requires_creativity("Prove that 2 is prime")
    assert topic_creativity_boost("a story") == 0.3
    assert topic_creativity_boost("debug this SQL") == 0.0
    assert topic_creativity_boost("the weather in Rome") == topic_creativity_boost() == 0.1
    for helper in (topic_requires_creativity, topic_creativity_boost, length_based_on_complexity):
        with pytest.raises(ValueError, match="must be text"):
            helper(5)


@FIXED
@given(st.text())
def test_lengths_stay_within_bounds(topic):
    assert 128 <= length_based_on_complexity(topic) <= 2048


def test_lengths_grow_with_what_is_asked():
    assert length_based_on_complexity("capital of France") == 128
    assert length_based_on_complexity() == 256
    assert length_based_on_complexity("compare and explain the history of two long wars") > 512
