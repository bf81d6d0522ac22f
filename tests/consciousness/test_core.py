"""The manager, the router, the conversation's state, memory, and the generator that remembers."""

import math

import pytest

from ai_core import AIUtils, EnhancedConsciousness, ModelManager, ModelRouter
from consciousness.appraisal import LexiconAppraiser
from llamaforge.exceptions import ConfigError, LlamaForgeError, ModelNotFoundError
from text_generation import (
    ConsciousnessGenerationError,
    ConsciousnessLevel,
    ConsciousnessTextGenerator,
    ConsciousnessTextRequest,
    EmotionalState,
    MemoryFragment,
    MemoryManager,
    TextGenerationBackend,
)

# ---- models


def test_models_in_memory(tiny_gguf):
    manager = ModelManager()
    model = manager.load_model("one", tiny_gguf, "llamacpp", n_threads=1)
    assert (model.name, manager.list_models()) == ("one", ["one"])
    assert manager.load_model("one", tiny_gguf, n_threads=1).path == model.path
    manager.load_model("two", tiny_gguf, n_threads=1, n_ctx=256)
    assert manager.get_total_memory_usage() > manager.get_model_metrics("two")["memory"] > 0
    manager.update_model_parameters("two", {"n_ctx": 512})
    assert manager.get_model_metrics("two")["details"]["n_ctx"] == 512
    assert manager.unload_least_used_model() == "one"
    assert manager.get_model("one") is None
    assert manager.unload_model("two") is True
    assert manager.unload_model("two") is False
    assert manager.unload_least_used_model() is None
    assert manager.get_total_memory_usage() == 0


def test_a_model_that_cannot_be_loaded_is_not_noted(tiny_gguf, tmp_path):
    manager = ModelManager()
    with pytest.raises(LlamaForgeError):
        manager.load_model("one", tmp_path / "missing.gguf")
    with pytest.raises(ModelNotFoundError):
        manager.get_model_metrics("one")
    manager.load_model("one", tiny_gguf, n_threads=1)
    with pytest.raises(LlamaForgeError):
        manager.load_model("one", tmp_path / "missing.gguf")
    assert manager.get_model_metrics("one")["path"] == str(tiny_gguf)
    with pytest.raises(LlamaForgeError):
        manager.load_model("three", tiny_gguf, "exllama")
    with pytest.raises(ModelNotFoundError):
        manager.update_model_parameters("four", {})
    manager.close()


# ---- the router

MODELS = [
    "plain",
    {"id": "coder", "capabilities": ["code", "math"], "context_length": 10},
    {"id": "poet", "capabilities": ["creative"]},
]


@pytest.mark.parametrize(
    ("query", "chosen", "confidence"),
    [
        ("hello", "plain", 1.0),
        ("debug this Python", "coder", 1.0),
        ("write a poem", "poet", 1.0),
        ("write a poem about Python code", "coder", 0.5),
        ("code " * 20, "plain", 0.0),  # the coder's context is too short
        ("", "plain", 1.0),
    ],
)
def test_routing(query, chosen, confidence):
    routed = ModelRouter().route_query(query, {}, MODELS)
    assert (routed["model_id"], routed["confidence"]) == (chosen, confidence)


def test_the_routers_edges():
    router = ModelRouter()
    assert router.route_query("hi") == {"model_id": None, "confidence": 0.0, "metadata": {"needs": [], "scores": {}}}
    seeing = {"id": "eye", "capabilities": ["vision"]}
    assert router.route_query("what is this", {"images": [1]}, ["blind", seeing])["model_id"] == "eye"
    assert router.route_query("x" * 999, {}, [{"id": "short", "context_length": 1}])["model_id"] == "short"
    assert router.get_router_status() == {"queries": 2, "models": {"eye": 1, "short": 1}}
    for wrong in (5, {"name": "x"}, None):
        with pytest.raises(ValueError, match="must be an id"):
            router.route_query("hi", {}, [wrong])
    with pytest.raises(ValueError, match="must be text"):
        router.route_query(None)


# ---- the conversation's state


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


# ---- utilities


def test_utilities(tmp_path):
    assert AIUtils.format_error_response("no") == {
        "error": True, "error_message": "no", "error_type": "processing_error", "context": {}
    }  # fmt: skip
    assert AIUtils.format_error_response("no", "timeout", {"a": 1})["error_type"] == "timeout"
    assert AIUtils.validate_model_config({"id": "a", "name": "b", "type": "c"})
    for wrong in (
        {},
        {"id": "a", "name": "b"},
        {"id": "a", "name": " ", "type": "c"},
        {"id": 1, "name": "b", "type": "c"},
        None,
    ):
        assert not AIUtils.validate_model_config(wrong)
    path = tmp_path / "model.json"
    AIUtils.save_model_metadata(path, {"name": "é"})
    assert AIUtils.load_model_metadata(path) == {"name": "é"}
    for wrong in ({"a": object()}, {"a": math.nan}):
        with pytest.raises(ConfigError, match="can't be written"):
            AIUtils.save_model_metadata(path, wrong)
    assert AIUtils.load_model_metadata(path) == {"name": "é"}
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            AIUtils.load_model_metadata(path)
    with pytest.raises(FileNotFoundError):
        AIUtils.load_model_metadata(tmp_path / "none.json")


