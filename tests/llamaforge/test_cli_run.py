"""`llamaforge run` and `chat`: whom they ask, with what, and what is kept of it."""

import base64
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llamaforge.cli import app
from llamaforge.config import Config
from llamaforge.conversations import ConversationLog
from llamaforge.exceptions import ConfigError
from tests.support import tiny_gguf
from tests.support.eliza import SAD
from tests.support.upstream import Upstream

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Path:
    """A configuration whose model `m` says what it is asked."""
    for name in [name for name in os.environ if name.startswith(("LLAMAFORGE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.chdir(tmp_path)
    config = Config()
    options = {"api_base": upstream.openai_url, "max_retries": 0}
    config.add_model("m", "echo", "openai", options, {"aliases": ["mirror"]})
    config.add_model("caller", "call", "openai", options)
    config.add_model("d", "doctor", "eliza")
    config.save()
    return tmp_path


def call(*args: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=typed)


def said(*args: str, typed: str | None = None) -> str:
    result = call(*args, typed=typed)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def failed(*args: str, code: int = 1, typed: str | None = None) -> str:
    result = call(*args, typed=typed)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def asked(upstream: Upstream) -> list[Any]:
    """The last messages of all questions."""
    return [one.body["messages"][-1]["content"] for one in upstream.chats]


# ---- whom


@pytest.mark.parametrize(
    ("args", "typed", "answer"),
    [
        (("m", "hello"), None, "hello\n"),
        (("m", "why", "is", "that?"), None, "why is that?\n"),
        (("m",), "from a pipe", "from a pipe\n"),
        (("m", "-"), "from a pipe", "from a pipe\n"),
        (("-m", "m", "hello"), "not read", "hello\n"),
        (("-m", "m", "m", "is", "a", "letter"), None, "m is a letter\n"),
        (("-m", "m"), "from a pipe", "from a pipe\n"),
        (("mirror", "hello"), None, "hello\n"),
        (("-m", "mirror", "hello"), None, "hello\n"),
        (("d", "I am sad"), None, f"{SAD}\n"),
        (("eliza", "I am sad"), None, f"{SAD}\n"),
        (("-b", "eliza", "doctor", "I am sad"), None, f"{SAD}\n"),
    ],
)
def test_a_model_and_a_prompt(args: tuple[str, ...], typed: str | None, answer: str) -> None:
    assert said("run", *args, typed=typed) == answer


def test_a_single_word_is_a_prompt_for_the_default_model_unless_it_is_a_model() -> None:
    said("config", "set", "default_model", "m")
    assert said("run", "hello") == "hello\n"
    assert said("run", "two words") == "two words\n"
    assert said("run", "d", typed="I am sad") == f"{SAD}\n"
    assert said("run", typed="piped") == "piped\n"


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("n", "hello"), 1, "There is no model 'n'."),
        (("mirrr", "hello", "you"), 1, "Quote a prompt of several words."),
        (("nobody",), 1, "There is no model 'nobody'."),
        (("a prompt",), 1, "No model loaded: call load_model(), or set a default_model."),
        (("m", ""), 2, "the prompt is empty"),
        (("m", "-"), 2, "the prompt is empty"),
        (("--raw", "--system", "x", "m", "hi"), 2, "takes a prompt alone"),
        (("--raw", "-T", "calculator", "m", "hi"), 2, "takes a prompt alone"),
        (("m", "hi", "-p", "temprature=1"), 1, "Did you mean 'temperature'?"),
        (("m", "hi", "-f", "nowhere"), 1, "nowhere can't be read: No such file or directory."),
        (("m", "hi", "-f", "picture.png"), 1, "picture.png is not text in UTF-8 (byte 0); give a picture by -a."),
        (("m", "hi", "-a", "notes.txt"), 1, "notes.txt is no picture: give PNG, JPEG, GIF or WebP, or a text by -f."),
        (("m", "hi", "-a", "nowhere"), 1, "nowhere can't be read: No such file or directory."),
        (("m", "hi", "--schema", "{"), 1, "The schema is not JSON"),
        (("m", "hi", "--schema", "[1]"), 1, "'[1]' is no field of a schema"),
        (("m", "hi", "--schema", ""), 1, "The schema is empty."),
        (
            ("m", "hi", "--schema", "age number"),
            1,
            "'age number' is no field of a schema: write name, or name and one of",
        ),
        (("m", "hi", "--schema", "no.json"), 1, "The schema no.json can't be read"),
        (("m", "hi", "--schema", "list.json"), 1, "A JSON schema is an object, in braces."),
        (("m", "hi", "-T", "nothing"), 1, "There is no plugin 'nothing'"),
        (("m", "hi", "-T", "nowhere:nothing"), 1, "There is no tool 'nowhere:nothing'"),
        (("m", "hi", "-T", "json:nothing"), 1, "There is no tool 'json:nothing'"),
        (("m", "hi", "-T", "json:decoder"), 1, "A tool is made from a function"),
        (("m", "hi", "-T", "text_cleaner"), 1, "'text_cleaner' is no tool, but of the kind postprocessing."),
        (("m", "hi", "-c"), 1, "There is no conversation in the log yet."),
        (("m", "hi", "--conversation", "abc"), 1, "There is no conversation 'abc'."),
        (("m", "hi", "-o", "/dev/null/x"), 1, "/dev/null/x can't be written"),
    ],
)
def test_mistakes_are_sentences(
    home: Path, upstream: Upstream, args: tuple[str, ...], code: int, sentence: str
) -> None:
    (home / "notes.txt").write_text("my notes")
    (home / "picture.png").write_bytes(PNG)
    (home / "list.json").write_text("[]")
    message = failed("run", *args, code=code, typed="")
    assert sentence in message
    assert "Traceback" not in message
    assert upstream.chats == []


