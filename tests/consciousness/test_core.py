"""A conversation's state: what it feels, forgets, and how many are kept."""

import pytest

from ai_core import EnhancedConsciousness
from text_generation import EmotionalState


async def test_a_conversation_feels_and_forgets():
    mind = EnhancedConsciousness()
    happy = await mind.process_input("I love this, it is wonderful!", {"conversation_id": "a"}, now=0.0)
    assert happy["text"] == "I love this, it is wonderful!"
    metadata = happy["metadata"]
    assert metadata["consciousness_system"] == "affect"
    assert metadata["state"]["valence"] > 0.3
    assert metadata["expression"]["temperature"] > 0
    assert metadata["expression"]["style"].startswith("Let the tone")
    other = await mind.process_input("The bus leaves at nine.", {"conversation_id": "b"}, now=1.0)
    assert other["metadata"]["state"]["valence"] == 0
    later = await mind.process_input("The bus leaves at nine.", {"conversation_id": "a"}, now=6000.0)
    assert 0 < later["metadata"]["state"]["valence"] < 0.01
    assert mind.state_of("a").at == 6000.0


async def test_an_angry_message_calms():
    mind = EnhancedConsciousness("calm")
    met = await mind.process_input("I HATE this, it is terrible!!!", now=0.0)
    assert met["metadata"]["message"]["valence"] < 0
    assert met["metadata"]["expression"]["temperature"] < 0
    with pytest.raises(ValueError, match="persona"):
        EnhancedConsciousness("grumpy")
    with pytest.raises(ValueError, match="must be text"):
        await mind.process_input(None)


async def test_conversations_are_bounded(monkeypatch):
    from consciousness import enhanced

    monkeypatch.setattr(enhanced, "_MOST_CONVERSATIONS", 2)
    mind = EnhancedConsciousness()
    for name in ("a", "b", "a", "c"):
        await mind.process_input("wonderful", {"conversation_id": name}, now=0.0)
    assert list(mind._states) == ["a", "c"]


def test_names():
    assert EmotionalState("love") is EmotionalState.LOVE
    assert len(EmotionalState) == 8
