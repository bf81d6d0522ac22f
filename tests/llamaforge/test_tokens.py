"""Tokens are counted, told and joined: by llama.cpp, Transformers and Eliza, and by the processes that run them."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import LlamaForge
from llamaforge.backends.base import COUNT_PATH, DETOKENIZE_PATH, TOKENIZE_PATH, BaseBackend
from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.backends.llama_cpp import LlamaCppBackend
from llamaforge.backends.openai_api import OpenAIBackend
from llamaforge.exceptions import ModelNotLoadedError, ParameterError, UnsupportedError
from tests.support.tiny_gguf import write_gguf
from tests.support.tiny_transformers import write_model

pytestmark = pytest.mark.xdist_group("transformers")

HI = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Grüße"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("transformers")
    pytest.importorskip("xllamacpp")
    folder = tmp_path_factory.mktemp("models")
    return {"llama.cpp": write_gguf(folder / "tiny.gguf"), "huggingface": write_model(folder / "tiny")}


@pytest.fixture(scope="module", params=["llama.cpp", "huggingface"])
def backend(request: pytest.FixtureRequest, models: dict[str, Path]) -> Iterator[BaseBackend]:
    made: BaseBackend = LlamaCppBackend() if request.param == "llama.cpp" else HuggingFaceBackend()
    with pytest.raises(ModelNotLoadedError):
        made.count_tokens("x")
    made.load_model(models[request.param], {"n_threads": 1})
    yield made
    made.unload()


def test_a_count_is_what_the_answer_will_count(backend: BaseBackend) -> None:
    one = {"max_tokens": 1}
    for prompt in ("Hi", "Grüße <|im_end|> there"):
        assert backend.count_tokens(prompt) == backend.completion(prompt, one)["usage"]["prompt_tokens"]
    for more in ({}, {"tools": [TOOL]}):
        counted = backend.chat_completion(HI, {**one, **more})["usage"]["prompt_tokens"]
        assert backend.count_tokens(HI, **more) == counted
    assert backend.count_tokens("") == 0


@pytest.mark.parametrize("text", ["", "Hi", "Grüße, 世界 😀\n\t", "<|im_end|>", "a" * 5000])
def test_a_text_comes_back_from_its_tokens(backend: BaseBackend, text: str) -> None:
    tokens = backend.tokenize(text)
    assert all(type(token) is int for token in tokens)
    assert backend.detokenize(tokens) == text


async def test_without_blocking(backend: BaseBackend) -> None:
    assert await backend.acount_tokens(HI) == backend.count_tokens(HI)
    assert await backend.adetokenize(await backend.atokenize("Hi")) == "Hi"


@pytest.mark.parametrize("tokens", ["Hi", [1.5], [-1], [True], [10**9], [10**30], None, 5])
def test_what_are_no_tokens_has_no_text(backend: BaseBackend, tokens: Any) -> None:
    with pytest.raises(ParameterError):
        backend.detokenize(tokens)


@pytest.mark.parametrize("text", [None, 5, b"Hi", ["Hi"]])
def test_what_is_no_text_has_no_tokens(backend: BaseBackend, text: Any) -> None:
    with pytest.raises(ParameterError):
        backend.tokenize(text)


def test_what_can_t_be_read_is_not_counted(backend: BaseBackend) -> None:
    with pytest.raises(UnsupportedError, match="images"):
        backend.count_tokens([{"role": "user", "content": [PICTURE]}])
    for messages in ([], [5], 7):
        with pytest.raises(ParameterError):
            backend.count_tokens(messages)
    with pytest.raises(ParameterError):
        backend.count_tokens(HI, ["tool"])


def test_who_can_t_tell_says_so() -> None:
    backend = OpenAIBackend()
    backend.load_model("gpt-4", {"api_key": "none"})
    for ask in (lambda: backend.count_tokens("x"), lambda: backend.tokenize("x"), lambda: backend.detokenize([1])):
        with pytest.raises(UnsupportedError, match="OpenAIBackend can't"):
            ask()
    backend.unload()


async def test_by_the_names_of_models(models: dict[str, Path], tmp_path: Path) -> None:
    with LlamaForge(tmp_path / "config.json") as forge:
        assert forge.count_tokens("four little words here", model="eliza") == 4
        assert forge.count_tokens(HI, model="eliza") == 3
        with pytest.raises(UnsupportedError):
            forge.tokenize("x", model="eliza")
        name = str(models["llama.cpp"])
        assert forge.detokenize(forge.tokenize("Hi", model=name), model=name) == "Hi"
        assert forge.count_tokens(HI, tools=[TOOL], model=name) > await forge.acount_tokens(HI, model=name)
        assert await forge.adetokenize(await forge.atokenize("Hi", model=name), model=name) == "Hi"


def test_the_engines_own_server_answers_at_the_same_paths(models: dict[str, Path]) -> None:
    """So that whoever asks the process of a model needs not know what runs in it."""
    backend = LlamaCppBackend()
    backend.load_model(models["llama.cpp"], {"n_threads": 1})
    ask = asking(backend)
    assert ask(COUNT_PATH, {"messages": HI})["input_tokens"] == backend.count_tokens(HI)
    assert ask(TOKENIZE_PATH, {"content": "Hi"})["tokens"] == backend.tokenize("Hi")
    assert ask(DETOKENIZE_PATH, {"tokens": backend.tokenize("Hi")})["content"] == "Hi"
    backend.unload()


def asking(backend: LlamaCppBackend) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    endpoint = backend.endpoint
    assert endpoint is not None

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(endpoint.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    return ask