# ---- chat or not


def test_a_model_with_a_template_is_asked_as_in_a_chat(tmp_path: Path) -> None:
    """The tiny model says what its template put before the end, by the length of the prompt."""
    chats = tiny_gguf.write_gguf(tmp_path / "chats.gguf")
    plain = tiny_gguf.write_gguf(tmp_path / "plain.gguf", template=None)
    options = ("-t", "0", "-p", "max_tokens=2", "--json")

    def form(*args: str) -> tuple[str, int]:
        whole = json.loads(said("run", *args, *options, "Hi"))
        return whole["object"], whole["usage"]["prompt_tokens"]

    chatted, raw = form(str(chats)), form("--raw", str(chats))
    assert (chatted[0], raw[0]) == ("chat.completion", "text_completion")
    assert chatted[1] > raw[1]
    assert form(str(plain)) == ("text_completion", raw[1])
    assert form("--chat", str(plain))[0] == "chat.completion"
    assert form("--system", "x", str(plain))[0] == "chat.completion"


# ---- with what


def test_texts_of_files_go_before_the_prompt(home: Path, upstream: Upstream) -> None:
    (home / "a.txt").write_text("first\n")
    (home / "sub").mkdir()
    (home / "sub" / "b.txt").write_text("zweitens ü")
    said("run", "m", "-f", "a.txt", "--file", "sub/b.txt", "Compare.")
    said("run", "m", "-f", "a.txt")
    said("run", "m", "-f", "-", "Sum up.", typed="piped")
    assert asked(upstream) == [
        "a.txt:\n\nfirst\n\n\nb.txt:\n\nzweitens ü\n\nCompare.",
        "a.txt:\n\nfirst\n",
        "piped\n\nSum up.",
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_goes_with_the_prompt(home: Path, upstream: Upstream, data: bytes, kind: str) -> None:
    (home / "picture").write_bytes(data)
    said("run", "m", "-a", "picture", "-a", str(home / "picture"), "What is it?")
    picture = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}
    assert asked(upstream) == [[{"type": "text", "text": "What is it?"}, picture, picture]]


@pytest.mark.parametrize(
    ("words", "properties"),
    [
        ("name, age int", {"name": {"type": "string"}, "age": {"type": "integer"}}),
        ("ok bool: whether it is", {"ok": {"type": "boolean", "description": "whether it is"}}),
        ("tags list, x float", {"tags": {"type": "array", "items": {"type": "string"}}, "x": {"type": "number"}}),
        ('{"type": "object", "properties": {"a": {}}}', {"a": {}}),
        ("file.json", {"b": {}}),
    ],
)
def test_a_schema_in_three_forms(home: Path, upstream: Upstream, words: str, properties: dict[str, Any]) -> None:
    (home / "file.json").write_text('{"type": "object", "properties": {"b": {}}}')
    said("run", "m", "--schema", words, "Who?")
    schema = upstream.chats[-1].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == properties
    if not words.startswith(("{", "file")):
        assert schema["required"] == list(properties)


def test_parameters_and_system_reach_the_model(upstream: Upstream) -> None:
    said("run", "m", "-s", "Be brief.", "-p", "top_p=0.5", "-p", 'stop=["x"]', "-t", "0", "-n", "9", "hello")
    body = upstream.chats[-1].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["top_p"], body["stop"], body["temperature"], body["max_tokens"]) == (0.5, ["x"], 0.0, 9)


