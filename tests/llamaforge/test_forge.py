"""LlamaForge: models by name, their parameters, plugins around the text, custom backends, the calls in every colour."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import llamaforge
from llamaforge import (
    BackendNotFoundError,
    LlamaForge,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ParameterError,
    backends,
    register_backend,
)
from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ConfigError, UnsupportedError
from llamaforge.parameters import Parameter
from llamaforge.plugins import PostprocessingPlugin, PreprocessingPlugin
from tests.support.eliza import SAD, SAD_WORDS
from tests.support.tiny_gguf import TEMPLATE, write_gguf
from tests.support.tiny_transformers import write_model

SOURCE = Path(llamaforge.__file__).parents[1]


class Recorder(BaseBackend):
    """Declares what it takes and tells what it got."""

    load_parameters = (Parameter("n_ctx", "int", ("context_length",), low=1), Parameter("api_key", "text"))
    generation_parameters = (Parameter("max_tokens", "int", ("max_new_tokens",)), Parameter("temperature", "float"))
    made = 0

    def __init__(self):
        type(self).made += 1
        self.got = None

    def load_model(self, model_path, parameters=None):
        if model_path == "broken":
            raise KeyError("weights")
        self.got = (str(model_path), parameters)

    def generate(self, prompt, parameters=None):
        return f"{self.got[1]} {parameters}"

    def generate_stream(self, prompt, parameters=None):
        yield self.generate(prompt, parameters)

    def is_model_loaded(self):
        return self.got is not None


class Duck:
    """The four methods and no base class."""

    def __init__(self):
        self.model = None

    def load_model(self, model_path, parameters=None):
        self.model = (model_path, parameters)

    def generate(self, prompt, parameters=None):
        return f"{self.model[0]} {self.model[1]} {prompt} {parameters}"

    def generate_stream(self, prompt, parameters=None):
        yield from self.generate(prompt, parameters).split(" ")

    def is_model_loaded(self):
        return self.model is not None


@pytest.fixture
def forge(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "_registry", dict(backends._registry))
    monkeypatch.setattr(Recorder, "made", 0)
    register_backend("recorder", Recorder)
    register_backend("duck", Duck)
    with LlamaForge(":memory:") as forge:
        forge.config.set("models_dir", str(tmp_path / "models"))
        forge.add_model("doctor", "doctor", "eliza")
        yield forge


# ---- which models


def test_models_come_and_go(forge):
    forge.add_model("b", "/m/b.gguf", parameters={"n_ctx": 8}, metadata={"by": "me"})
    assert forge.list_models() == ["doctor", "b"]
    model = forge.get_model("b")
    assert (model.name, model.path, model.backend, model.get_metadata("by")) == ("b", "/m/b.gguf", "llama.cpp", "me")
    assert forge.get_model("nobody") is None
    assert forge.remove_model("b") is True
    assert forge.remove_model("b") is False
    assert forge.list_models() == ["doctor"]


def test_nothing_is_saved_until_it_is_asked_for(tmp_path):
    path = tmp_path / "config.json"
    forge = LlamaForge(path)
    forge.add_model("m.1", "/m/x.gguf")
    assert not path.exists()
    forge.config.save()
    assert LlamaForge(path).list_models() == ["m.1"]


def test_a_model_that_is_loaded_answers(forge):
    assert forge.current_model is None
    assert not forge.is_model_loaded()
    forge.load_model("doctor")
    assert forge.current_model.name == "doctor"
    assert forge.current_model.path == "doctor"
    assert forge.is_model_loaded()
    assert forge.is_model_loaded("doctor")
    assert not forge.is_model_loaded("other")
    assert forge.generate("I am sad") == SAD
    assert list(forge.generate_stream("I am sad")) == SAD_WORDS
    assert forge.unload_model() is True
    assert forge.current_model is None
    assert not forge.is_model_loaded()
    assert forge.unload_model() is True


def test_info_tells_the_entry_and_the_state(forge):
    assert forge.get_model_info("doctor") == {
        "name": "doctor", "path": "doctor", "backend": "eliza", "parameters": {}, "metadata": {},
        "loaded": False, "current": False, "memory": None, "details": {},
    }  # fmt: skip
    forge.load_model("doctor")
    info = forge.get_model_info("doctor")
    assert (info["loaded"], info["current"], info["memory"]) == (True, True, 0)
    assert info["details"]["last_turns"] == 100
    with pytest.raises(ModelNotFoundError):
        forge.get_model_info("nobody")


def test_whether_a_model_was_made_for_conversations(forge):
    assert forge.has_chat_template("doctor")
    register_backend("recorder", Recorder)
    forge.add_model("plain", "x", backend="recorder")
    assert not forge.has_chat_template("plain")
    with pytest.raises(ModelNotFoundError):
        forge.has_chat_template("nobody")


def test_without_any_model_nothing_is_generated(forge):
    for call in (forge.generate, forge.generate_stream, forge.chat, forge.chat_stream, forge.embed):
        with pytest.raises(ModelNotLoadedError, match="No model loaded"):
            call("hello")
    with pytest.raises(RuntimeError):
        forge.completion("hello")


def test_the_default_model_is_loaded_when_it_is_needed(forge):
    forge.config.set("default_model", "doctor")
    assert not forge.is_model_loaded()
    assert forge.generate("I am sad") == SAD
    assert forge.current_model.name == "doctor"


def test_another_model_may_be_addressed_and_stays_beside(forge):
    forge.add_model("shouting", "doctor", "eliza", {"upper": True})
    forge.load_model("doctor")
    assert forge.generate("I am sad", model="shouting") == SAD.upper()
    assert forge.generate("I am sad") == SAD
    assert forge.loaded_models() == ["shouting", "doctor"]
    forge.unload_all()
    assert forge.loaded_models() == []


def test_a_removed_model_is_gone_from_memory_too(forge):
    forge.load_model("doctor")
    forge.remove_model("doctor")
    assert forge.loaded_models() == []
    with pytest.raises(ModelNotLoadedError):
        forge.generate("hello")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("docter", "no model 'docter'. Did you mean 'doctor'"),
        ("zzz", "no model 'zzz'. Known: doctor"),
        ("/no/such.gguf", "no model '/no/such.gguf'"),
        ("/no/such/folder", "no model"),
    ],
)
def test_an_unknown_model_is_told_the_nearest(forge, name, sentence):
    forge.load_model("doctor")
    with pytest.raises(ModelNotFoundError, match=sentence):
        forge.load_model(name)
    assert forge.current_model.name == "doctor"
    with pytest.raises(ModelNotFoundError):
        forge.generate("hello", model=name)


@pytest.mark.parametrize("name", ["", " ", 3])
def test_what_is_no_name(forge, name):
    with pytest.raises(ParameterError):
        forge.load_model(name)


# ---- names that no configuration knows


def test_the_backend_of_a_bare_name_is_told_by_its_form(forge, tmp_path, monkeypatch):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "tf").mkdir()
    (tmp_path / "tf" / "config.json").write_text("{}")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "w.gguf").write_bytes(b"")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.gguf").write_bytes(b"")
    (tmp_path / "two" / "b.gguf").write_bytes(b"")
    find = forge._library.find
    assert find(str(tmp_path / "m.gguf")).backend == "llama.cpp"
    assert find(str(tmp_path / "tf")).backend == "huggingface"
    assert find(str(tmp_path / "one")).path == str(tmp_path / "one" / "w.gguf")
    assert find(str(tmp_path / "two")) is None
    assert find("owner/model-7B").backend == "huggingface"
    assert find("gpt-4o").backend == find("o3-mini").backend == find("o1").backend == "openai"
    assert find("eliza").path == "eliza"
    for unknown in ("owner/a/b", "oo", "gpt4all", "http://x/y", "../x", "owner/x.gguf"):
        assert find(unknown) is None
    forge.load_model("eliza")
    assert forge.generate("I am sad") == SAD


def test_files_in_the_models_folder_are_listed_and_found(forge, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(b"")
    (folder / "notes.txt").write_text("")
    (folder / "tf").mkdir()
    (folder / "tf" / "config.json").write_text("{}")
    assert forge.list_models() == ["doctor", "tf", "tiny.gguf"]
    assert forge.get_model("tiny.gguf").path == str(folder / "tiny.gguf")
    assert forge._library.find("tiny").path == str(folder / "tiny.gguf")
    forge.add_model("mine", folder / "tiny.gguf")
    assert forge.list_models() == ["doctor", "mine", "tf"]


def test_a_split_model_is_one_model(forge, tmp_path):
    folder = tmp_path / "models"
    (folder / "split").mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"m-0000{number}-of-00003.gguf").write_bytes(b"")
        (folder / "split" / f"m-0000{number}-of-00003.gguf").write_bytes(b"")
    assert forge.list_models() == ["doctor", "m-00001-of-00003.gguf", "split"]
    assert forge.get_model("split").path == str(folder / "split" / "m-00001-of-00003.gguf")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-that-name/x", "\ud800", "o" + "/x" * 3000])
def test_names_that_no_file_can_have(forge, name):
    with pytest.raises(ModelNotFoundError):
        forge.load_model(name)
    forge.add_model("m", name, "duck")
    assert forge.get_model("m").is_local() == name.startswith("~")
    forge.load_model("m")


def test_a_tilde_in_a_stored_path_is_the_home_folder(forge, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    forge.add_model("d", "~/x", "duck")
    assert forge.generate("", model="d").startswith(f"{tmp_path}")


# ---- parameters


def test_stored_parameters_go_where_the_backend_names_them(forge):
    forge.add_model("r", "/x", "recorder", {"context_length": 8, "max_new_tokens": 5, "temperature": 1})
    assert forge.generate("", model="r") == "{'n_ctx': 8} {'max_tokens': 5, 'temperature': 1.0}"


def test_a_call_overrides_under_any_spelling_and_none_leaves_the_stored(forge):
    forge.add_model("r", "/x", "recorder", {"max_new_tokens": 5, "temperature": 1})
    forge.load_model("r")
    assert forge.generate("", {"max_new_tokens": 7}) == "{} {'temperature': 1.0, 'max_new_tokens': 7}"
    assert forge.generate("", max_tokens=7, temperature=None) == "{} {'temperature': 1.0, 'max_tokens': 7}"
    assert forge.generate("", {"max_tokens": 1}, max_tokens=2) == "{} {'temperature': 1.0, 'max_tokens': 2}"
    assert "".join(forge.generate_stream("", temperature=0)) == "{} {'max_tokens': 5, 'temperature': 0}"


def test_parameters_of_a_load_override_and_are_remembered(forge):
    forge.add_model("r", "/x", "recorder", {"n_ctx": 8, "temperature": 1})
    forge.load_model("r", parameters={"context_length": 16, "temperature": 0.5})
    assert forge.generate("") == "{'n_ctx': 16} {'temperature': 0.5}"
    forge._library.loaded.unload("r")
    assert forge.generate("") == "{'n_ctx': 16} {'temperature': 0.5}"
    forge.load_model("r")
    assert forge.generate("") == "{'n_ctx': 8} {'temperature': 1.0}"


def test_only_a_change_of_the_load_loads_again(forge):
    forge.add_model("r", "/x", "recorder", {"n_ctx": 8})
    forge.load_model("r")
    forge.load_model("r")
    forge.load_model("r", {"temperature": 0.5})
    assert Recorder.made == 1
    assert forge.generate("") == "{'n_ctx': 8} {'temperature': 0.5}"
    forge.load_model("r", {"n_ctx": 9})
    assert Recorder.made == 2
    forge.add_model("r", "/y", "recorder", {"n_ctx": 9})
    forge.load_model("r")
    assert Recorder.made == 3


def test_stored_parameters_are_there_with_the_model(forge):
    seen = {}
    forge.add_model("m", "x", "recorder", {"temperature": 0.25})
    load = forge._library.loaded.load

    def watched(*arguments):
        lease = load(*arguments)
        # From here on, whoever asks for the model gets it.
        seen.setdefault(lease.loaded.name, dict(lease.loaded.defaults))
        return lease

    forge._library.loaded.load = watched
    forge.load_model("m")
    assert seen == {"m": {"temperature": 0.25}}
    forge.load_model("m", {"temperature": 0.5})  # in memory already
    assert "'temperature': 0.5" in forge.generate("x")


def test_defaults_of_the_backend_and_the_key_lie_beneath(forge):
    forge.config.set("backends.recorder.default_parameters", {"n_ctx": 4, "max_tokens": 3})
    forge.config.set("api_keys.recorder", "secret")
    forge.add_model("r", "/x", "recorder", {"n_ctx": 8})
    assert forge.generate("", model="r") == "{'api_key': 'secret', 'n_ctx': 8} {'max_tokens': 3}"


def test_the_key_does_not_go_to_a_server_that_the_model_names(forge):
    forge.config.set("api_keys.openai", "secret")
    forge.add_model("elsewhere", "m", "openai", {"api_base": "http://127.0.0.1:9/v1"})
    layers = forge._library._beneath(forge.get_model("elsewhere"), {})
    assert layers == ({}, {})
    assert forge._library._beneath(forge.get_model("doctor"), {})[0] == {}
    forge.add_model("theirs", "m", "openai")
    assert forge._library._beneath(forge.get_model("theirs"), {}) == ({"api_key": "secret"}, {})


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"n_cxt": 8}, "no parameter of the backend 'recorder' called 'n_cxt'. Did you mean 'n_ctx'"),
        ({"n_ctx": 0}, "at least 1"),
        ({"n_ctx": "8"}, "must be a number"),
        ({"max_tokens": "many"}, "must be a number"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused_at_the_load(forge, parameters, sentence):
    forge.add_model("r", "/x", "recorder", parameters)
    with pytest.raises(ParameterError, match=sentence):
        forge.load_model("r")
    assert Recorder.made == 0
    assert forge.loaded_models() == []


def test_a_refused_change_leaves_the_loaded_model(forge):
    forge.add_model("r", "/x", "recorder", {"n_ctx": 8})
    forge.load_model("r")
    with pytest.raises(ParameterError):
        forge.load_model("r", {"n_ctx": 0})
    assert forge.generate("") == "{'n_ctx': 8} {}"


@pytest.mark.parametrize("parameters", ["text", 3, [("a", 1)]])
def test_what_are_no_parameters(forge, parameters):
    with pytest.raises(ParameterError):
        forge.generate("hello", parameters, model="doctor")
    with pytest.raises(ParameterError):
        forge.load_model("doctor", parameters)


def test_what_is_no_prompt(forge):
    forge.load_model("doctor")
    for call in (forge.generate, forge.generate_stream):
        with pytest.raises(ParameterError, match="prompt must be text"):
            call(None)
    with pytest.raises(ParameterError, match="messages must be a list"):
        forge.chat("hello", "history")
    with pytest.raises(ParameterError, match="list of texts"):
        forge.embed(3)


# ---- what fails


def test_whatever_a_load_raises_is_a_load_error(forge):
    forge.add_model("r", "broken", "recorder")
    with pytest.raises(ModelLoadError, match="'r' could not be loaded: 'weights'") as caught:
        forge.load_model("r")
    assert isinstance(caught.value.__cause__, KeyError)
    assert forge.current_model is None
    assert forge.loaded_models() == []
    forge.config.get_model("r")["path"] = "whole"
    forge.load_model("r")


def test_a_backend_that_is_not_registered(forge):
    forge.add_model("m", "/x", "nothing")
    with pytest.raises(BackendNotFoundError, match=r"no backend 'nothing'\. Available: llama\.cpp"):
        forge.load_model("m")


def test_a_log_level_that_is_none():
    with pytest.raises(ParameterError, match="'LOUD' is no level of logging"):
        LlamaForge(":memory:", log_level="LOUD")


def test_a_broken_stream_frees_its_model(forge):
    forge.load_model("doctor")
    with pytest.raises(ParameterError):
        next(forge.generate_stream("hello", {"upper": "yes"}))
    assert forge._library.loaded.get("doctor").users == []


# ---- chats and OpenAI's shapes


def test_a_chat_goes_on_from_its_history(forge):
    history = [{"role": "user", "content": "My mother hates me"}, {"role": "assistant", "content": "…"}]
    forge.load_model("doctor")
    answer = forge.chat("Bye", history)
    assert answer == "".join(forge.chat_stream("Bye", history))
    assert len(history) == 2
    assert forge.chat("I am sad") == forge.chat("I am sad", []) == SAD
    assert forge.chat(None, [{"role": "user", "content": "I am sad"}]) == SAD
    assert forge.chat([{"type": "text", "text": "I am sad"}]) == SAD


def test_openai_shaped_calls(forge):
    forge.load_model("doctor")
    messages = [{"role": "user", "content": "I am sad"}]
    assert forge.completion("I am sad")["choices"][0]["text"] == SAD
    assert forge.chat_completion(messages)["choices"][0]["message"]["content"] == SAD
    chunks = list(forge.chat_completion_stream(messages))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == SAD
    assert "".join(chunk["choices"][0]["text"] for chunk in forge.completion_stream("I am sad")) == SAD
    with pytest.raises(UnsupportedError, match="no embeddings"):
        forge.embed(["text"])


# ---- a class that only has the four methods


def test_four_methods_without_the_base_class_work_everywhere(forge):
    forge.add_model("d", "/x", "duck", {"custom_param": "value"})
    forge.load_model("d")
    whole = "/x {'custom_param': 'value'} hi {'a': 1}"
    assert forge.generate("hi", a=1) == whole
    assert list(forge.generate_stream("hi", a=1)) == whole.split(" ")
    assert forge.chat("hi") == "/x {'custom_param': 'value'} User: hi\nAssistant: {}"
    assert asyncio.run(forge.agenerate("hi", a=None)) == "/x{'custom_param':'value'}hi{'a':None}"
    message = forge.chat_completion([{"role": "user", "content": "hi"}])["choices"][0]["message"]
    assert message["content"] == "/x {'custom_param': 'value'} User: hi\nAssistant: {}"
    assert forge.get_model_info("d")["loaded"]
    with pytest.raises(UnsupportedError):
        forge.embed("text")
    forge.unload_model()
    assert backends.get_backend("duck") is Duck


# ---- without blocking


async def test_the_async_twins_say_the_same(forge):
    forge.config.set("default_model", "doctor")
    assert await forge.agenerate("I am sad") == SAD
    assert [piece async for piece in forge.agenerate_stream("I am sad")] == SAD_WORDS
    assert await forge.achat("I am sad") == SAD
    assert [piece async for piece in forge.achat_stream("I am sad")] == SAD_WORDS
    chunks = [chunk async for chunk in forge.achat_completion_stream([{"role": "user", "content": "I am sad"}])]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    with pytest.raises(UnsupportedError):
        await forge.aembed("text")
    with pytest.raises(ModelNotFoundError):
        await forge.agenerate("hello", model="nobody")
    assert forge._library.loaded.get("doctor").users == []


async def test_leaving_an_async_stream_frees_the_model(forge):
    stream = forge.agenerate_stream("I am sad", model="doctor")
    assert await anext(stream) == SAD_WORDS[0]
    assert len(forge._library.loaded.get("doctor").users) == 1
    await stream.aclose()
    assert forge._library.loaded.get("doctor").users == []


# ---- plugins


class Shout(PreprocessingPlugin):
    name = "shout"
    description = "Capitals."

    def process(self, text):
        return text.upper()


class Broken(PostprocessingPlugin):
    name = "broken"
    description = "Fails."
    supports_streaming = True

    def process(self, text):
        raise ZeroDivisionError


class Loud(PostprocessingPlugin):
    name = "loud"
    description = "Capitals after."
    supports_streaming = True

    def process(self, text):
        return text.upper()


async def test_plugins_stand_around_every_text(forge, caplog):
    forge.add_model("d", "/x", "duck")
    forge.load_model("d")
    forge.register_plugin(Shout())
    assert forge.generate("hi") == "/x {} HI {}"
    assert "HI" in list(forge.generate_stream("hi"))
    assert "User: HI" in forge.chat("hi")
    forge.register_plugin(Broken())
    assert forge.generate("hi") == "/x {} HI {}"
    assert "The plugin 'broken' failed" in caplog.text
    forge.disable_plugin("shout")
    forge.disable_plugin("broken")
    forge.register_plugin(Loud())
    assert forge.generate("hi") == "/X {} HI {}"
    assert list(forge.generate_stream("hi")) == ["/X", "{}", "HI", "{}"]
    assert await forge.agenerate("hi") == "/X{}HI{}"
    assert [piece async for piece in forge.agenerate_stream("hi")] == ["/X", "{}", "HI", "{}"]


def test_the_plugin_calls_of_the_documentation(forge):
    assert set(forge.list_plugins()) >= {"text_formatter", "text_cleaner", "calculator", "benchmark"}
    assert forge.list_enabled_plugins() == []
    forge.enable_plugin("text_cleaner")
    assert forge.is_plugin_enabled("text_cleaner")
    forge.set_plugin_config("text_cleaner", {"trim_whitespace": False})
    assert forge.get_plugin_config("text_cleaner")["trim_whitespace"] is False
    assert "calculator" in forge.get_all_plugin_configs()
    forge.disable_plugin("text_cleaner")
    assert not forge.is_plugin_enabled("text_cleaner")
    assert forge.use_tool("calculator", "2 + 3 * 4") == 14


# ---- the server


def ask(url, path, key=None):
    request = urllib.request.Request(url + path, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_the_server_works_in_a_thread_until_it_is_stopped(forge):
    server = forge.start_server("127.0.0.1", 0, api_key="secret", block=False)
    try:
        assert [model["id"] for model in ask(server.url, "/v1/models", "secret")["data"]] == ["doctor"]
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            ask(server.url, "/v1/models")
        refused.value.close()
    finally:
        server.stop()


def test_the_server_is_an_application_and_not_public_without_a_key(forge):
    assert any(route.path == "/v1/models" for route in forge.create_server_app().routes)
    with pytest.raises(ConfigError, match="API key"):
        forge.start_server("0.0.0.0", 0)


# ---- what it costs to import


def test_the_classes_come_late_and_bring_no_engine():
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import llamaforge; before = 'llamaforge.forge' in sys.modules; "
        "from llamaforge import Config, LlamaForge, Model; forge = LlamaForge(':memory:'); forge.list_models(); "
        "print(before, *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    before, *roots = done.stdout.split()
    assert before == "False"
    assert {"aiohttp", "fastapi", "typer", "rich", "openai", "torch", "numpy", "xllamacpp"}.isdisjoint(roots)
    with pytest.raises(AttributeError, match="no attribute 'LlamaForgery'"):
        _ = llamaforge.LlamaForgery


# ---- a model with a chat template is chatted with

TURNS = {"": "It goes on", "\n": "I answer you"}


def by_template(folder: Path, kind: str, *, template: bool) -> Path:
    """A model that says one thing to a message of its template, and another to a prompt as it stands."""
    given = {} if template else {"template": None}
    if kind == "gguf":
        return write_gguf(folder / "model.gguf", says=TURNS, **given)
    pytest.importorskip("transformers")
    return write_model(folder / "model", says=TURNS, **given)


@pytest.mark.xdist_group("transformers")
@pytest.mark.parametrize("kind", ["gguf", "transformers"])
@pytest.mark.parametrize(("template", "raw", "answer"), [(True, False, 1), (True, True, 0), (False, False, 0)])
async def test_a_prompt_is_a_message_where_there_is_a_template(tmp_path, kind, template, raw, answer):
    expected = list(TURNS.values())[answer]
    with LlamaForge(":memory:") as forge:
        forge.load_model(str(by_template(tmp_path, kind, template=template)), {"n_threads": 1})
        assert forge.generate("Hi", raw=raw) == expected
        assert "".join(forge.generate_stream("Hi", raw=raw)) == expected
        assert await forge.agenerate("Hi", raw=raw) == expected
        assert "".join([piece async for piece in forge.agenerate_stream("Hi", raw=raw)]) == expected
        assert forge.completion("Hi")["choices"][0]["text"] == TURNS[""]


def test_a_template_of_the_load_counts(tmp_path):
    path = by_template(tmp_path, "gguf", template=False)
    with LlamaForge(":memory:") as forge:
        forge.load_model(str(path), {"n_threads": 1, "chat_template": TEMPLATE})
        assert forge.generate("Hi") == TURNS["\n"]
