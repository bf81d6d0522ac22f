"""What the command line does with terminals, pipes and texts that are not as it would like them."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamaforge import terminal
from llamaforge.config import Config
from tests.support.tiny_gguf import write_gguf
from tests.support.upstream import Upstream

COMMAND = [sys.executable, "-m", "llamaforge"]
HOSTILE = "one\x1b]0;TITLE\x07\x1b[2J\x9b31m\x08two\x7f\ttab\nline\r\nend"
HARMLESS = "one␛]0;TITLE␇␛[2J\\x9b31m␈two␡\ttab\nline\nend"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Path:
    """A configuration whose model `m` says what it is asked."""
    for name in [name for name in os.environ if name.startswith(("LLAMAFORGE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")]))
    config = Config(tmp_path / "config.json")
    config.add_model("m", "echo", "openai", {"api_base": upstream.openai_url, "max_retries": 0})
    config.set("default_model", "m")
    config.save()
    return tmp_path


def run(*args: str | bytes, typed: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command: list[str | bytes] = [*COMMAND, *args]
    return subprocess.run(
        command, input=typed, capture_output=True, timeout=30, check=False, env={**os.environ, **environment}
    )


class Terminal:
    """A process on a pseudo terminal of the kind `term`."""

    def __init__(self, *args: str, term: str = "dumb") -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = term
            os.execv(sys.executable, [*COMMAND, *args])
        self.seen = ""

    def read(self, until: str = "", timeout: float = 20) -> str:
        """What was written up to `until`, or to the end."""
        end = time.monotonic() + timeout
        while not until or until not in self.seen:
            ready, _, _ = select.select([self._fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{until!r} did not come, but {self.seen!r}"
            try:
                self.seen += os.read(self._fd, 65536).decode(errors="surrogateescape").replace("\r\n", "\n")
            except OSError:  # the end
                assert not until, f"{until!r} did not come, but {self.seen!r}"
                break
        before, _, self.seen = self.seen.partition(until) if until else (self.seen, "", "")
        return before

    def write(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """The exit code."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)


# ---- control characters


def test_what_is_shown_has_no_control_character_but_newline_and_tab() -> None:
    every = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    left = terminal.shown(every)
    assert [letter for letter in left if ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0] == ["\t", "\n"]
    assert terminal.one_line("a\nb\tc\x1b") == "a␊b c␛"
    assert terminal.shown("grüße 値 👩\u200d🔬 می\u200cخواهم") == "grüße 値 👩\u200d🔬 می\u200cخواهم"


def test_marks_that_turn_or_hide_text_are_shown() -> None:
    marks = [0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
    assert terminal.shown("".join(map(chr, marks))) == "".join(f"\\u{mark:04x}" for mark in marks)
    assert terminal.one_line("rm \u202egpj.exe") == "rm \\u202egpj.exe"


@pytest.mark.parametrize("more", [[], ["--system", "x"]])
def test_an_answer_is_inert_on_a_terminal(more: list[str]) -> None:
    process = Terminal("run", "-m", "m", *more, HOSTILE)
    assert process.read() == f"{HARMLESS}\n"
    assert process.end() == 0


def test_an_answer_passes_unchanged_elsewhere() -> None:
    done = run("run", "-m", "m", HOSTILE)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{HOSTILE}\n", b"")


@pytest.mark.parametrize(
    "args",
    [
        ("list",),
        ("info", "bad\x1b[2J"),
        ("run", "-m", "worse\x1b[2J", "hi"),
        ("config", "get", "models.bad\x1b[2J.path"),
        ("chat", "-m", "no\x1b[2J"),
        ("no\x1b[2J",),
        ("list", "no\x1b[2J"),
        ("--profile", "no\x1b[2J", "list"),
        ("benchmark", "-m", "bad\x1b[2J", "--iterations", "1", "--no-warmup"),
    ],
)
def test_names_and_errors_are_inert_on_a_terminal(home: Path, args: tuple[str, ...]) -> None:
    config = Config(home / "config.json")
    config.add_model("bad\x1b[2J", "\x1b[2J\x9d", "eliza")
    config.save()
    process = Terminal(*args)
    seen = process.read()
    process.end()
    assert "␛[2J" in seen or repr("\x1b[2J")[1:-1] in seen
    assert "\x1b[2J" not in seen
    assert "\x9d" not in seen


def test_a_chat_is_inert_on_a_terminal() -> None:
    process = Terminal("chat", "-m", "m")
    process.read("> ")
    process.write("a\x9b2Jb\n")
    assert "a\\x9b2Jb" in process.read("\n> ")
    process.write("/load no\x9bfile\n")
    assert "no\\x9bfile: No such file or directory" in process.read("\n> ")
    process.write("/exit\n")
    assert process.end() == 0


# ---- texts that are none


@pytest.mark.parametrize("coding", ["utf-8", "utf-8:strict", "utf-8:surrogateescape"])
def test_stdin_in_another_encoding_is_a_sentence(coding: str) -> None:
    done = run("run", "-m", "m", typed=b"caf\xe9 au lait", PYTHONIOENCODING=coding)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        "llamaforge: What comes through stdin is not text in UTF-8 (byte 3). "
        "Convert it, for instance from Latin-1: iconv -f latin1 -t utf-8\n"
    )