def test_json_is_the_whole_answer(home: Path) -> None:
    whole = json.loads(said("run", "m", "--json", "hello"))
    assert whole["choices"][0]["message"]["content"] == "hello"
    assert whole["object"] == "chat.completion"
    json.loads(said("run", "m", "--json", "-o", "answer", "hello"))
    assert (home / "answer").read_text() == "hello"


def test_tools_are_run(home: Path, upstream: Upstream) -> None:
    call_of = '<tool_call>\n{"name": "double", "arguments": {"number": 21}}\n</tool_call>'
    tiny_gguf.write_gguf(home / "caller.gguf", says=call_of)
    (home / "mine_for_tests.py").write_text(
        "def double(number: int) -> int:\n    'Twice.'\n    with open('called', 'a') as file:\n"
        "        file.write(f'{2 * number} ')\n"
    )
    config = Config()
    config.add_model("caller", home / "caller.gguf", parameters={"n_threads": 1, "n_ctx": 4096})
    config.save()
    said("run", "caller", "-T", "mine_for_tests:double", "-t", "0", "Twice 21?")
    assert (home / "called").read_text() == "42 " * 16
    said("run", "m", "-T", "calculator", "hello")
    (tool,) = upstream.chats[-1].body["tools"]
    assert tool["function"]["name"] == "calculator"
    assert Config().get("plugins.enabled") == [], "for this question only"


# ---- what is kept


def log() -> ConversationLog:
    return ConversationLog(Path(Config().config_path).with_name("conversations.db"))


def test_what_was_said_is_logged_for_its_owner_only(home: Path) -> None:
    said("run", "m", "-s", "Be brief.", "hello")
    (home / "picture").write_bytes(PNG)
    said("run", "m", "-a", "picture", "look")
    said("run", "d", "I am sad")
    kept = log().get()
    assert (kept["model"], kept["system"]) == ("d", None)
    assert kept["messages"] == [
        {"role": "user", "content": "I am sad"},
        {"role": "assistant", "content": SAD},
    ]
    assert stat.S_IMODE((home / "conversations.db").stat().st_mode) == 0o600
    rows = json.loads(said("logs", "--json"))
    assert [(row["model"], row["messages"], row["first"]) for row in rows] == [
        ("d", 2, "I am sad"),
        ("m", 2, "look\n[picture: picture]"),
        ("m", 2, "hello"),
    ]
    assert log().get(rows[2]["id"])["system"] == "Be brief."


def test_a_conversation_goes_on(upstream: Upstream) -> None:
    said("run", "m", "-s", "Be brief.", "one")
    said("run", "d", "I am sad")
    first = json.loads(said("logs", "--json"))[1]["id"]
    said("run", "--conversation", first[:5], "two words")
    said("run", "-c", "three words")
    assert [message["content"] for message in upstream.chats[-1].body["messages"]] == [
        "Be brief.", "one", "one", "two words", "two words", "three words",
    ]  # fmt: skip
    said("chat", "-c", typed="four\n/reset\nfive\n")
    assert len(upstream.chats[-2].body["messages"]) == 8
    assert [(row["messages"], row["first"]) for row in json.loads(said("logs", "--json"))] == [
        (2, "five"), (8, "one"), (2, "I am sad"),
    ]  # fmt: skip
    said("run", "-c", "d", "I am sad")
    assert log().get()["model"] == "d", "another model goes on with it"


def test_a_file_that_is_loaded_begins_another_conversation_of_the_log(home: Path) -> None:
    said("chat", "m", typed=f"one\n/save {home / 'kept'}\ntwo\n")
    said("chat", "m", typed=f"three\n/load {home / 'kept'}\nfour\nfive\n")
    rows = [(row["messages"], row["first"]) for row in json.loads(said("logs", "--json"))]
    assert rows == [(6, "one"), (2, "three"), (4, "one")]
    assert [turn["content"] for turn in log().get()["messages"]][::2] == ["one", "four", "five"]


@pytest.mark.parametrize("how", ["option", "setting", "profile"])
def test_nothing_is_logged_where_that_is_not_wanted(home: Path, how: str) -> None:
    if how == "profile":
        said("config", "create-profile", "quiet")
        said("config", "set-profile", "quiet")
    if how != "option":
        said("config", "set", "log_conversations", "off")
    option = ["--no-log"] if how == "option" else []
    said("run", "m", *option, "hello")
    said("chat", "m", *option, typed="hello\n")
    assert not (home / "conversations.db").exists()


def test_a_failed_question_is_not_logged(home: Path) -> None:
    failed("run", "m", "-p", "temprature=1", "hello")
    assert not (home / "conversations.db").exists()


