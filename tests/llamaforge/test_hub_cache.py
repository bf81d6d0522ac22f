"""Models that lie in the hub's cache are usable by their names, with or without an owner, and nothing asks the network.

The guard of the tests raises for any connection that leaves this machine, so each load here is also a proof of that.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llamaforge import LlamaForge, hub_cache
from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.exceptions import ModelLoadError, ModelNotFoundError
from tests.support.hub_cache import COMMIT, cache_model
from tests.support.tiny_gguf import HELLO
from tests.support.tiny_transformers import write_model

pytestmark = pytest.mark.xdist_group("transformers")
ONE_THREAD = {"device": "cpu", "n_threads": 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hf" / "hub"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("transformers")
    return write_model(tmp_path / "model")


@pytest.fixture
def forge(tmp_path: Path) -> LlamaForge:
    made = LlamaForge(":memory:")
    made.config.set("models_dir", str(tmp_path / "models"))
    return made


# ---- where it is


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HF_HOME": "/c", "XDG_CACHE_HOME": "/d"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HF_HOME": "~/f"}, "/home/ada/f/hub"),
        ({"HF_HUB_CACHE": "$HOME/g"}, "/home/ada/g"),
        ({}, "/home/ada/.cache/huggingface/hub"),
    ],
)
def test_the_folder_is_that_of_the_hubs_client(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/ada", **environment}.items():
        monkeypatch.setenv(name, value)
    assert hub_cache.folder() == Path(expected)
    pytest.importorskip("huggingface_hub")
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert theirs == expected


@pytest.mark.parametrize("name", ["gpt2", "owner/name", "bert-base-uncased", "a.b/c_d-e"])
def test_names(name: str) -> None:
    assert hub_cache.is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b/c", "/a", "a/", "-a", "a--b", "a..b", "a b", "a\nb", "é"])
def test_no_names(name: str, cache: Path) -> None:
    (cache / "models--a--b" / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "models--a--b" / "refs").mkdir()
    (cache / "models--a--b" / "refs" / "main").write_text(COMMIT)
    assert not hub_cache.is_name(name)
    assert hub_cache.find(name) is None


def test_found_by_revision(cache: Path, folder: Path) -> None:
    main = cache_model(cache, "gpt2", folder)
    old = cache_model(cache, "gpt2", folder, commit="f" * 40, reference="v1")
    assert hub_cache.find("gpt2") == main
    assert hub_cache.find("gpt2", revision="v1") == hub_cache.find("gpt2", revision="f" * 40) == old
    assert hub_cache.find("gpt2", cache.parent) is None
    for unknown in ("v2", "../snapshots", "..", "f" * 39):
        assert hub_cache.find("gpt2", revision=unknown) is None
    (cache / "models--gpt2" / "refs" / "main").write_text("../../..")
    assert hub_cache.find("gpt2") is None


def test_the_layout_is_that_of_the_hubs_client(cache: Path, folder: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    cache_model(cache, "owner/name", folder)
    (repository,) = huggingface_hub.scan_cache_dir(cache).repos
    assert (repository.repo_id, set(repository.refs)) == ("owner/name", {"main"})
    offline = huggingface_hub.snapshot_download("owner/name", cache_dir=cache, local_files_only=True)
    assert Path(offline) == hub_cache.find("owner/name", cache)


def test_a_part_of_a_download_is_not_whole(cache: Path, folder: Path) -> None:
    snapshot = cache_model(cache, "gpt2", folder)
    assert hub_cache.is_whole(snapshot)
    config = json.loads((snapshot / "config.json").read_text())
    weights = (snapshot / "model.safetensors").resolve()
    (snapshot / "model.safetensors").unlink()
    assert not hub_cache.is_whole(snapshot)
    (snapshot / "pytorch_model.bin").write_bytes(b"")
    assert not hub_cache.is_whole(snapshot)
    assert hub_cache.is_whole(snapshot, ("*.safetensors", "*.bin"))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "model-1.safetensors").symlink_to(weights)
    assert not hub_cache.is_whole(snapshot)
    (snapshot / "model-2.safetensors").symlink_to(weights)
    assert hub_cache.is_whole(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "code.Config"}}))
    assert hub_cache.is_whole(snapshot)
    assert not hub_cache.is_whole(snapshot, code=True)
    for text in ("", "[]", "{"):
        (snapshot / "model.safetensors.index.json").write_text(text)
        assert not hub_cache.is_whole(snapshot)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (snapshot / name).unlink()
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not hub_cache.is_whole(snapshot)


# ---- used by name


@pytest.mark.parametrize("name", ["gpt2", "owner/name"])
def test_a_forge_uses_it_by_its_name(cache: Path, folder: Path, forge: LlamaForge, name: str) -> None:
    assert not forge.is_model_available(name)
    cache_model(cache, name, folder)
    assert forge.is_model_available(name)
    with forge:
        forge.load_model(name, ONE_THREAD)
        assert forge.generate("Hi") == HELLO
        info = forge.get_model_info(name)
        assert (info["backend"], info["path"]) == ("huggingface", name)
        assert info["memory"] >= (folder / "model.safetensors").stat().st_size


def test_a_noted_name_is_loaded_from_the_cache(cache: Path, folder: Path, forge: LlamaForge) -> None:
    cache_model(cache, "gpt2", folder)
    forge.add_model("mine", "gpt2", "huggingface", ONE_THREAD)
    with forge:
        assert forge.generate("Hi", model="mine") == HELLO


def test_the_command_uses_it(cache: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_model(cache, "gpt2", folder)
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    command = [sys.executable, "-m", "llamaforge", "generate", "-m", "gpt2", "Hi"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == HELLO


def test_a_gguf_repository_in_the_cache(cache: Path, tiny_gguf: Path, tmp_path: Path, forge: LlamaForge) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "tiny.gguf").write_bytes(tiny_gguf.read_bytes())
    cache_model(cache, "owner/tiny-GGUF", tmp_path / "repository")
    with forge:
        forge.load_model("owner/tiny-GGUF", {"n_threads": 1})
        assert forge.generate("Hi") == HELLO


def test_another_revision_and_folder(cache: Path, folder: Path, tmp_path: Path) -> None:
    cache_model(cache, "gpt2", folder)
    other = write_model(tmp_path / "other", says="An older one speaks")
    cache_model(cache, "gpt2", other, commit="f" * 40, reference="v1")
    cache_model(tmp_path / "elsewhere", "gpt2", other)
    backend = HuggingFaceBackend()
    for parameters, answer in (
        ({}, HELLO),
        ({"revision": "v1"}, "An older one speaks"),
        ({"revision": "f" * 40, "local_files_only": True}, "An older one speaks"),
        ({"cache_dir": str(tmp_path / "elsewhere")}, "An older one speaks"),
    ):
        backend.load_model("gpt2", {**ONE_THREAD, **parameters})
        assert backend.generate("Hi") == answer


# ---- what is not there


def test_a_name_that_is_nowhere(cache: Path, forge: LlamaForge) -> None:
    with pytest.raises(ModelNotFoundError, match="download it: llamaforge add gpt2 hf:gpt2"):
        forge.load_model("gpt2")
    forge.add_model("tiny", "somewhere.gguf")
    with pytest.raises(ModelNotFoundError, match=r"Did you mean 'tiny'\?$"):
        forge.load_model("tinny")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_is_missing_would_be_downloaded(cache: Path, folder: Path, missing: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (folder / missing).unlink()
    (folder / "tokenizer_config.json").unlink()
    cache_model(cache, "gpt2", folder)
    asked: list[str] = []
    monkeypatch.setattr(
        "llamaforge.backends.huggingface.loading._unreachable", lambda name, _: asked.append(name) or "no network"
    )
    with pytest.raises(ModelLoadError, match="gpt2"):
        HuggingFaceBackend().load_model("gpt2", ONE_THREAD)
    assert asked == ["gpt2"]


def test_a_newer_one_is_asked_for_when_told_to(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_model(cache, "gpt2", folder)
    asked: list[str] = []
    monkeypatch.setattr(
        "llamaforge.backends.huggingface.loading._unreachable",
        lambda name, _: asked.append(name) or "no network",  # type: ignore[func-returns-value]
    )
    backend = HuggingFaceBackend()
    backend.load_model("gpt2", {**ONE_THREAD, "local_files_only": False})
    assert asked == ["gpt2"]
    assert backend.generate("Hi") == HELLO