def test_stdin_in_the_encoding_of_the_terminal_is_text() -> None:
    done = run("run", "-m", "m", typed=b"caf\xe9", PYTHONIOENCODING="latin1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\xe9\n", b"")


def test_a_prompt_in_another_encoding_is_a_sentence() -> None:
    done = run("run", "-m", "m", b"caf\xe9")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"llamaforge: The prompt is not text in UTF-8.\n")


def test_a_line_that_is_no_text_spoils_none_of_the_others() -> None:
    done = run("chat", "-m", "m", typed=b"one\ncaf\xe9\ntwo\n")
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.decode().splitlines()[1:] == [
        "> one", "> That is not text in UTF-8; it was not sent.", "> two", "> ",
    ]  # fmt: skip


@pytest.mark.parametrize("coding", ["ascii", "ascii:strict", "latin1", "ascii:surrogateescape"])
def test_letters_that_the_terminal_lacks_are_escapes(coding: str) -> None:
    done = run(
        "run", "-m", "m", typed="grüße 😀".encode(coding.partition(":")[0], "ignore") + b".", PYTHONIOENCODING=coding
    )
    assert (done.returncode, done.stderr) == (0, b"")
    environment = {"PYTHONIOENCODING": coding, "PYTHONUTF8": "0"}
    done = run("run", "-m", "m", "-s", "x", "\\u", **environment)
    assert done.returncode == 0
    config = Config()
    config.add_model("grüße 😀", "/m/😀.gguf")
    config.save()
    done = run("list", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\U0001f600" in done.stdout
    listed = json.loads(run("list", "--json", **environment).stdout.decode(coding.partition(":")[0]))
    assert listed[1]["name"] == "grüße 😀"


# ---- output that can't be written


@pytest.mark.parametrize(
    "args", [("run", "hi"), ("list",), ("list", "--json"), ("--help",), ("add", "--help"), ("chat",)]
)
def test_a_full_disk_is_a_sentence(args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *args], input=b"", stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
        )
    sentence = b"llamaforge: The output can't be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_a_full_disk_for_the_errors_is_only_a_code() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "run", "-m", "no", "hi"], stdout=full, stderr=full, timeout=30, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("args", [("list",), ("--help",), ("run", "hi"), ("config", "list")])
def test_a_reader_that_has_gone_is_no_error(args: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *args], stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("closed", "code", "sentence"),
    [("<&-", 2, "the prompt is empty"), (">&-", 0, ""), ("2>&-", 0, ""), ("<&- >&- 2>&-", 2, "")],
)
def test_streams_that_are_closed(closed: str, code: int, sentence: str) -> None:
    prompt = "hi" if "<" not in closed else ""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "run", "-m", "m", *prompt.split()],
        input=b"", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert sentence in done.stderr.decode()
    assert b"Traceback" not in done.stderr


# ---- several lines


def asked(upstream: Upstream) -> list[str]:
    return [call.body["messages"][-1]["content"] for call in upstream.chats]


def test_what_is_pasted_is_one_question(upstream: Upstream) -> None:
    """A terminal that marks pastes; the line editor asks it to."""
    process = Terminal("chat", "-m", "m", term="xterm")
    process.read("\x1b[?2004h")
    process.write("\x1b[200~one\rtwo\rthree\x1b[201~\r")
    process.read("three\n")
    process.read("> ")
    process.write("/exit\r")
    process.read()
    assert process.end() == 0
    assert asked(upstream) == ["one\ntwo\nthree"]


