"""Plugins at work: enabling, settings, text through them, tools and commands, registry."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from llamaforge.config import Config
from llamaforge.exceptions import ParameterError, PluginError
from llamaforge.plugins import (
    BasePlugin,
    CommandPlugin,
    PluginManager,
    PostprocessingPlugin,
    PreprocessingPlugin,
    ToolPlugin,
    registry,
)
from llamaforge.plugins.registry import CLASSES
from llamaforge.plugins.text_formatter import TextFormatter

FORGE = SimpleNamespace(name="the forge")


@pytest.fixture
def config() -> Config:
    return Config(":memory:")


@pytest.fixture
def manager(config: Config) -> PluginManager:
    return PluginManager(FORGE, config)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    before = {kind: dict(classes) for kind, classes in CLASSES.items()}
    yield
    for kind, classes in CLASSES.items():
        classes.clear()
        classes.update(before[kind])


class Upper(PostprocessingPlugin):
    name = "upper"
    supports_streaming = True

    def process(self, text: str) -> str:
        return text.upper()


class Exclaim(PostprocessingPlugin):
    name = "exclaim"

    def process(self, text: str) -> str:
        return text + "!"


class Broken(PostprocessingPlugin):
    name = "broken"
    supports_streaming = True

    def process(self, text: str) -> str:
        raise ValueError(f"no good: {text}")


class Add(ToolPlugin):
    name = "add"
    description = "Adds."
    parameters: ClassVar = {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    }

    def process(self, a: float, b: float) -> float:
        return a + b


class Greet(CommandPlugin):
    name = "greet"
    command_args = (
        {"name": "who", "help": "Whom.", "required": True},
        {"name": "word", "required": False, "default": "Hello"},
    )

    def process(self, who: str, word: str, llamaforge: SimpleNamespace) -> str:
        return f"{word}, {who}, from {llamaforge.name}"


# ---- registries


def test_the_built_in_plugins_are_listed_by_kind(manager: PluginManager) -> None:
    assert manager.list() == ["text_formatter", "text_cleaner", "calculator", "benchmark"]
    assert manager.list("tools") == ["calculator"]
    assert {kind: list(classes) for kind, classes in CLASSES.items()} == {
        "preprocessing": ["text_formatter"],
        "postprocessing": ["text_cleaner"],
        "tools": ["calculator"],
        "commands": ["benchmark"],
    }
    assert registry.get("preprocessing", "text_formatter") is TextFormatter
    with pytest.raises(PluginError, match="no plugin among the tools called 'text_formatter'"):
        registry.get("tools", "text_formatter")
    with pytest.raises(ParameterError, match=r"no kind of plugins 'tool'.*Did you mean 'tools'"):
        registry.register("tool", "x", TextFormatter)  # type: ignore[arg-type]


def test_a_registered_class_can_be_enabled(manager: PluginManager) -> None:
    registry.register("tools", "add", Add)
    manager.enable("add")
    assert manager.list("tools") == ["calculator", "add"]
    assert manager.use_tool("add", {"a": 1, "b": 2}) == 3


@pytest.mark.parametrize(
    ("name", "cls", "sentence"),
    [
        ("", Add, "A plugin needs a name that is not blank."),
        (3, Add, "The name of a plugin must be text."),
        ("add", Add(), "The plugin 'add' must be a class, not an instance or a function."),
        ("add", int, "The plugin 'add' has no process() method."),
    ],
)
def test_what_is_no_plugin_class_is_refused(name: str, cls: type[BasePlugin], sentence: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.register("preprocessing", name, cls)
    assert str(caught.value) == sentence


def test_an_unknown_name_is_answered_with_the_nearest(manager: PluginManager) -> None:
    for ask in (manager.enable, manager.disable, manager.get_config, manager.get):
        with pytest.raises(PluginError) as caught:
            ask("text_formater")
        assert str(caught.value) == "There is no plugin 'text_formater'. Did you mean 'text_formatter'?"
    with pytest.raises(
        PluginError, match=r"There is no plugin among the tools called 'calculater'. Did you mean 'calculator'"
    ):
        registry.get("tools", "calculater")


# ---- on and off


def test_enabling_is_noted_in_the_configuration(config: Config, tmp_path: Path) -> None:
    stored = Config(tmp_path / "config.json")
    manager = PluginManager(FORGE, stored)
    manager.enable("text_formatter")
    manager.enable("text_formatter")
    manager.set_config("text_formatter", {"template": "Q: {text}"})
    assert manager.list_enabled() == ["text_formatter"]
    assert manager.is_enabled("text_formatter")
    assert not manager.is_enabled("no such plugin")
    stored.save()

    again = PluginManager(FORGE, Config(tmp_path / "config.json"))
    assert again.list_enabled() == ["text_formatter"]
    assert again.preprocess(" why ") == "Q: why"
    again.disable("text_formatter")
    assert again.preprocess(" why ") == " why "


def test_a_plugin_of_the_configuration_that_cannot_start_is_logged(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config.set("plugins.enabled", ["nothing", "text_cleaner", "text_formatter"])
    config.set("plugins.config", {"text_formatter": {"template": "no place"}})
    manager = PluginManager(FORGE, config)
    assert manager.list_enabled() == ["text_cleaner"]
    assert "There is no plugin 'nothing'" in caplog.text
    assert "'template' must contain {text}" in caplog.text


def test_the_hooks_are_called_once(manager: PluginManager) -> None:
    seen: list[object] = []

    class Hooked(PreprocessingPlugin):
        name = "hooked"

        def process(self, text: str) -> str:
            return text

        def initialize(self, **kwargs: object) -> None:
            seen.append(kwargs)

        def shutdown(self) -> None:
            seen.append("down")

    manager.register(Hooked())
    manager.enable("hooked")
    manager.disable("hooked")
    manager.disable("hooked")
    assert seen == [{"llamaforge": FORGE}, "down"]
    manager.enable("hooked")
    manager.close()
    assert seen == [{"llamaforge": FORGE}, "down", {"llamaforge": FORGE}, "down"]


def test_dependencies_are_enabled_first_and_kept(manager: PluginManager) -> None:
    class Needy(Upper):
        name = "needy"
        dependencies = ("text_cleaner",)

    manager.register(Needy())
    assert manager.list_enabled() == ["text_cleaner", "needy"]
    with pytest.raises(PluginError, match=r"The plugin 'text_cleaner' is needed by needy; disable that first."):
        manager.disable("text_cleaner")
    manager.disable("needy")
    manager.disable("text_cleaner")
    assert manager.list_enabled() == []


def test_a_circle_of_dependencies_enables_nothing(manager: PluginManager, config: Config) -> None:
    class One(Upper):
        name = "one"
        dependencies = ("calculator", "two")

    class Two(Upper):
        name = "two"
        dependencies = ("one",)

    registry.register("preprocessing", "one", One)
    registry.register("preprocessing", "two", Two)
    with pytest.raises(PluginError, match="depend on each other in a circle: one -> two -> one"):
        manager.enable("one")
    assert manager.list_enabled() == []
    assert config.get("plugins.enabled") == []


def test_a_plugin_that_cannot_start_stays_off(manager: PluginManager) -> None:
    class Cold(Upper):
        name = "cold"
        dependencies = ("calculator",)

        def initialize(self, **kwargs: Any) -> None:
            raise OSError("no fuel" if kwargs else "")

    registry.register("preprocessing", "cold", Cold)
    with pytest.raises(PluginError, match="The plugin 'cold' could not start: no fuel"):
        manager.enable("cold")
    assert manager.list_enabled() == []


def test_what_has_no_name_or_kind_is_no_plugin(manager: PluginManager) -> None:
    class Kindless(BasePlugin):
        name = "kindless"

        def process(self, text: str) -> str:
            return text[::-1]

    with pytest.raises(PluginError, match="The kind of the plugin 'kindless' is not known"):
        manager.register(Kindless())
    manager.register(Kindless(), kind="preprocessing")
    assert manager.preprocess("abc") == "cba"
    with pytest.raises(PluginError, match="has no name"):
        manager.register(SimpleNamespace(process=print))  # type: ignore[arg-type]


def test_a_registered_instance_replaces_the_one_of_its_name(manager: PluginManager) -> None:
    class Louder(Upper):
        def process(self, text: str) -> str:
            return text.upper() + "!"

    manager.register(Upper())
    manager.register(Louder())
    assert manager.postprocess("hi") == "HI!"
    assert manager.list_enabled() == ["upper"]


# ---- settings


def test_settings_are_checked_and_kept_when_wrong(manager: PluginManager, config: Config) -> None:
    manager.set_config("text_formatter", {"template": "A {text}"})
    for wrong, sentence in [
        ({"templat": "x"}, "There is no setting 'templat'. Did you mean 'template'?"),
        ({"trim_whitespace": "yes"}, "'trim_whitespace' must be true or false."),
        ({"template": "without"}, "'template' must contain {text}, where the prompt goes."),
        ({"chat_format": "vicuna"}, "'chat_format' must be one of llama2, chatml, alpaca, not 'vicuna'."),
    ]:
        with pytest.raises(ParameterError) as caught:
            manager.set_config("text_formatter", wrong)
        assert str(caught.value) == sentence
    assert manager.get_config("text_formatter")["template"] == "A {text}"
    assert manager.get_config("text_formatter")["trim_whitespace"] is True
    assert config.get("plugins.config") == {"text_formatter": {"template": "A {text}"}}
    assert list(manager.all_configs()) == ["text_formatter", "text_cleaner", "calculator", "benchmark"]


def test_a_broken_pattern_is_refused(manager: PluginManager) -> None:
    with pytest.raises(ParameterError, match="'special_token_patterns' has a broken regular expression"):
        manager.set_config("text_cleaner", {"custom_token_patterns": ["("]})
    assert manager.get("text_cleaner").process("<s>a</s>") == "a"


# ---- text


def test_postprocessors_run_in_reverse_order(manager: PluginManager) -> None:
    manager.register(Upper())
    manager.register(Exclaim())
    manager.register(AddsLetter())
    assert manager.postprocess("a") == "AX!"


class AddsLetter(PostprocessingPlugin):
    name = "letter"

    def process(self, text: str) -> str:
        return text + "x"


def test_a_plugin_that_raises_is_logged_and_skipped(manager: PluginManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.register(Upper())
    manager.register(Broken())
    assert manager.postprocess("hello") == "HELLO"
    assert list(manager.postprocess_stream(iter(["he", "llo"]))) == ["HE", "LLO"]
    assert [record.message for record in caplog.records] == ["The plugin 'broken' failed and was skipped."] * 2


def test_a_plugin_that_returns_no_text_is_skipped(manager: PluginManager, caplog: pytest.LogCaptureFixture) -> None:
    class Nothing(PreprocessingPlugin):
        name = "nothing"

        def process(self, text: str) -> int:
            return len(text)

    manager.register(Nothing())
    assert manager.preprocess("kept") == "kept"
    assert "returned no text" in caplog.text


def test_pieces_pass_raw_when_one_plugin_cannot_stream(manager: PluginManager) -> None:
    manager.register(Upper())
    assert list(manager.postprocess_stream(iter(["a", "b"]))) == ["A", "B"]
    manager.register(Exclaim())
    assert list(manager.postprocess_stream(iter(["a", "b"]))) == ["a", "b"]


def test_without_plugins_the_stream_is_the_stream(manager: PluginManager) -> None:
    pieces = iter(["a"])
    assert manager.postprocess_stream(pieces) is pieces


def test_a_plugin_that_fails_in_the_middle_loses_no_text(
    manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    class Pairs(PostprocessingPlugin):
        name = "pairs"
        supports_streaming = True

        def process_stream(self, pieces: Iterator[str]) -> Iterator[str]:
            yield next(pieces).upper()
            next(pieces)
            next(pieces)
            raise KeyError("third")

    manager.register(Pairs())
    assert list(manager.postprocess_stream(iter(["a", "b", "c", "d"]))) == ["A", "b", "c", "d"]
    assert "The plugin 'pairs' failed" in caplog.text


def test_an_error_of_the_engine_is_not_taken_for_the_plugins(
    manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    def engine() -> Iterator[str]:
        yield "a"
        raise RuntimeError("the engine broke")

    manager.register(Upper())
    stream = manager.postprocess_stream(engine())
    assert next(stream) == "A"
    with pytest.raises(RuntimeError, match="the engine broke"):
        next(stream)
    assert caplog.records == []


def test_closing_the_stream_closes_the_engine(manager: PluginManager) -> None:
    closed: list[bool] = []

    def engine() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    manager.register(Upper())
    manager.enable("text_cleaner")
    stream = manager.postprocess_stream(engine())
    assert next(stream) == "A"
    stream.close()  # type: ignore[attr-defined]
    assert closed == [True]


# ---- tools and commands


def test_tools_take_arguments_by_name_or_the_first_one(manager: PluginManager) -> None:
    assert manager.use_tool("calculator", {"expression": "2^10"}) == 1024
    assert manager.use_tool("calculator", "calculate sqrt(144)") == 12


def test_models_are_told_of_enabled_tools(manager: PluginManager) -> None:
    assert manager.tool_schemas() == []
    manager.register(Add())
    assert manager.tool_schemas() == [
        {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": Add.parameters}}
    ]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("add", {"a": 1}, "The tool 'add' needs 'b'."),
        ("add", {"a": 1, "b": 2, "cc": 3}, "The tool 'add': There is no argument 'cc'. Known: a, b."),
        ("text_cleaner", "x", "The plugin 'text_cleaner' is not among the tools: it is for postprocessing."),
        ("ad", {}, "There is no plugin 'ad'. Did you mean 'add'?"),
    ],
)
def test_calls_that_do_not_fit_are_refused(manager: PluginManager, name: str, data: object, sentence: str) -> None:
    manager.register(Add())
    with pytest.raises(PluginError) as caught:
        manager.use_tool(name, data)
    assert str(caught.value) == sentence


def test_commands_get_the_forge_and_their_defaults(manager: PluginManager) -> None:
    manager.register(Greet())
    assert manager.run_command("greet", {"who": "Ada"}) == "Hello, Ada, from the forge"
    assert manager.run_command("greet", {"who": "Ada", "word": "Bye"}) == "Bye, Ada, from the forge"
    with pytest.raises(PluginError, match="The command 'greet' needs 'who'"):
        manager.run_command("greet")
    with pytest.raises(PluginError, match=r"no argument 'wrd'. Did you mean 'word'"):
        manager.run_command("greet", {"who": "Ada", "wrd": "Bye"})


# ---- discovery


DISTRIBUTION = {
    "good_plugin.py": """
