"""A model's entry: what it says of itself, dotted look-ups, and whether it lies on this machine."""

from pathlib import Path

import pytest

from llamaforge import Model, ParameterError
from llamaforge.exceptions import ConfigError

ENTRY = {
    "path": "/m/llama.gguf",
    "backend": "llama.cpp",
    "parameters": {"n_ctx": 4096, "sampling": {"top_k": 40}},
    "metadata": {"license": "MIT"},
}


def test_what_an_entry_says():
    model = Model("llama-2-7b", config=dict(ENTRY))
    assert (model.name, model.path, model.backend) == ("llama-2-7b", "/m/llama.gguf", "llama.cpp")
    assert model.get_param("parameters.n_ctx") == 4096
    assert model.get_param("parameters.sampling.top_k") == 40
    assert model.get_param("parameters.n_ctx.more", 1) == 1
    assert model.get_param("nothing") is None
    assert model.get_parameters("n_ctx") == 4096
    assert model.get_parameters("nothing", "default") == "default"
    assert model.get_metadata("license") == "MIT"
    assert model.get_metadata("nothing", 5) == 5
    assert repr(model) == "Model('llama-2-7b', backend='llama.cpp')"


def test_a_model_of_a_name_only():
    model = Model("bare")
    assert model.path is None
    assert model.backend == "llama.cpp"
    assert model.metadata == model.get_parameters() == {}
    assert not model.is_local()


def test_the_path_given_wins_and_may_be_a_path_object():
    assert Model("m", Path("/other.gguf"), dict(ENTRY)).path == str(Path("/other.gguf"))
    assert Model("m", "/x.gguf").to_dict()["path"] == "/x.gguf"


def test_parameters_are_live_and_the_dictionary_is_a_copy():
    entry = {"path": "x", "parameters": {"a": 1}}
    model = Model("m", config=entry)
    copied = model.to_dict()
    model.get_parameters()["b"] = 2
    model.metadata["c"] = 3
    assert entry["parameters"] == {"a": 1, "b": 2}
    assert entry["metadata"] == {"c": 3}
    assert copied == {"name": "m", "path": "x", "backend": "llama.cpp", "parameters": {"a": 1}, "metadata": {}}


def test_updates_are_merged_in_depth():
    model = Model("m", config={"parameters": {"a": {"b": 1, "c": 2}, "list": [1]}})
    changes = {"parameters": {"a": {"b": 3}, "list": [2]}, "backend": "openai"}
    model.update_config(changes)
    changes["parameters"]["list"].append(9)
    assert model.get_parameters() == {"a": {"b": 3, "c": 2}, "list": [2]}
    assert model.backend == "openai"


def test_a_backend_may_have_its_own_kind_of_model():
    class Quantised(Model):
        @property
        def bits(self):
            return self.get_parameters("bits", 16)

    assert Quantised("m", "/m.gguf", {"parameters": {"bits": 4}}).bits == 4
    assert repr(Quantised("m")) == "Quantised('m', backend='llama.cpp')"


@pytest.mark.parametrize(
    "path",
    [
        "/m/llama.gguf",
        "llama.gguf",
        "models/llama.GGUF",
        "owner/weights.gguf",
        "./model",
        "../model",
        "~/model",
        "/m/folder",
        "model.safetensors",
        "C:\\models\\llama",
        ".",
    ],
)
def test_what_is_local_there_or_not(path):
    assert Model("m", path).is_local()


@pytest.mark.parametrize(
    "path",
    [
        "https://example.com/llama.gguf",
        "hf:owner/repo/model.gguf",
        "ollama:llama3",
        "mistralai/Mistral-7B-Instruct-v0.1",
        "gpt-4",
        "doctor",
        "",
    ],
)
def test_what_is_elsewhere(path):
    assert not Model("m", path).is_local()


def test_a_folder_that_is_there_is_local_although_it_reads_like_a_name_on_a_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not Model("m", "owner/name").is_local()
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert Model("m", "owner/name").is_local()


@pytest.mark.parametrize("name", ["", " ", None, 7])
def test_a_model_needs_a_name(name):
    with pytest.raises(ParameterError, match="name of a model"):
        Model(name)


def test_what_is_no_section_or_no_change():
    with pytest.raises(ConfigError, match="'parameters' of the model 'm'"):
        Model("m", config={"parameters": [1]}).get_parameters()
    with pytest.raises(ParameterError, match="must be an object"):
        Model("m").update_config([("a", 1)])