def test_what_is_pasted_into_a_plain_terminal_is_one_question(upstream: Upstream) -> None:
    process = Terminal("chat", "-m", "m")
    process.read("> ")
    process.write("one\ntwo\nthree\n")
    process.read("one\ntwo\nthree\n> ")
    process.write("four\n")
    process.read("four\n> ")
    process.write("/exit\n")
    assert process.end() == 0
    assert asked(upstream) == ["one\ntwo\nthree", "four"]


def test_lines_that_are_piped_are_questions_of_their_own(upstream: Upstream) -> None:
    assert run("chat", "-m", "m", typed=b"one\ntwo\n").returncode == 0
    assert asked(upstream) == ["one", "two"]


@pytest.mark.parametrize(
    ("typed", "questions"),
    [
        ('"""one\ntwo\n"""\nthree', ["one\ntwo", "three"]),
        ('"""\n  one\n\n/two"""\nthree', ["  one\n\n/two", "three"]),
        ('"""one"""\n"""two', ["one"]),
        ('""""""\n"""\n"""\n"two"', ['"two"']),
        ('"""/exit\n"""\ntwo', ["/exit", "two"]),
    ],
)
def test_quotes_hold_several_lines(upstream: Upstream, typed: str, questions: list[str]) -> None:
    assert run("chat", "-m", "m", typed=typed.encode()).returncode == 0
    assert asked(upstream) == questions


# ---- talking


def test_run_without_a_prompt_talks(home: Path, upstream: Upstream) -> None:
    process = Terminal("run", "m", "--system", "Be brief.")
    process.read("> ")
    process.write("hello\n")
    process.read("hello\nhello\n> ")
    process.write("again\n")
    process.read("again\nagain\n> ")
    process.write("/bye\n")
    process.read()
    assert process.end() == 0
    contents = [message["content"] for message in upstream.chats[-1].body["messages"]]
    assert contents == ["Be brief.", "hello", "hello", "again"]
    assert (home / "history").read_text().split("\n") == ["hello", "again", "/bye", ""]
    assert (home / "history").stat().st_mode & 0o777 == 0o600


def test_what_was_typed_is_there_the_next_time(home: Path, upstream: Upstream) -> None:
    (home / "history").write_text("an old question\n")
    process = Terminal("chat", "m", term="xterm")
    process.read("> ")
    process.write("\x1b[A\r")
    process.read("an old question\n")
    process.write("/exit\r")
    process.read()
    assert process.end() == 0
    assert asked(upstream) == ["an old question"]


def test_no_line_is_written_where_nothing_is_logged(home: Path) -> None:
    process = Terminal("chat", "m", "--no-log")
    process.read("> ")
    process.write("/exit\n")
    assert process.end() == 0
    assert sorted(path.name for path in home.iterdir()) == ["config.json", "config.json.lock"]


@pytest.mark.parametrize("more", [["--raw"], ["-a", "x.png"], ["--json"], ["-T", "calculator"]])
def test_what_needs_a_prompt_says_so(more: list[str]) -> None:
    process = Terminal("run", "m", *more)
    assert "give a prompt, or pipe one in" in process.read()
    assert process.end() == 2


# ---- asking


@pytest.mark.parametrize(("typed", "stays"), [("n", True), ("", True), ("y", False)])
def test_rm_asks_before_it_deletes(home: Path, typed: str, stays: bool) -> None:
    file = home / "models" / "own.gguf"
    file.parent.mkdir()
    write_gguf(file)
    config = Config()
    config.set("models_dir", str(file.parent))
    config.add_model("own", file)
    config.save()
    process = Terminal("rm", "own")
    process.read(f"Delete {file}? [y/N]: ")
    process.write(f"{typed}\n")
    said = process.read()
    assert process.end() == 0
    assert ("own stays." in said) is file.exists() is ("own" in Config().list_models()) is stays


def test_no_answer_deletes_nothing(home: Path) -> None:
    (home / "models").mkdir()
    write_gguf(home / "models" / "own.gguf")
    config = Config()
    config.set("models_dir", str(home / "models"))
    config.save()
    process = Terminal("rm", "own.gguf")
    process.read("? [y/N]: ")
    process.write("\x03")
    process.read()
    assert process.end() == 130
    assert (home / "models" / "own.gguf").exists()
