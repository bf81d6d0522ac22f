"""A conversation on a terminal, with what is typed and what is shown in the test's hands."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import json
import subprocess
import sys
from pathlib import Path

import pytest

import llamaforge
from llamaforge import LlamaForge, ModelNotFoundError, ModelNotLoadedError, backends, register_backend
from llamaforge.chat import ChatInterface
from tests.support.eliza import SAD, SAD_LINES, SAD_WORDS

SOURCE = Path(llamaforge.__file__).parents[1]


@pytest.fixture
def forge(monkeypatch):
    monkeypatch.setattr(backends, "_registry", dict(backends._registry))
    with LlamaForge(":memory:") as forge:
        forge.add_model("doctor", "doctor", "eliza")
        forge.add_model("shouting", "doctor", "eliza", {"upper": True})
        forge.config.set("default_model", "doctor")
        yield forge


def talk(forge, *lines, **options):
    """What is shown when these lines are typed; an exception among them is raised in place of a line."""
    shown = []
    typed = iter([*lines, "/exit"])

    def read(prompt):
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    chat = ChatInterface(forge, read=read, write=shown.append, **options)
    chat.start()
    return chat, "".join(shown).splitlines()[1:]


def test_a_conversation_has_a_history(forge):
    chat, shown = talk(forge, "I am sad", "", "  ", "exit", "never read")
    assert shown == SAD_LINES
    assert chat.history == [{"role": "user", "content": "I am sad"}, {"role": "assistant", "content": SAD}]
    assert chat.model == "doctor"


def test_the_answer_is_shown_as_it_comes(forge):
    pieces = []
    chat = forge.create_chat_interface("doctor")
    chat._write = pieces.append
    chat.say("I am sad")
    assert pieces == [*SAD_WORDS, "\n"]


@pytest.mark.parametrize("goodbye", ["exit", "QUIT", "q", "/exit", "/quit"])
def test_ways_to_end(forge, goodbye):
    assert talk(forge, goodbye, "never read")[1] == []


def test_ctrl_c_at_the_prompt_clears_the_line(forge):
    chat, shown = talk(forge, KeyboardInterrupt(), "I am sad")
    assert shown == ["", *SAD_LINES]
    assert len(chat.history) == 2


class Interrupted:
    """Says three words and is interrupted by the person in the middle, as Ctrl-C does it."""

    closed = False

    def load_model(self, model_path, parameters=None): ...

    def generate(self, prompt, parameters=None):
        return "".join(self.generate_stream(prompt))

    def generate_stream(self, prompt, parameters=None):
        try:
            if "first" not in prompt:
                yield "one "
                yield "two"
            raise KeyboardInterrupt
        finally:
            Interrupted.closed = True

    def is_model_loaded(self):
        return True


def test_ctrl_c_ends_an_answer_and_what_was_said_counts(forge):
    register_backend("interrupted", Interrupted)
    forge.add_model("i", "/x", "interrupted")
    chat, shown = talk(forge, "hello", "/model doctor", "I am sad", model="i")
    assert shown[0] == "one two"
    assert shown[2:5] == SAD_LINES
    assert [turn["content"] for turn in chat.history] == ["hello", "one two", "I am sad", SAD]
    assert Interrupted.closed


def test_ctrl_c_before_the_first_word_forgets_the_turn(forge):
    register_backend("interrupted", Interrupted)
    forge.add_model("i", "/x", "interrupted")
    chat, _ = talk(forge, "be interrupted first", model="i")
    assert chat.history == []
    assert forge.unload_model("i")


class Failing(Interrupted):
    def generate_stream(self, prompt, parameters=None):
        yield "half "
        raise RuntimeError("the engine died")


def test_an_engine_that_fails_ends_the_turn_and_not_the_conversation(forge):
    register_backend("failing", Failing)
    forge.add_model("f", "/x", "failing")
    chat, shown = talk(forge, "hello", "/model doctor", "I am sad", model="f")
    assert shown == ["half ", "the engine died", "Model: doctor", *SAD_LINES]
    assert [turn["content"] for turn in chat.history] == ["I am sad", SAD]


class Echo(Interrupted):
    def generate_stream(self, prompt, parameters=None):
        yield prompt.replace("\n", "|")
        yield str(parameters)


def test_the_system_prompt_and_the_parameters_reach_the_model(forge):
    register_backend("echo", Echo)
    forge.add_model("e", "/x", "echo")
    _, shown = talk(
        forge, "one", "/system Be rude.", "two", "/system", "/system -", "/reset", "three", "//help",
        model="e", system_prompt="Be kind.", parameters={"top_k": 3},
    )  # fmt: skip
    first = "System: Be kind.|User: one|Assistant:{'top_k': 3}"
    assert shown == [
        first,
        "System prompt: Be rude.",
        f"System: Be rude.|User: one|Assistant: {first}|User: two|Assistant:{{'top_k': 3}}",
        "System prompt: Be rude.",
        "System prompt: none",
        "The conversation begins anew.",
        "User: three|Assistant:{'top_k': 3}",
        "User: three|Assistant: User: three|Assistant:{'top_k': 3}|User: /help|Assistant:{'top_k': 3}",
    ]


def test_another_model_goes_on_with_the_conversation(forge):
    chat, shown = talk(forge, "I am sad", "/model shouting", "I am sad", "/model", "/model nobody")
    assert shown[:3] == SAD_LINES
    assert shown[3] == "Model: shouting"
    assert shown[4].isupper()
    assert shown[5] == "Model: shouting"
    assert shown[6].startswith("There is no model 'nobody'. Known: doctor, shouting.")
    assert chat.model == "shouting"


def test_help_names_every_command(forge):
    _, shown = talk(forge, "/help")
    assert all(any(line.startswith(f"/{name}") for line in shown) for name in ChatInterface._COMMANDS)


def test_an_unknown_command_is_told_the_nearest(forge):
    assert talk(forge, "/rest")[1] == ["There is no command 'rest'. Did you mean 'reset'?"]


def test_a_conversation_is_kept_and_taken_up_again(forge, tmp_path):
    file = tmp_path / "chat.json"
    talk(forge, "I am sad", f"/save {file}", system_prompt="Be kind.")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["messages"][1] == {"role": "assistant", "content": SAD}

    chat, shown = talk(forge, f"/load {file}")
    assert shown == [f"2 messages of {file}."]
    assert chat.history == kept["messages"]
    assert chat.system_prompt == "Be kind."


def test_files_that_cannot_be_used(forge, tmp_path):
    there = tmp_path / "there.json"
    there.write_text('{"messages": [{"role": "user", "content": 5}]}', encoding="utf-8")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\xff\xfe")
    chat, shown = talk(
        forge, "/save", "/load", f"/save {there}", f"/load {there}", f"/load {garbage}",
        f"/load {tmp_path / 'no'}", f"/load {tmp_path}", "/save ~nobody-has-this/file", "/load ~nobody-has-this/file",
    )  # fmt: skip
    assert shown == [
        "Say into which file: /save FILE",
        "Say which file: /load FILE",
        f"{there}: File exists",
        f"{there} holds no conversation.",
        f"{garbage} holds no conversation.",
        f"{tmp_path / 'no'}: No such file or directory",
        f"{tmp_path}: Is a directory",
        *["~nobody-has-this/file: No such file or directory"] * 2,
    ]
    assert chat.history == []


def test_without_any_model_there_is_no_conversation(forge):
    forge.config.set("default_model", None)
    with pytest.raises(ModelNotLoadedError, match="No model was named, and there is no default_model"):
        talk(forge, "I am sad")


def test_an_unknown_model_is_told_before_the_first_prompt(forge):
    with pytest.raises(ModelNotFoundError, match=r"no model 'docter'\. Did you mean 'doctor'"):
        talk(forge, "hello", model="docter")


def test_on_a_real_terminal_stream():
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from llamaforge import LlamaForge\n"
        "LlamaForge(':memory:').create_chat_interface('eliza').start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input="I am sad\n", capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == f"eliza: /help tells what you can do, /exit ends.\n> {SAD}\n> \n"
    assert done.stderr == ""
