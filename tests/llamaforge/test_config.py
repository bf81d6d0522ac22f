"""The configuration: keys with dots, the environment, profiles, and a file that several processes share."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import llamaforge
from llamaforge import Config, ParameterError
from llamaforge.config_file import locked
from llamaforge.exceptions import ConfigError

SOURCE = Path(llamaforge.__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("LLAMAFORGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


def stored(path):
    return json.loads(path.read_text(encoding="utf-8"))


# ---- values


def test_a_new_configuration_has_the_documented_defaults():
    config = Config(":memory:")
    assert config.config_path == ":memory:"
    assert config.get("server") == {"host": "127.0.0.1", "port": 8000, "enable_cors": False, "request_timeout": 300}
    assert config.get("server.port") == 8000
    assert config.get("default_model") is None
    assert config.get("models") == config.config["models"] == {}
    assert config.models_dir == Path("~/.llamaforge/models").expanduser()


def test_set_makes_the_objects_on_its_way():
    config = Config(":memory:")
    config.set("a.b.c", 1)
    config.set("a.b.d", [2])
    assert config.get("a") == {"b": {"c": 1, "d": [2]}}
    assert config.get("a.b.c") == 1
    assert config.get("a.b.c.d", "none") == "none"
    assert config.get("a.x", "none") == "none"
    assert config.get_all()["a"]["b"]["d"] == [2]


def test_what_get_gives_is_a_copy_and_what_set_takes_is_one():
    config = Config(":memory:")
    value = {"list": [1]}
    config.set("mine", value)
    value["list"].append(2)
    config.get("mine")["list"].append(3)
    config.get_all()["mine"]["list"].append(4)
    assert config.get("mine") == {"list": [1]}


def test_a_plain_value_has_nothing_in_it():
    config = Config(":memory:")
    config.set("name", "text")
    with pytest.raises(ConfigError, match="'name' has a value of its own"):
        config.set("name.first", "x")
    assert config.get("name") == "text"


@pytest.mark.parametrize("key", ["", ".", "a..b", ".a", "a.", (), ("a", "")])
def test_what_is_no_key(key):
    config = Config(":memory:")
    with pytest.raises(ConfigError, match="is no key"):
        config.get(key)
    with pytest.raises(ConfigError, match="is no key"):
        config.set(key, 1)


# ---- names with dots


def test_a_model_whose_name_has_dots_is_found_by_a_dotted_key():
    config = Config(":memory:")
    config.add_model("llama-2.5", "/m/llama.gguf", parameters={"n_ctx": 8})
    assert config.get("models.llama-2.5.path") == "/m/llama.gguf"
    config.set("models.llama-2.5.parameters.n_ctx", 16)
    assert config.get_model("llama-2.5")["parameters"] == {"n_ctx": 16}
    assert config.list_models() == ["llama-2.5"]


def test_the_longest_name_that_is_there_wins_and_a_sequence_says_it_exactly():
    config = Config(":memory:")
    config.set(("models", "llama-2"), {"5": {"path": "short"}})
    config.set(("models", "llama-2.5"), {"path": "long"})
    assert config.get("models.llama-2.5.path") == "long"
    assert config.get(("models", "llama-2", "5", "path")) == "short"
    assert config.get("models.llama-2.5.backend", "none") == "none"
    config.remove_model("llama-2.5")
    assert config.get("models.llama-2.5.path") == "short"


def test_backends_with_dots_are_reached_too():
    config = Config(":memory:")
    config.set(("backends", "llama.cpp", "default_parameters"), {"n_ctx": 8})
    assert config.get("backends.llama.cpp.default_parameters.n_ctx") == 8


# ---- models


def test_models_are_kept_in_order_with_all_that_was_given():
    config = Config(":memory:")
    entry = config.add_model("b", Path("/m/b.gguf"), parameters={"n_ctx": 8}, metadata={"size": "7B"})
    config.add_model("a", "gpt-4", backend="openai")
    assert entry == {
        "path": str(Path("/m/b.gguf")),
        "backend": "llama.cpp",
        "parameters": {"n_ctx": 8},
        "metadata": {"size": "7B"},
    }
    assert config.get_model("b") is entry
    assert config.list_models() == ["b", "a"]
    assert config.remove_model("b") is True
    assert config.remove_model("b") is False
    assert config.get_model("b") is None


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_model_needs_a_name(name):
    with pytest.raises(ParameterError, match="name of a model"):
        Config(":memory:").add_model(name, "/m/x.gguf")


def test_what_is_kept_is_not_what_the_caller_goes_on_changing():
    parameters = {"stop": ["a"]}
    config = Config(":memory:")
    config.add_model("m", "/m/x.gguf", parameters=parameters)
    parameters["stop"].append("b")
    assert config.get("models.m.parameters.stop") == ["a"]


# ---- the file


def test_the_file_is_made_by_the_first_save_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "new" / "folder" / "config.json"
    config = Config(path)
    config.set("api_keys.openai", "secret")
    assert not path.parent.exists()
    config.save()
    assert stored(path) == {"api_keys": {"openai": "secret"}}
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Config(path).get("api_keys.openai") == "secret"


def test_the_usual_place_is_in_the_home_folder(tmp_path):
    config = Config()
    assert Path(config.config_path) == tmp_path / "home" / ".llamaforge" / "config.json"
    config.add_model("m", "/m/x.gguf")
    config.save()
    assert Config().list_models() == ["m"]


def test_a_tilde_in_the_path_is_the_home_folder(tmp_path):
    Config("~/mine.json").save()
    assert (tmp_path / "home" / "mine.json").exists()


@pytest.mark.parametrize("name", ["LLAMAFORGE_CONFIG_PATH", "LLAMAFORGE_CONFIG"])
def test_the_environment_names_the_file(monkeypatch, path, name):
    monkeypatch.setenv(name, str(path))
    assert Config().config_path == str(path)
    assert Config(":memory:").config_path == ":memory:"


def test_in_memory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(":memory:")
    config.set("a", 1)
    config.save()
    assert config.get("a") == 1
    assert list(tmp_path.iterdir()) == []


def test_load_drops_what_was_not_saved_and_entries_stay_the_same_objects(path):
    config = Config(path)
    entry = config.add_model("kept", "/m/a.gguf")
    config.save()
    config.add_model("lost", "/m/b.gguf")
    entry["parameters"]["n_ctx"] = 1
    config.load()
    assert config.list_models() == ["kept"]
    assert config.get_model("kept") is entry
    assert entry["parameters"] == {}


def test_save_and_load_take_another_file(path, tmp_path):
    other = tmp_path / "other.json"
    config = Config(path)
    config.add_model("m", "/m/a.gguf")
    config.save(other)
    assert not path.exists()
    assert config.config_path == str(path)

    fresh = Config(path)
    fresh.load(other)
    assert fresh.list_models() == ["m"]
    fresh.save()
    assert stored(path)["models"]["m"]["path"] == "/m/a.gguf"


def test_unknown_keys_and_other_scripts_are_kept(path):
    path.write_text('{"mine": {"näme": "値"}, "models": {"m": {"path": "x", "extra": 1}}}', encoding="utf-8")
    config = Config(path)
    config.set("default_model", "m")
    config.save()
    assert stored(path) == {
        "mine": {"näme": "値"},
        "models": {"m": {"path": "x", "extra": 1}},
        "default_model": "m",
    }


def test_a_key_that_was_removed_is_removed_from_the_file(path):
    config = Config(path)
    config.set("a.b", 1)
    config.set("a.c", 2)
    config.save()
    del config.config["a"]["b"]
    config.save()
    assert stored(path) == {"a": {"c": 2}}


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    target = tmp_path / "real.json"
    target.write_text("{}", encoding="utf-8")
    link = tmp_path / "config.json"
    link.symlink_to(target)
    config = Config(link)
    config.set("a", 1)
    config.save()
    assert link.is_symlink()
    assert stored(target) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{\n  "models": {},\n  "a" 1\n}', r"config\.json, line 3, column 7: Expecting ':' delimiter"),
        ("", r"line 1, column 1"),
        ("[]", "in braces"),
        ("null", "in braces"),
        ('{"models": []}', "'models' must be an object"),
        ('{"models": {"m": "path"}}', "'m' in 'models' must be an object"),
        ('{"models": {"m": {"path": 5}}}', "path and backend of the model 'm' must be text"),
        ('{"backends": {"openai": 1}}', "'openai' in 'backends' must be an object"),
        ('{"plugins": "all"}', "'plugins' must be an object with 'enabled'"),
        ('{"profiles": {"p": {"models": 1}}}', "profile 'p': 'models' must be an object"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_a_broken_file_is_told_and_left_alone(path, content, sentence):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        Config(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_file_in_another_encoding_is_told(path):
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match=r"not text in UTF-8 \(byte 7\)"):
        Config(path)


def test_a_file_that_broke_meanwhile_is_not_overwritten(path):
    config = Config(path)
    config.set("a", 1)
    path.write_text("{broken", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        config.save()
    assert path.read_text(encoding="utf-8") == "{broken"
    with pytest.raises(ConfigError):
        config.load()
    assert config.get("a") == 1


def test_a_value_that_json_cannot_hold_leaves_the_old_file(path):
    config = Config(path)
    config.set("a", 1)
    config.save()
    config.set("b", {1, 2})
    with pytest.raises(ConfigError, match="JSON can't hold"):
        config.save()
    assert stored(path) == {"a": 1}
    assert {file.name for file in path.parent.iterdir()} == {"config.json", "config.json.lock"}


def test_a_folder_in_the_files_place(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        Config(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be"):
        Config(tmp_path / "file" / "config.json").save()


# ---- several at once


def test_two_objects_that_save_to_one_file_lose_nothing_of_each_other(path):
    one, two = Config(path), Config(path)
    one.add_model("a", "/m/a.gguf")
    two.add_model("b", "/m/b.gguf")
    two.set("server.port", 9000)
    one.save()
    two.save()
    one.set("server.host", "0.0.0.0")
    one.remove_model("a")
    one.save()
    assert stored(path)["models"].keys() == {"b"}
    assert stored(path)["server"] == {"port": 9000, "host": "0.0.0.0"}
    assert one.list_models() == ["b"]


def test_processes_that_save_at_once_lose_no_model(path):
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from llamaforge import Config\n"
        "for n in range(10):\n"
        "    config = Config(sys.argv[1]); config.add_model(f'{sys.argv[2]}.{n}', '/m/x.gguf'); config.save()"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in "abc"]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert sorted(Config(path).list_models()) == sorted(f"{who}.{n}" for who in "abc" for n in range(10))


def test_threads_share_one_object(path):
    config = Config(path)

    def work(who):
        for n in range(20):
            config.add_model(f"{who}-{n}", "/m/x.gguf")
            config.set(("counts", who), n)
            config.get_all()
            if n % 10 == 9:
                config.save()

    threads = [threading.Thread(target=work, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Config(path).list_models()) == 80
    assert Config(path).get("counts") == dict.fromkeys("abcd", 19)


# ---- the environment and profiles


def test_the_environment_wins_and_is_never_saved(monkeypatch, path, tmp_path):
    path.write_text('{"default_model": "file", "api_keys": {"openai": "of the file", "other": "x"}}', encoding="utf-8")
    monkeypatch.setenv("LLAMAFORGE_DEFAULT_MODEL", "environment")
    monkeypatch.setenv("LLAMAFORGE_OPENAI_API_KEY", "of the environment")
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tmp_path / "models"))
    config = Config(path)
    assert config.get("default_model") == "environment"
    assert config.get("api_keys") == {"openai": "of the environment", "other": "x"}
    assert config.models_dir == tmp_path / "models"
    assert config.get_all()["default_model"] == "environment"
    config.set("default_model", "set")
    assert config.get("default_model") == "environment"
    config.save()
    assert stored(path) == {"default_model": "set", "api_keys": {"openai": "of the file", "other": "x"}}


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("LLAMAFORGE_DEFAULT_MODEL", "")
    assert Config(":memory:").get("default_model") is None


def test_a_profile_lies_over_the_file_and_takes_what_is_set(path):
    config = Config(path)
    config.set("server.port", 1)
    config.create_profile("work", {"server": {"host": "h"}})
    config.set_active_profile("work")
    config.set("server.port", 2)
    config.add_model("m", "/m/x.gguf")
    config.save()
    again = Config(path)
    assert again.get("server.port") == 2
    assert again.get("server.host") == "h"
    again.set_active_profile(None)
    assert again.get("server.port") == 1
    assert again.get("server.host") == "127.0.0.1"
    assert again.list_models() == ["m"]


def test_profiles_that_are_not_there_or_are_there_already():
    config = Config(":memory:")
    config.create_profile("work")
    with pytest.raises(ConfigError, match="already a profile 'work'"):
        config.create_profile("work")
    with pytest.raises(ConfigError, match=r"no profile 'home'\. Known: work"):
        config.set_active_profile("home")
    with pytest.raises(ParameterError, match="name of a profile"):
        config.create_profile(" ")


def test_plugins_of_the_file_are_enabled_and_their_older_list_is_refused(path):
    path.write_text(json.dumps({"plugins": {"enabled": ["text_cleaner"]}}), encoding="utf-8")
    assert llamaforge.LlamaForge(path).list_enabled_plugins() == ["text_cleaner"]
    path.write_text(json.dumps({"plugins": [{"name": "text_cleaner"}]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="'plugins' must be an object with 'enabled', a list of names"):
        llamaforge.LlamaForge(path)


# ---- settings and their types


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("server.enable_cors", "False", False),
        ("server.enable_cors", "no", False),
        ("server.enable_cors", "TRUE", True),
        ("server.enable_cors", True, True),
        ("server.port", "9000", 9000),
        ("server.request_timeout", "2.5", 2.5),
        ("default_model", None, None),
        ("default_model", "17", "17"),
    ],
)
def test_a_setting_has_its_type_however_it_was_written(path, key, words, value):
    config = Config(":memory:")
    config.set(key, words)
    assert config.get(key) == value
    assert type(config.get(key)) is type(value)

    section, _, name = key.rpartition(".")
    content = {section: {name: words}} if section else {name: words}
    for whole in (content, {"profiles": {"p": content}, "active_profile": "p"}):
        path.write_text(json.dumps(whole), encoding="utf-8")
        read = Config(path).get(key)
        assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("server.enable_cors", "perhaps", "'server.enable_cors' must be true or false"),
        ("server.enable_cors", 2, "'server.enable_cors' must be true or false"),
        ("server.enable_cors", [], "'server.enable_cors' must be true or false"),
        ("server.port", "http", "'server.port' must be a number"),
        ("server.port", True, "'server.port' must be a number"),
        ("server.port", 65536, "'server.port' must be between 0 and 65535"),
        ("server.port", 80.5, "'server.port' must be a whole number"),
        ("server.request_timeout", 0, "'server.request_timeout' must be at least 0.001"),
        ("models_dir", 5, "'models_dir' must be text"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(path, key, value, sentence):
    config = Config(":memory:")
    before = config.get_all()
    with pytest.raises(ConfigError, match=sentence):
        config.set(key, value)
    assert config.get_all() == before
    section, _, name = key.rpartition(".")
    content = {section: {name: value}} if section else {name: value}
    path.write_text(json.dumps({"profiles": {"p": content}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"config\.json, profile 'p': {sentence}"):
        Config(path)


def test_a_file_with_the_text_false_opens_nothing(path):
    path.write_text('{"server": {"enable_cors": "False"}, "mine": "False"}', encoding="utf-8")
    config = Config(path)
    assert config.get("server.enable_cors") is False
    assert config.get("mine") == "False", "what is not known is as it was"


def test_a_parameter_of_a_backend_with_a_dot_reaches_the_backend():
    config = Config(":memory:")
    config.set("backends.llama.cpp.default_parameters.n_ctx", 8)
    config.set("backends.llama.cpp.default_parameters.top_k", 1)
    assert config.get(("backends", "llama.cpp", "default_parameters")) == {"n_ctx": 8, "top_k": 1}
    config.set("models.llama-2.5.parameters.n_ctx", 9)
    assert config.get(("models", "llama-2.5", "parameters", "n_ctx")) == 9


# ---- paths


@pytest.mark.parametrize(
    ("given", "backend", "noted"),
    [
        ("model.gguf", "llama.cpp", "{here}/model.gguf"),
        ("./model.gguf", "llama.cpp", "{here}/model.gguf"),
        ("sub/../model.gguf", "llama.cpp", "{here}/sub/../model.gguf"),
        (Path("folder"), "huggingface", "{here}/folder"),
        ("folder", "openai", "folder"),
        ("folder", "eliza", "folder"),
        ("owner/name", "huggingface", "owner/name"),
        ("gpt-4", "openai", "gpt-4"),
        ("~/model.gguf", "llama.cpp", "~/model.gguf"),
        ("/m/x.gguf", "llama.cpp", "/m/x.gguf"),
        (r"C:\m\x.gguf", "llama.cpp", r"C:\m\x.gguf"),
        ("https://example.com/x.gguf", "mine", "https://example.com/x.gguf"),
        ("nothing here", "mine", "nothing here"),
    ],
)
def test_a_relative_path_is_noted_as_a_whole(tmp_path, monkeypatch, given, backend, noted):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    entry = Config(":memory:").add_model("m", given, backend)
    assert entry["path"] == noted.format(here=tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="locks of another kind")
def test_two_names_of_one_file_have_one_lock(tmp_path):
    target, link = tmp_path / "real" / "config.json", tmp_path / "config.json"
    target.parent.mkdir()
    target.write_text("{}", encoding="utf-8")
    link.symlink_to(target)
    waited = threading.Event()

    def save():
        Config(link).save()
        waited.set()

    with locked(target):
        thread = threading.Thread(target=save)
        thread.start()
        assert not waited.wait(0.2)
    thread.join()
    assert waited.is_set()
    assert not (tmp_path / "config.json.lock").exists()


def test_null_says_nothing_of_a_setting_that_has_to_be_something(path):
    path.write_text('{"models_dir": null, "server": {"port": null}, "log_conversations": null, "default_model": null}')
    config = Config(path)
    assert config.models_dir == Path("~/.llamaforge/models").expanduser()
    assert (config.get("server.port"), config.get("log_conversations"), config.get("default_model")) == (
        8000,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("models", [], "'models' must be an object"),
        ("models", None, "'models' must be an object"),
        ("models.m", 5, "'m' in 'models' must be an object"),
        ("models.m.path", 5, "path and backend of the model 'm' must be text"),
        ("server", 5, "'server' must be an object"),
        ("profiles.p", 1, "'p' in 'profiles' must be an object"),
        ("plugins", None, "'plugins' must be an object"),
    ],
)
def test_what_no_file_may_hold_is_not_set_either(path, key, value, sentence):
    config = Config(path)
    config.add_model("m", "m.gguf")
    before = config.get_all()
    with pytest.raises(ConfigError, match=sentence):
        config.set(key, value)
    assert config.get_all() == before


def test_none_gives_a_setting_its_default(path):
    config = Config(path)
    config.set("server.port", 9)
    config.set("server.port", None)
    assert config.get("server.port") == 8000
    config.set("default_model", None)
    assert config.get("default_model") is None
