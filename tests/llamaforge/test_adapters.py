"""LoRA adapters are loaded with a GGUF model, and chosen and scaled by each request."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.backends.llama_cpp import LlamaCppBackend
from llamaforge.exceptions import ModelLoadError, ParameterError, UnsupportedError
from llamaforge.formats.request import normalise
from tests.support.tiny_gguf import write_adapter, write_gguf

pytest.importorskip("xllamacpp")

SHORT = {"max_tokens": 3, "temperature": 0.0}
PLAIN = "Hello from the"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    model = write_gguf(folder / "model.gguf")
    return model, write_adapter(folder / "ay.gguf", model, "a"), write_adapter(folder / "bee.gguf", model, "b")


@pytest.fixture(scope="module")
def backend(files: tuple[Path, Path, Path]) -> Iterator[LlamaCppBackend]:
    model, ay, bee = files
    made = LlamaCppBackend()
    made.load_model(model, {"n_threads": 1, "n_parallel": 2, "lora": {ay: 0.0, bee: 0.0}})
    yield made
    made.unload()


@pytest.mark.parametrize(
    ("lora", "text"),
    [
        ("ay", "aaa"),
        ("bee.gguf", "bbb"),
        (["bee"], "bbb"),
        ({"ay": 1}, "aaa"),
        ({"ay": 0, "bee": 0.5}, "bbb"),
        ({"ay": 1.0, "bee": 2.0}, "bbb"),
        ({"ay": 0.0}, PLAIN),
        ({}, PLAIN),
        ([], PLAIN),
        ([{"id": 1, "scale": 1.0}], "bbb"),
        ([{"id": 0}], "aaa"),
        (None, PLAIN),
    ],
)
def test_each_request_chooses_its_adapters(backend: LlamaCppBackend, lora: Any, text: str) -> None:
    assert backend.generate("Hi", {**SHORT, "lora": lora}) == text
    assert backend.chat([{"role": "user", "content": "Hi"}], {**SHORT, "lora": lora}) == text
    assert backend.generate("Hi", SHORT) == PLAIN


def test_a_path_is_a_name_too(backend: LlamaCppBackend, files: tuple[Path, Path, Path]) -> None:
    assert backend.generate("Hi", {**SHORT, "lora": files[1]}) == "aaa"
    assert backend.generate("Hi", {**SHORT, "lora": {str(files[2]): 1}}) == "bbb"


def test_side_by_side(backend: LlamaCppBackend) -> None:
    wishes = [{**SHORT, "lora": name} for name in ("ay", "bee", {})] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda wish: backend.generate("Hi", wish), wishes)) == ["aaa", "bbb", PLAIN] * 4


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ("cee", "no adapter 'cee' in memory. Loaded: ay, bee"),
        ([{"id": 2}], "no adapter 2 in memory"),
        ([{"id": -1}], "no adapter -1"),
        ([{"scale": 1.0}], "no adapter None"),
        ({"ay": "much"}, "scale of the adapter 'ay' must be a number"),
        ({"ay": True}, "must be a number"),
        ({"ay": float("inf")}, "must be a number"),
        (5, "must be the name of an adapter"),
        ([5], "must be the name of an adapter"),
    ],
)
def test_what_was_not_loaded_is_refused(backend: LlamaCppBackend, lora: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        backend.generate_stream("Hi", {**SHORT, "lora": lora})
    with pytest.raises(ParameterError, match=says):
        backend.chat_stream([{"role": "user", "content": "Hi"}], {**SHORT, "lora": lora})


def test_the_scales_of_the_load_count_where_none_are_named(files: tuple[Path, Path, Path]) -> None:
    model, ay, _ = files
    backend = LlamaCppBackend()
    backend.load_model(model, {"n_threads": 1, "lora": ay})
    assert backend.generate("Hi", SHORT) == "aaa"
    assert backend.generate("Hi", {**SHORT, "lora": {}}) == PLAIN
    backend.load_model(model, {"n_threads": 1})
    with pytest.raises(ParameterError, match="Loaded: none; load the model with 'lora'"):
        backend.generate("Hi", {"lora": "ay"})
    backend.unload()


def test_over_http_too(files: tuple[Path, Path, Path]) -> None:
    _, ay, bee = files
    asked = normalise({"messages": [{"role": "user", "content": "Hi"}], "lora": "bee"}, "chat")
    _, body = LlamaCppBackend.http_request(asked, {"lora": [str(ay), str(bee)]})
    assert body["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    with pytest.raises(ParameterError, match="no adapter 'bee'"):
        LlamaCppBackend.http_request(asked, {})


def test_a_model_is_no_adapter_and_transformers_take_none(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="is not a LoRA adapter"):
        LlamaCppBackend().load_model(files[0], {"lora": files[0]})
    with pytest.raises(UnsupportedError, match="applies no LoRA adapters"):
        HuggingFaceBackend().load_model(tmp_path, {"lora": "x"})