from llamaforge.plugins import ToolPlugin

class Shout(ToolPlugin):
    name = "shout"
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}

    def process(self, text):
        return text.upper() + "!"

class Unmakeable(ToolPlugin):
    name = "unmakeable"

    def __init__(self, config=None):
        raise OSError("the moon is in the wrong phase")

not_a_plugin = 7
""",
    "bad_plugin.py": "raise RuntimeError('broken on import')\n",
    "extra-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n",
    "extra-1.0.dist-info/entry_points.txt": """[llamaforge.plugins]
shout = good_plugin:Shout
unmakeable = good_plugin:Unmakeable
odd = good_plugin:not_a_plugin
broken = bad_plugin:Anything
absent = no_such_module:Anything
calculator = good_plugin:Shout
""",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with plugins, as pip leaves it."""
    for name, content in DISTRIBUTION.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_plugins_of_installed_packages_are_found(
    installed: None, manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert manager.use_tool("shout", "hey") == "HEY!"
    assert manager.use_tool("calculator", "1+1") == 2, "a built-in is not replaced"
    assert manager.list("tools") == ["calculator", "shout", "unmakeable"]
    with pytest.raises(PluginError, match="could not be made: the moon is in the wrong phase"):
        manager.enable("unmakeable")
    assert list(manager.all_configs()) == ["text_formatter", "text_cleaner", "calculator", "shout", "benchmark"]
    warned = {record.args[0] for record in caplog.records if record.name == "llamaforge.plugins.registry"}  # type: ignore[index]
    assert warned == {"odd", "broken", "absent"}
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("module", ["llamaforge.plugins.benchmark", "llamaforge.plugins.manager", "llamaforge"])
def test_there_is_no_circular_import(module: str) -> None:
    """Each can be the first to be imported, and then all four registries are full."""
    code = (
        f"import {module}; from llamaforge.plugins.registry import CLASSES; "
        "print([list(classes) for classes in CLASSES.values()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[['text_formatter'], ['text_cleaner'], ['calculator'], ['benchmark']]\n"