def test_a_log_that_cannot_be_written_does_not_stop_a_conversation(home: Path) -> None:
    (home / "conversations.db").write_bytes(b"this is no database, and longer than a header" * 20)
    result = call("chat", "m", typed="one\ntwo\n")
    assert result.exit_code == 0
    assert "> one\n> two\n" in result.stdout
    assert result.stderr.count("can't be used") == 1
    assert "conversations.db, can't be used: file is not a database." in failed("logs")


def test_logs_are_listed_shown_searched_and_removed(home: Path) -> None:
    assert call("logs").stderr == "There are no conversations.\n"
    said("run", "m", "the first words")
    said("run", "m", 'other "words" % of_all')
    lines = said("logs").splitlines()
    assert lines[0].split() == ["ID", "WHEN", "MODEL", "MESSAGES", "FIRST"]
    assert lines[1].endswith('other "words" % of_all')
    assert said("logs", "list", "-n", "1").count("\n") == 2
    found = json.loads(said("logs", "search", "--json", "first", "WORDS"))
    assert [(row["first"], row["messages"]) for row in found] == [("the first words", 2)]
    for hard in ('"words"', "of_all", "wor*", "NEAR(", "a AND", "'", "*"):
        assert call("logs", "search", hard).exit_code == 0, hard
    assert call("logs", "search", "nowhere").stderr == "There are no conversations.\n"
    assert json.loads(said("logs", "search", "nowhere", "--json")) == []
    shown = said("logs", "show", found[0]["id"]).splitlines()
    assert shown[0].split()[-1] == "m"
    assert shown[1:] == ["", "> the first words", "", "the first words"]
    assert json.loads(said("logs", "show", "--json"))["messages"][0]["content"] == 'other "words" % of_all'
    assert said("logs", "path") == f"{home / 'conversations.db'}\n"
    said("logs", "remove", found[0]["id"])
    assert len(json.loads(said("logs", "--json"))) == 1
    assert json.loads(said("logs", "search", "first", "--json")) == []
    assert "There is no conversation" in failed("logs", "show", found[0]["id"])
    assert "There is no conversation" in failed("logs", "remove", "zz")
    assert "Give the id" in failed("logs", "remove", "")
    assert len(json.loads(said("logs", "--json"))) == 1, "no id is not the latest's"
    assert "text in UTF-8" in failed("logs", "search", "a\udcff")


def test_a_search_without_an_index_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaforge.conversations._has_index", lambda _db: False)
    plain = ConversationLog(tmp_path / "plain.db")
    for text in ("one hundred", "100%", "a_b", "back\\slash"):
        plain.add(None, [{"role": "user", "content": text}], model="m")
    for words, found in (("hundred one", 1), ("%", 1), ("_", 1), ("\\", 1), ("", 4), ("no", 0)):
        assert len(plain.list(9, words)) == found, words


def test_an_id_must_name_one_conversation(tmp_path: Path) -> None:
    kept = ConversationLog(tmp_path / "log.db")
    for number in range(20):
        kept.add(f"a{number:02}", [{"role": "user", "content": str(number)}], model="m")
    with pytest.raises(ConfigError, match=r"There is more than one conversation 'a0': give more of its id\."):
        kept.get("a0")
    with pytest.raises(ConfigError, match="There is no conversation '%'"):
        kept.get("%")
    assert kept.get("a07")["messages"][0]["content"] == "7"


def test_a_turn_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    kept = ConversationLog(tmp_path / "log.db")
    kept.add("a", [{"role": "user", "content": "1"}], model="m")
    broken: Any = [{"role": "user", "content": "2"}, {"role": "assistant", "content": None}]
    with pytest.raises(ConfigError, match="can't be used: NOT NULL"):
        kept.add("a", broken, model="m")
    assert [message["content"] for message in kept.get("a")["messages"]] == ["1"]


def test_several_log_at_once(tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(10):
            ConversationLog(tmp_path / "log.db").add(None, [{"role": "user", "content": "x"}], model="m")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ConversationLog(tmp_path / "log.db").list(99)) == 30


@pytest.mark.parametrize("prompt", ["many words " * 40, "~nobody-has-this is said often", "~"])
def test_a_prompt_is_no_path(prompt: str) -> None:
    said("config", "set", "default_model", "m")
    assert said("run", prompt) == f"{prompt}\n"


def test_files_of_nobody(home: Path) -> None:
    for option in ("-f", "-a"):
        assert "can't be read: No such file" in failed("run", "m", option, "~nobody-has-this/file", "hello")
    assert "can't be read" in failed("run", "m", "--schema", "~nobody-has-this/file.json", "hello")
    said("config", "set", "models_dir", "~nobody-has-this/models")
    said("list")
