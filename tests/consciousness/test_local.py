"""Backends on real tiny models in this process, the factory, and one's own backends."""

import asyncio
import types

import pytest

from ai_core import ResponseGenerator
from backends import LlamaCppConsciousnessBackend, TransformersConsciousnessBackend, create_consciousness_backend
from llamaforge import LlamaForge
from llamaforge.exceptions import GenerationError, LlamaForgeError
from tests.support.tiny_gguf import HELLO, write_gguf
from tests.support.tiny_transformers import write_model
from text_generation import TextGenerationBackend


@pytest.fixture(params=["llamacpp", "transformers"])
def backend(request):
    path = request.getfixturevalue("tiny_gguf" if request.param == "llamacpp" else "tiny_transformers")
    made = create_consciousness_backend(request.param.upper(), path, n_threads=1)
    yield made
    made.close()


async def test_it_answers_under_a_state(backend):
    assert backend.current_model is None
    backend.update_emotional_parameters({"excitement": 1.0, "joy": 0.3})
    assert await backend.generate_text("hi", {"temperature": 0.2, "max_tokens": 50}) == HELLO
    assert backend.current_model == backend.model_name
    assert backend.supports_streaming()
    pieces = [piece async for piece in backend.generate_stream("hi", {"max_tokens": 50})]
    assert "".join(pieces) == HELLO
    assert len(pieces) > 2
    assert await backend.generate("hi", max_tokens=1, temperature=0) == "Hello"


async def test_it_is_loaded_once_and_the_loop_goes_on(backend):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    answers = await asyncio.gather(*(backend.generate_text("hi") for _ in range(3)))
    ticking.cancel()
    assert answers == [HELLO] * 3
    assert ticks > 3
    backend.close()
    assert backend.current_model is None
    assert await backend.generate_text("hi") == HELLO


async def test_leaving_a_stream_ends_its_generation(tmp_path):
    from tests.support.tiny_gguf import write_random

    backend = LlamaCppConsciousnessBackend(write_random(tmp_path / "r.gguf", dim=64, layers=1, heads=2), n_threads=1)
    stream = backend.generate_stream("hi", {"max_tokens": 3000, "ignore_eos": True})
    await anext(stream)
    await stream.aclose()
    # One request at a time is computed: this one need not wait for thousands of tokens.
    await asyncio.wait_for(backend.generate_text("hi", {"max_tokens": 1}), 1.0)
    backend.close()


async def test_another_model_is_refused(backend):
    with pytest.raises(ValueError, match="not 'other'"):
        await backend.generate("hi", model="other")
    with pytest.raises(ValueError, match="must be text"):
        await backend.generate_text(5)
    with pytest.raises(ValueError, match=r"no .*parameter 'temperatur'"):
        await backend.generate_text("hi", {"temperatur": 1})


@pytest.mark.parametrize("cls", [LlamaCppConsciousnessBackend, TransformersConsciousnessBackend])
async def test_what_cannot_be_loaded(cls, tmp_path):
    (tmp_path / "text.gguf").write_text("this is no model")
    for path in (tmp_path / "missing.gguf", tmp_path / "text.gguf"):
        backend = cls(path)
        with pytest.raises(LlamaForgeError, match=path.name):
            await backend.generate_text("hi")
        with pytest.raises(LlamaForgeError, match=path.name):
            [piece async for piece in backend.generate_stream("hi")]
        assert backend.current_model is None
    for blank in ("", "  ", None, 5):
        with pytest.raises(ValueError, match="not blank"):
            cls(blank)
    with pytest.raises(ValueError, match="no load parameter 'n_thread'"):
        cls("model", n_thread=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("llamacpp",), "needs a model_path"),
        (("transformers",), "needs a model_path"),
        (("gpt4all", "x"), "Unknown backend type"),
        (("lamacpp", "x"), "Did you mean 'llamacpp'"),
        ((None, "x"), "must be text"),
    ],
)
def test_the_factory_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_consciousness_backend(*arguments)


def test_the_factory_passes_keywords_on():
    backend = create_consciousness_backend("Oobabooga", base_url="http://127.0.0.1:1234/v1")
    assert backend.base_url == "http://127.0.0.1:1234/v1"
    assert backend.model_name is None
    with pytest.raises(TypeError):
        create_consciousness_backend("oobabooga", temperature=1)


# ---- one's own


class Repeating(TextGenerationBackend):
    def __init__(self, answer=None):
        self.answer = answer

    async def generate(self, prompt, model=None, **kwargs):  # noqa: ARG002
        return self.answer or f"{prompt} {sorted(kwargs.items())}"


def test_the_base_class_needs_generate():
    with pytest.raises(TypeError, match="generate"):
        TextGenerationBackend()


async def test_the_defaults_work():
    backend = Repeating()
    assert not backend.supports_streaming()
    assert await backend.generate_text("hi", {"max_tokens": 5}) == "hi [('max_tokens', 5)]"
    backend.update_emotional_parameters({"excitement": 1.0})
    assert await backend.generate_text("hi", {"temperature": 0.5}) == "hi [('temperature', 0.8), ('top_p', 0.9)]"
    assert [piece async for piece in backend.generate_stream("hi")] == ["hi [('temperature', 1.2), ('top_p', 0.9)]"]
    assert dict(Repeating().emotional_modifiers) == {}


async def test_answers_with_a_text():
    assert await Repeating(types.SimpleNamespace(text="yes")).generate_text("hi") == "yes"
    with pytest.raises(GenerationError, match="returned dict instead of text"):
        await Repeating({"text": "no"}).generate_text("hi")


# ---- a model with a chat template is chatted with

WORDS = {"": "It goes on", "\n": "I answer you"}


def by_template(folder, kind, **template):
    write = write_gguf if kind == "llamacpp" else write_model
    return write(folder / "model.gguf", says=WORDS, **template)


@pytest.mark.parametrize("kind", ["llamacpp", "transformers"])
@pytest.mark.parametrize(
    ("template", "raw", "answer"), [({}, False, "\n"), ({}, True, ""), ({"template": None}, False, "")]
)
async def test_a_prompt_is_a_message_where_there_is_a_template(tmp_path, kind, template, raw, answer):
    backend = create_consciousness_backend(kind, by_template(tmp_path, kind, **template), n_threads=1, raw=raw)
    assert await backend.generate_text("Hi") == WORDS[answer]
    assert await backend.generate("Hi") == WORDS[answer]
    assert "".join([piece async for piece in backend.generate_stream("Hi")]) == WORDS[answer]
    backend.close()


async def test_one_question_has_one_answer(tmp_path):
    """The backend, the generator and the forge, at temperature 0."""
    path = by_template(tmp_path, "llamacpp")
    wanted = {"max_tokens": 40, "temperature": 0.0}
    backend = LlamaCppConsciousnessBackend(path, n_threads=1)
    with LlamaForge(":memory:") as forge:
        forge.add_model("model", path, parameters={"n_threads": 1})
        answers = {
            await backend.generate_text("What is it?", wanted),
            await ResponseGenerator(forge=forge).generate_response("What is it?", "model", parameters=wanted),
            forge.generate("What is it?", wanted, model="model"),
        }
    backend.close()
    assert answers == {WORDS["\n"]}
