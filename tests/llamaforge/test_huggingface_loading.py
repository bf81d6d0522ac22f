"""What the huggingface backend loads, and what it refuses with a clear error."""

import json
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.exceptions import MissingExtraError, ModelLoadError, ModelNotLoadedError, ParameterError
from tests.support.tiny_transformers import write_model

pytestmark = pytest.mark.xdist_group("transformers")

ONE_THREAD = {"device": "cpu", "n_threads": 1}
HELLO = "Hello from the tiny test model."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("transformers")
    return write_model(tmp_path / "model")


def refused(path: Any, **parameters: Any) -> str:
    """The error of loading `path`, after which nothing is loaded."""
    backend = HuggingFaceBackend()
    with pytest.raises(ModelLoadError) as caught:
        backend.load_model(path, {**ONE_THREAD, **parameters})
    assert not backend.is_model_loaded()
    return str(caught.value)


# ---- good folders


@pytest.mark.parametrize("kind", [str, Path])
def test_loads_a_folder(folder: Path, kind: type) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(kind(folder), ONE_THREAD)
    assert backend.is_model_loaded()
    info = backend.info()
    assert (info.name, info.loaded, info.model) == ("huggingface", True, str(folder))
    assert info.details["architecture"] == "LlamaForCausalLM"
    assert info.details["torch_dtype"] == "float32"
    assert info.details["context_tokens"] == 512
    assert backend.generate("Hi") == HELLO


@pytest.mark.parametrize("spelling", ["torch_dtype", "dtype"])
def test_in_the_precision_asked_for(folder: Path, spelling: str) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(folder, {**ONE_THREAD, spelling: "bfloat16"})
    assert backend.info().details["torch_dtype"] == "bfloat16"
    assert backend.generate("Hi") == HELLO


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    HuggingFaceBackend().load_model(folder, ONE_THREAD)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_whole_run_prints_and_warns_of_nothing(folder: Path) -> None:
    """In a process of its own: most of the library's warnings come only once."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": 2048}))
    code = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from llamaforge.backends.huggingface import HuggingFaceBackend\n"
        "backend = HuggingFaceBackend()\n"
        "backend.load_model(sys.argv[1], {'device': 'cpu', 'n_threads': 1})\n"
        "backend.generate('Hi')\n"
        "backend.chat([{'role': 'user', 'content': 'Hi'}])\n"
        "backend.generate('Hi', {'num_beams': 2})\n"
        "backend.embed(['Hi'])\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    list(pool.map(backend.generate, 'ABC'))\n"
        "backend.unload()\n"
    )
    command = [sys.executable, "-W", "always", "-c", code, folder]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_tokenizer_that_would_cut_or_fill_texts_is_the_same_before_and_after_its_first_use(folder: Path) -> None:
    from tokenizers import Tokenizer

    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=12)
    tokenizer.save(path)
    backend = HuggingFaceBackend()
    backend.load_model(folder, ONE_THREAD)
    bare = backend._engine.model.bare_tokenizer
    assert (bare.truncation, bare.padding) == (None, None)  # else many at once change it: "Already borrowed"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: backend.completion(text, {"max_tokens": 1}), ["x" * 100] * 8))
    assert [answer["usage"]["prompt_tokens"] for answer in answers] == [100] * 8


def test_the_models_own_defaults_hold_where_the_call_says_nothing(folder: Path) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_new_tokens": 2}))
    backend = HuggingFaceBackend()
    backend.load_model(folder, ONE_THREAD)
    assert backend.generate("Hi") == "Hello from"
    assert backend.generate("Hi", {"max_tokens": 3}) == "Hello from the"


def test_a_second_model_takes_the_place_of_the_first_unless_it_fails(folder: Path, tmp_path: Path) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(folder, ONE_THREAD)
    with pytest.raises(ModelLoadError):
        backend.load_model(tmp_path / "nowhere", ONE_THREAD)
    assert backend.generate("Hi") == HELLO
    backend.load_model(write_model(tmp_path / "other", says="Another one speaks"), ONE_THREAD)
    assert backend.generate("Hi") == "Another one speaks"


def test_threads_are_those_asked_for(folder: Path) -> None:
    import torch

    HuggingFaceBackend().load_model(folder, {"device": "cpu", "n_threads": 1})
    assert torch.get_num_threads() == 1


# ---- before, and after


def test_nothing_is_written_before_a_model_is_loaded() -> None:
    backend = HuggingFaceBackend()
    assert not backend.is_model_loaded()
    assert backend.info().loaded is False
    for ask in (backend.generate, backend.generate_stream, backend.completion, backend.completion_stream):
        with pytest.raises(ModelNotLoadedError, match="No model loaded"):
            ask("Hi")
    for chat in (backend.chat, backend.chat_stream, backend.chat_completion, backend.chat_completion_stream):
        with pytest.raises(RuntimeError, match="No model loaded"):
            chat([{"role": "user", "content": "Hi"}])
    with pytest.raises(ModelNotLoadedError):
        backend.embed(["Hi"])


def test_unloading_twice_or_unloaded_is_nothing(folder: Path) -> None:
    backend = HuggingFaceBackend()
    backend.unload()
    backend.load_model(folder, ONE_THREAD)
    backend.unload()
    backend.unload()
    with pytest.raises(ModelNotLoadedError):
        backend.generate("Hi")
    backend.load_model(folder, ONE_THREAD)
    assert backend.generate("Hi") == HELLO


def test_importing_the_backend_imports_no_engine() -> None:
    code = (
        "import sys, llamaforge\n"
        "from llamaforge.backends import get_backend\n"
        "get_backend('huggingface')()\n"
        "assert not {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in list(sys.modules):
        if module.startswith("llamaforge.backends.huggingface.") and module.rpartition(".")[2] in {"engine", "loading"}:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"Install it with: .*transformers"):
        HuggingFaceBackend().load_model(tmp_path)


# ---- bad folders


def test_a_missing_folder(folder: Path, tmp_path: Path) -> None:
    assert "There is no folder" in refused(tmp_path / "nowhere")
    assert "There is no folder" in refused("./nowhere/model")
    assert "There is no folder" in refused("a name/of/nothing")
    assert "is a file" in refused(folder / "config.json")
    with pytest.raises(ParameterError, match="empty"):
        HuggingFaceBackend().load_model(" ")


def test_a_folder_without_a_model(folder: Path, tmp_path: Path) -> None:
    assert "no config.json" in refused(tmp_path)
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": 5', "\xff\xfe"])
def test_a_broken_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert "config.json" in refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "no-such-model"},
        {"model_type": None},
        {"hidden_size": "wide"},
        {"hidden_size": -4},
        {"num_attention_heads": 0},
        {"hidden_size": 512, "vocab_size": 9},
    ],
)
def test_a_config_that_makes_no_sense_or_does_not_fit_the_weights(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert "can't be loaded" in refused(folder)


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_truncated_weights(folder: Path, size: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "can't be loaded" in refused(folder)


def test_weights_of_garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 4096)
    assert "can't be loaded" in refused(folder)


def test_weights_that_are_not_all_there(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"], weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "2 weights are missing, such as lm_head.weight" in refused(folder)


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_broken_tokenizer(folder: Path, text: str | None) -> None:
    path = folder / "tokenizer.json"
    path.unlink() if text is None else path.write_text(text)
    refused(folder)


class Attack:
    """What unpickling this does, a harmless stand-in for somebody's code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_pickled_weights_are_refused_and_not_even_read(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Attack(tmp_path / "ran"), protocol=2))
    message = refused(folder)
    assert "pickle" in message
    assert "safetensors" in message
    assert not (tmp_path / "ran").exists()
    refused(folder, allow_pickle=True)  # torch itself unpickles nothing but tensors
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_read_when_asked(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    backend = HuggingFaceBackend()
    backend.load_model(folder, {**ONE_THREAD, "allow_pickle": True})
    assert backend.generate("Hi") == HELLO


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("trust", [None, False])
def test_code_in_a_folder_does_not_run_unasked(folder: Path, tmp_path: Path, file: str, trust: bool | None) -> None:
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    path = folder / file
    name = "AutoConfig" if file == "config.json" else "AutoTokenizer"
    content = {**json.loads(path.read_text()), "model_type": "own", "auto_map": {name: "code.Config"}}
    path.write_text(json.dumps(content))
    assert "trust_remote_code=True" in refused(folder, trust_remote_code=trust)
    assert not (tmp_path / "ran").exists()


def test_an_encoder_decoder_is_refused(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "t5", "is_encoder_decoder": True}))
    assert "encoder-decoder" in refused(folder)


