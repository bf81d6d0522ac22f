"""The examples of the backends reference run as they are published; paths, names of models, keys and the device are ours."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import backends
from tests.support.upstream import Upstream

BLOCKS = re.findall(
    r"^## (.+?)\n\n```python\n(.*?)^```$",
    (Path(__file__).parent / "seed_blocks.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
HELLO = "Hello from the tiny test model."


@pytest.fixture(autouse=True)
def _a_users_machine(monkeypatch, tmp_path):
    """An empty home folder, one thread, and a registry of one's own."""
    monkeypatch.setattr(backends, "_registry", dict(backends._registry))
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def example() -> Iterator[Any]:
    """Runs the blocks of these numbers one after the other; what they leave loaded is unloaded in the end."""
    names: dict[str, Any] = {}

    def run(*numbers: int, replacing: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
        names.update(given)
        for number in numbers:
            code = BLOCKS[number][1]
            for old, new in (replacing or {}).items():
                code = code.replace(old, new)
            exec(compile(code, f"block {number}: {BLOCKS[number][0]}", "exec"), names)
        return names

    yield run
    if "forge" in names:
        names["forge"].close()
    if "backend" in names:
        names["backend"].unload()


def test_all_blocks_are_here():
    assert [heading for heading, _ in BLOCKS] == [
        "BaseBackend Class",
        "Using Backends",
        "Using Backends",
        "Load Model",
        "Generate",
        "Generate Stream",
        "Load Model",
        "Generate",
        "Generate Stream",
        "Load Model",
        "Generate",
        "Generate Stream",
        "Creating Custom Backends",
        "Creating Custom Backends",
        "Creating Custom Backends",
        "Backend Registry",
    ]


def test_the_base_class_has_the_four_methods(example):
    shown = example(0)["BaseBackend"]
    from llamaforge.backends.base import BaseBackend

    assert [name for name in vars(shown) if not name.startswith("_")] == sorted(
        BaseBackend.__abstractmethods__, key=list(vars(shown)).index
    )


def test_a_model_through_the_forge(example, tiny_gguf):
    names = example(1, replacing={"/path/to/llama-2-7b.gguf": str(tiny_gguf)})
    assert names["response"] == HELLO
    assert names["forge"].current_model.name == "llama-2-7b"


def test_a_backend_directly(example, tiny_gguf):
    assert example(2, replacing={"/path/to/llama-2-7b.gguf": str(tiny_gguf)})["response"] == HELLO


def test_llama_cpp(example, tiny_gguf, capsys):
    names = example(3, 4, 5, replacing={"/path/to/llama-2-7b.gguf": str(tiny_gguf)})
    assert names["response"] == HELLO
    assert capsys.readouterr().out == HELLO


def test_huggingface(example, tmp_path, capsys):
    from tests.support.tiny_transformers import HELLO as SAID
    from tests.support.tiny_transformers import write_model

    folder = write_model(tmp_path / "model")
    names = example(6, 7, 8, replacing={"mistralai/Mistral-7B-Instruct-v0.1": str(folder), "cuda": "cpu"})
    assert names["response"] == SAID
    assert capsys.readouterr().out == SAID


def test_openai(example, upstream: Upstream, capsys):
    upstream.answer_when("quantum", "It is about qubits.")
    ours = {"https://api.openai.com/v1": upstream.openai_url, "your-api-key": "sk-mine", "gpt-4": "fixed"}
    names = example(9, 10, 11, replacing=ours)
    assert names["response"] == "It is about qubits."
    assert capsys.readouterr().out == "It is about qubits."
    first, second = upstream.chats
    assert first.model == "fixed"
    assert (first.body["temperature"], first.body["presence_penalty"]) == (0.7, 0.0)
    assert second.body["stream"] is True


def load_your_model(path, custom_param):
    return f"{path}:{custom_param}"


def your_generation_function(model, prompt, **parameters):
    return f"{model} {prompt} {parameters}"


def your_streaming_function(model, prompt, **parameters):
    yield from your_generation_function(model, prompt, **parameters).split(" ")


def test_a_backend_of_ones_own(example):
    theirs = {
        "load_your_model": load_your_model,
        "your_generation_function": your_generation_function,
        "your_streaming_function": your_streaming_function,
    }
    names = example(12, 13, 14, **theirs)
    forge = names["forge"]
    forge.load_model("my-model")
    assert forge.generate("hi", top=1) == "/path/to/my-model:value hi {'top': 1}"
    assert list(forge.generate_stream("hi")) == ["/path/to/my-model:value", "hi", "{}"]
    unloaded = names["MyCustomBackend"]()
    assert not unloaded.is_model_loaded()
    with pytest.raises(RuntimeError, match="No model loaded"):
        unloaded.generate("hi")
    with pytest.raises(RuntimeError, match="No model loaded"):
        next(unloaded.generate_stream("hi"))

    names = example(15)
    assert names["backend_class"] is names["MyCustomBackend"]
    # Eliza, which the reference does not know, stands before those of users.
    assert names["available_backends"] == ["llama.cpp", "huggingface", "openai", "eliza", "my_custom"]