# ---- memory


def test_memories_are_found_by_their_words():
    memory = MemoryManager()
    memory.add(MemoryFragment("the cat sat on the mat", importance_score=0.2))
    memory.add(MemoryFragment("a cat and a dog", importance_score=0.9))
    memory.add(MemoryFragment("nothing of that"))
    assert [f.content for f in memory.retrieve("Cat?")] == ["a cat and a dog", "the cat sat on the mat"]
    assert memory.retrieve("") == memory.retrieve("?!") == memory.retrieve("zebra") == []
    assert memory.retrieve("cat", limit=1)[0].access_count == 2


def test_the_least_worth_is_forgotten():
    memory = MemoryManager(10)
    for number in range(10):
        memory.add(MemoryFragment(f"word {number}", id=str(number), importance_score=number / 10))
    for _ in range(2):
        memory.retrieve("0")
    memory.add(MemoryFragment("word new"))
    assert len(memory) == 10
    assert memory.retrieve("word 1", 20)
    assert {f.content for f in memory.retrieve("word", 20)} == {
        "word 0",
        *(f"word {n}" for n in range(2, 10)),
        "word new",
    }
    memory.add(MemoryFragment("again", id="9"))
    assert len(memory) == 10
    for wrong in (0, math.nan, "many"):
        with pytest.raises(ValueError, match="at least one"):
            MemoryManager(wrong)


# ---- the generator that remembers


class Answering(TextGenerationBackend):
    def __init__(self, answer="A wonderful, curious answer."):
        self.answer = answer
        self.asked = []

    async def generate(self, prompt, model=None, **kwargs):  # noqa: ARG002
        self.asked.append((prompt, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_conscious_response():
    backend = Answering()
    generator = ConsciousnessTextGenerator(backend, appraiser=LexiconAppraiser())
    request = ConsciousnessTextRequest(
        "Tell me of cats", {"joy": 1.0}, persona_profile={"traits": "curious exact"}, max_tokens=9
    )
    response = await generator.generate_conscious_response(request)
    ((prompt, parameters),) = backend.asked
    assert prompt == (
        "Persona: traits: curious exact.\nLet the tone of your answer be markedly cheerful and light.\n"
        "Human: Tell me of cats\nAI Assistant:"
    )
    # joy's target 1.1 and 0.95, then the boost 0.2 + 0.2 * 0.8 by the documented rule
    assert parameters == {"max_tokens": 9, "temperature": pytest.approx(1.172), "top_p": pytest.approx(0.986)}
    assert response.text == backend.answer
    assert response.persona_influence == 0.5
    assert response.creativity_measurement == 1.0
    assert response.emotional_resonance
    assert 0 < response.consciousness_metadata["emotional_coherence"] < 1
    assert response.consciousness_metadata["consciousness_level"] == "enhanced"
    assert generator.get_current_state()["emotional_state"] == {"joy": 1.0}
    await generator.generate_conscious_response(ConsciousnessTextRequest("More of cats", temperature_override=0.3))
    assert "Earlier: Tell me of cats A wonderful" in backend.asked[1][0]
    assert backend.asked[1][1]["temperature"] == 0.3
    assert len(await generator.search_memories("cats")) == 2


async def test_an_empty_state_an_empty_prompt_and_an_empty_answer():
    generator = ConsciousnessTextGenerator(Answering(" "))
    response = await generator.generate_conscious_response(ConsciousnessTextRequest(""))
    assert response.emotional_resonance == {}
    assert response.consciousness_metadata["emotional_coherence"] is None
    assert (response.persona_influence, response.creativity_measurement) == (None, None)


@pytest.mark.parametrize(
    ("answer", "request_", "sentence"),
    [
        (ConnectionError("gone"), {}, "gone"),
        (RuntimeError("broken"), {}, "broken"),
        ("fine", {"emotional_state": {"joy": 2}}, "from 0 to 1"),
        ("fine", {"creativity_factor": math.nan}, "creativity_factor"),
        ("fine", {"max_tokens": 0, "emotional_state": {"joy": 1.0}}, "max_tokens"),
        ("fine", {"temperature_override": -1, "emotional_state": {"joy": 1.0}}, "temperature"),
    ],
)
async def test_what_fails_is_not_remembered(answer, request_, sentence):
    generator = ConsciousnessTextGenerator(Answering(answer))
    with pytest.raises(ConsciousnessGenerationError, match=sentence) as caught:
        await generator.generate_conscious_response(ConsciousnessTextRequest("hi", **request_))
    assert caught.value.__cause__ is not None
    assert generator.get_current_state()["memories"] == 0


def test_names():
    assert [level.value for level in ConsciousnessLevel] == ["basic", "enhanced", "deep", "transcendent"]
    assert EmotionalState("love") is EmotionalState.LOVE
    assert len(EmotionalState) == 8