@pytest.mark.parametrize(
    ("parameters", "error", "says"),
    [
        ({"devise": "cpu"}, ParameterError, "Did you mean 'device'"),
        ({"n_threads": 0}, ParameterError, "at least 1"),
        ({"max_batch": "many"}, ParameterError, "must be a number"),
        ({"trust_remote_code": "yes"}, ParameterError, "true or false"),
        ({"device": "abacus"}, ModelLoadError, "no device 'abacus'"),
        ({"torch_dtype": "float5"}, ModelLoadError, "no torch_dtype"),
        ({"torch_dtype": "int8"}, ModelLoadError, "no torch_dtype"),
        ({"attn_implementation": "none-such"}, ModelLoadError, "can't be loaded"),
    ],
)
def test_wrong_load_parameters(folder: Path, parameters: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        HuggingFaceBackend().load_model(folder, parameters)


# ---- the hub


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """A hub that takes connections and never answers."""
    pytest.importorskip("transformers")
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setattr("llamaforge.backends.huggingface.loading.HUB_TIMEOUT", 0.3)
    yield taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in taken:
        connection.close()


def test_without_network_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    message = refused("nobody/no-such-model", cache_dir=str(tmp_path))
    assert "can't be reached" in message
    assert "network" in message
    assert "can't be reached (no network?)" in refused("no-such-model", cache_dir=str(tmp_path))
    assert "not been downloaded" in refused("nobody/no-such-model", cache_dir=tmp_path, local_files_only=True)


def test_a_hub_that_never_answers_is_not_waited_for_long(tmp_path: Path, silent_hub: list[socket.socket]) -> None:
    start = time.monotonic()
    assert "can't be reached" in refused("nobody/no-such-model", cache_dir=tmp_path)
    assert time.monotonic() - start < 5
    assert len(silent_hub) <= 2


def test_a_name_that_no_repository_can_have(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert "no name of a repository" in refused("no body/..model", cache_dir=tmp_path)
