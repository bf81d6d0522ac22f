"""The examples of the backends reference run as they are published; paths, names of models and addresses are ours."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_cache import cache_model
from tests.support.tiny_gguf import HELLO
from tests.support.webui import WebUI

pytestmark = pytest.mark.xdist_group("transformers")

BLOCKS = re.findall(
    r"^## (.+?)\n\n```python\n(.*?)^```$",
    (Path(__file__).parent / "seed_blocks.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


async def run(number: int, replacing: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """Runs one block within a coroutine, since they await; returns the names it has bound."""
    heading, code = BLOCKS[number]
    for old, new in (replacing or {}).items():
        assert old in code
        code = code.replace(old, new)
    wrapped = f"async def block({', '.join(given)}):\n{textwrap.indent(code, '    ')}\n    return dict(locals())\n"
    names: dict[str, Any] = {}
    exec(compile(wrapped, f"block {number}: {heading}", "exec"), names)
    bound: dict[str, Any] = await names["block"](**given)
    return bound


@pytest.fixture
def gpt2(tmp_path, monkeypatch, tiny_transformers):
    """A model of this name in the cache of the hub, and no network."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cache_model(tmp_path / "hf" / "hub", "gpt2", tiny_transformers)


def test_all_blocks_are_here():
    assert [heading for heading, _ in BLOCKS] == [
        "TextGenerationBackend",
        "Oobabooga Backend",
        "Llama.cpp Backend",
        "Transformers Backend",
        "Backend Factory",
        "Integration with AI Core",
        "Custom Backend Integration",
        "Error Handling",
        "Streaming Support",
        "Consciousness Integration",
    ]


async def test_a_backend_of_ones_own():
    backend = (await run(0))["MyCustomBackend"]()
    assert await backend.generate("hi") is None


async def test_oobabooga(monkeypatch, webui: WebUI):
    monkeypatch.setenv("OOBABOOGA_BASE_URL", webui.url)
    names = await run(1)
    assert names["response"] == "llama2 on Tell me about consciousness"
    (body,) = webui.received
    # The worked example: 0.7 + 0.3 * 0.6 + 0.2 * 0.3, and 0.9 + 0.1 * 0.3.
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.94, 0.93, 500)
    assert (body["top_k"], body["repetition_penalty"], body["do_sample"]) == (40, 1.1, True)
    assert webui.loads == [{"model_name": "llama2"}]


async def test_llama_cpp(tiny_gguf):
    names = await run(2, {'"/path/to/model.bin"': f'"{tiny_gguf}", n_threads=1'})
    assert names["response"] == HELLO
    names["backend"].close()


async def test_transformers(tiny_transformers):
    names = await run(3, {"gpt2": str(tiny_transformers)})
    assert names["response"] == HELLO
    names["backend"].close()


async def test_transformers_by_its_own_name(gpt2):
    names = await run(3)
    assert names["response"] == HELLO
    assert names["backend"].model_name == "gpt2"
    names["backend"].close()


async def test_the_factory(tiny_gguf):
    from backends import OobaboogaBackend

    backend = (await run(4))["backend"]
    assert isinstance(backend, OobaboogaBackend)
    assert backend.model_name == "gpt-j-6b"


async def test_the_generator(monkeypatch, tiny_gguf):
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tiny_gguf.parent))
    names = await run(5, {"gpt2": tiny_gguf.name})
    assert names["response"] == HELLO
    assert names["response"].source == "local"
    names["generator"]._forge.close()


async def test_the_generator_by_its_own_name(gpt2):
    names = await run(5)
    assert names["response"] == HELLO
    assert (names["response"].source, names["response"].model_id) == ("local", "gpt2")
    names["generator"]._forge.close()


async def test_a_registered_backend():
    names = await run(6)
    assert names["response"] == "Custom response to: Hello, custom backend!"


@pytest.mark.parametrize(
    ("pause", "stopped", "answer"),
    [
        (0.0, False, "None on hello"),
        (0.0, True, "Sorry, I couldn't connect to the model server."),
        (5.0, False, "The model took too long to respond."),
    ],
)
async def test_errors(webui: WebUI, pause, stopped, answer):
    from backends import OobaboogaBackend

    webui.pause = pause
    url = "http://127.0.0.1:9" if stopped else webui.url
    backend = OobaboogaBackend(base_url=url, timeout=0.2 if pause else 30)
    names = await run(7, backend=backend, prompt="hello", parameters={}, response=None)
    assert names["response"] == answer


async def test_errors_of_another_kind(tmp_path):
    from backends import LlamaCppConsciousnessBackend

    backend = LlamaCppConsciousnessBackend(tmp_path / "missing.gguf")
    names = await run(7, backend=backend, prompt="hello", parameters={}, response=None)
    assert names["response"].startswith("An error occurred: ")
    assert "missing.gguf" in names["response"]


async def test_streaming(webui: WebUI, capsys):
    from backends import OobaboogaBackend

    await run(8, backend=OobaboogaBackend(base_url=webui.url), prompt="one two", parameters={})
    assert capsys.readouterr().out == "None on one two "


async def test_the_state_of_a_conversation(webui: WebUI):
    import ai_core
    from backends import OobaboogaBackend

    backend = OobaboogaBackend(base_url=webui.url)
    names = await run(
        9,
        backend=backend,
        user_sentiment={"joy": 0.7},
        conversation_context={},
        topic="a story about a lighthouse",
        user_mood="calm",
        enhanced_prompt="Tell it.",
        **{
            name: getattr(ai_core, name)
            for name in (
                "topic_requires_creativity",
                "mood_to_temperature",
                "topic_creativity_boost",
                "length_based_on_complexity",
            )
        },
    )
    assert names["response"] == "None on Tell it."
    assert dict(backend.emotional_modifiers) == {"joy": 0.7, "excitement": 0.5, "creativity": 0.5}
    # mood 0.9 - 0.4 * 0.46, then 0.3 * 0.5 of excitement and 0.2 * 0.3 of the boost.
    assert webui.received[0]["temperature"] == pytest.approx(0.716 + 0.15 + 0.06)
    assert webui.received[0]["max_tokens"] == 256 + 5 * 8
