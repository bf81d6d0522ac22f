"""The command line: the real command for what only a process shows, typer's runner for the rest."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llamaforge.cli import app
from llamaforge.cli.state import COMMANDS
from llamaforge.config import Config
from tests.support.eliza import SAD
from tests.support.upstream import Upstream

COMMAND = [sys.executable, "-m", "llamaforge"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("LLAMAFORGE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    # So that what a command sets is taken back with the rest.
    monkeypatch.setenv("LLAMAFORGE_PROFILE", "")
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def call(*args: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=typed)


def said(*args: str, typed: str | None = None) -> str:
    """What a command that succeeds writes to stdout."""
    result = call(*args, typed=typed)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def failed(*args: str, code: int = 1) -> str:
    """What a command that fails writes to stderr; nothing goes to stdout."""
    result = call(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def execute(*args: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], input=typed, capture_output=True, text=True, timeout=30, check=False)


# ---- the real command


def test_the_command_answers_and_ends_with_0() -> None:
    done = execute("run", "--model", "eliza", "I am sad")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{SAD}\n"


def test_failures_end_with_1_and_usage_with_2() -> None:
    done = execute("run", "--model", "nothing", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("llamaforge: There is no model 'nothing'. None has been added yet.")
    assert done.stderr.count("\n") == 1
    done = execute("rum")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'rum'" in done.stderr


def test_the_prompt_comes_from_a_pipe_and_the_answer_goes_to_a_file(tmp_path: Path) -> None:
    done = execute("run", "-m", "eliza", "--output", str(tmp_path / "answer"), typed="I am sad\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "answer").read_text() == SAD


def test_ctrl_c_ends_with_130(upstream: Upstream) -> None:
    say = ["add", "slow", "stall", "--backend", "openai", "-p", f"api_base={upstream.openai_url}"]
    assert execute(*say).returncode == 0
    process = subprocess.Popen([*COMMAND, "run", "-m", "slow", "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        text = b""
        while not text.endswith(b"and "):
            text += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, b"\n")
    assert text + rest == b"the quick brown fox jumps over the lazy dog and "


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "-m", "eliza", "-p", "delay=0.05", "I am sad"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=10) == 0


def test_help_loads_no_engine_and_no_forge() -> None:
    code = """
import sys
from llamaforge.cli import app
from llamaforge.cli.state import COMMANDS
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = "rich.console openai torch transformers xllamacpp aiohttp fastapi huggingface_hub llamaforge.forge asyncio"
print([name for name in heavy.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_loads_its_own_module_only() -> None:
    code = """
import sys
from llamaforge.cli import app
from llamaforge.cli.state import COMMANDS
try:
    app(["config", "path"])
except SystemExit as end:
    assert end.code == 0
print(sorted(name for name in sys.modules if name.startswith("llamaforge.cli.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    loaded = ["llamaforge.cli.models", "llamaforge.cli.settings", "llamaforge.cli.state"]
    assert done.stdout.splitlines()[-1] == str(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    shown = said(name, "--help")
    assert shown.startswith(f"Usage: llamaforge {name} ")
    assert (f"\n  {name} " in said("--help")) is bool(COMMANDS[name][1])


class Terminal:
    """A process on a pseudo terminal."""

    def __init__(self, *args: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(sys.executable, [*COMMAND, *args])
        self.seen = ""

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """What was written up to `text`, since the last call."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self._fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} did not come, but {self.seen!r}"
            self.seen += os.read(self._fd, 4096).decode().replace("\r\n", "\n")
        before, _, self.seen = self.seen.partition(text)
        return before

    def write(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """The exit code."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)


def test_chat_on_a_terminal() -> None:
    terminal = Terminal("chat", "--model", "eliza")
    terminal.wait_for("/exit ends.\n> ")
    terminal.write("I am sad\n")
    assert terminal.wait_for("\n> ") == f"I am sad\n{SAD}"
    terminal.write("/model\n")
    assert terminal.wait_for("\n> ") == "/model\nModel: eliza"
    terminal.write("quit\n")
    assert terminal.end() == 0


def test_ctrl_c_ends_an_answer_and_not_the_chat() -> None:
    terminal = Terminal("chat", "--model", "eliza", "-p", "delay=10")  # a word; all of it is minutes
    terminal.wait_for("/exit ends.\n> ")
    terminal.write("I am sad\n")
    terminal.wait_for("I am sad\nThat ")
    terminal.write("\x03")
    terminal.wait_for("\n> ", timeout=60)
    terminal.write("exit\n")
    assert terminal.end() == 0


def test_chat_on_a_terminal_ends_with_ctrl_d() -> None:
    terminal = Terminal("chat", "-m", "eliza", "-p", "upper=true")
    terminal.wait_for("> ")
    terminal.write("I am sad\n")
    assert "THAT SOUNDS HARD" in terminal.wait_for("\n> ")
    terminal.write("\x04")
    assert terminal.end() == 0


# ---- run and chat


def test_run_as_a_chat_with_a_system_prompt(upstream: Upstream) -> None:
    said("add", "m", "echo", "--backend", "openai", "--param", f"api_base={upstream.openai_url}", "-p", "max_retries=0")
    assert said("run", "-m", "m", "--system", "Be brief.", "-t", "0", "-n", "9", "one two") == "one two\n"
    body = upstream.chats[-1].body
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two"}]
    assert (body["temperature"], body["max_tokens"]) == (0.0, 9)


def test_the_backend_of_one_command(upstream: Upstream) -> None:
    options = ["-p", f"base_url={upstream.openai_url}"]
    said("config", "set", "backends.openai.default_parameters.api_base", upstream.openai_url)
    assert said("run", "-m", "echo", "-b", "openai", "hello") == "hello\n"
    assert "There is no parameter 'base_url'" in failed("run", "-m", "echo", "-b", "openai", *options, "hello")
    assert failed("run", "-b", "openai", "x") == "llamaforge: --backend needs the --model that it is to run.\n"


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("run", "-m", "eliza", " "), 2, "the prompt is empty"),
        (("run", "-m", "eliza", "-p", "delay", "x"), 1, "'delay' is no parameter; write it as name=value."),
        (("run", "-m", "eliza", "-p", "delay=soon", "x"), 1, "'delay' must be a number of seconds."),
        (("run", "-m", "eliza", "--temperature", "hot", "x"), 2, "Invalid value for '--temperature'"),
        (("run", "x"), 1, "model"),
        (("chat", "-m", "nothing"), 1, "There is no model 'nothing'."),
        (("--profile", "none", "list"), 1, "There is no profile 'none'. Known: none."),
        (("--config", "/dev/null/x", "config", "set", "a", "b"), 1, "/dev/null/x"),
        (("list", "people"), 2, "'people' is not one of 'models', 'backends', 'plugins'"),
        (("info", "nothing"), 1, "There is no model 'nothing'"),
        (("remove", "nothing"), 1, "There is no model 'nothing'"),
        (("add", "x", "y", "--backend", "llama"), 1, "There is no backend 'llama'"),
        (("add", "x", "/no/such/file.gguf"), 1, "There is no file or folder /no/such/file.gguf."),
        (("serve", "--port", "99999"), 2, "Invalid value for '--port'"),
        (("serve", "--model", "nothing"), 1, "There is no model 'nothing'"),
        (("tools", "calculator", "1/0"), 1, "Division by zero."),
        (("benchmark", "-m", "eliza", "--iterations", "0"), 1, "'iterations' must be a whole number of at least 1."),
        (("benchmark", "-m", "eliza", "--dataset", "alpaca_eval"), 1, "The dataset 'alpaca_eval' can't be read"),
    ],
)
def test_mistakes_are_told_on_stderr(args: tuple[str, ...], code: int, sentence: str) -> None:
    assert sentence in failed(*args, code=code)


def test_chat_from_a_pipe() -> None:
    said("config", "set", "default_model", "eliza")
    out = said("chat", typed="I am sad\n/exit\n")
    assert SAD in out


# ---- models


def test_a_model_from_adding_to_removing(tiny_gguf: Path, home: Path) -> None:
    assert call("list").stderr == "There are no models yet: llamaforge add NAME SOURCE\n"
    assert said("list", "--json") == "[]\n"
    added = said("add", "tiny", str(tiny_gguf), "-p", "n_ctx=128", "-p", "n_threads=1", "--default")
    assert added == f"Added tiny: {tiny_gguf} (llama.cpp)\n"
    assert "There is already a model 'tiny'" in failed("add", "tiny", str(tiny_gguf))
    listed = {"name": "tiny", "backend": "llama.cpp", "path": str(tiny_gguf), "default": True}
    assert json.loads(said("list", "models", "--json")) == [listed]
    assert said("list").splitlines()[1].split() == ["tiny", "llama.cpp", str(tiny_gguf), "yes"]
    info = json.loads(said("info", "tiny", "--json"))
    assert info["parameters"] == {"n_ctx": 128, "n_threads": 1}
    assert info["file"]["architecture"] == "llama"
    assert "architecture" in said("info", "tiny")
    assert "is not in" in failed("remove", "tiny", "--delete-file")
    assert said("remove", "tiny") == "Removed tiny\n"
    assert tiny_gguf.exists()
    assert said("list", "--json") == "[]\n"


def test_a_real_engine_answers(tiny_gguf: Path) -> None:
    said("add", "tiny", str(tiny_gguf), "-p", "n_ctx=256", "-p", "n_threads=1")
    done = execute("run", "-m", "tiny", "--chat", "-t", "0", "Hi")
    assert (done.returncode, done.stdout) == (0, "Hello from the tiny test model.\n")


def test_keys_are_not_shown() -> None:
    said("add", "gpt", "gpt-4", "--backend", "openai", "-p", "api_key=sk-secret")
    said("config", "set", "api_keys.openai", "sk-other")
    shown = said("info", "gpt") + said("info", "gpt", "--json") + said("config", "list")
    assert "sk-" not in shown
    address = "https://me:pass@host:80/v1?api_key=sk-query&x=1"
    said("add", "far", "gpt-4", "--backend", "openai", "-p", f"api_base={address}")
    for shown in (said("info", "far"), said("info", "far", "--json"), said("config", "list")):
        assert "https://me:***@host:80/v1?api_key=***&x=1" in shown
    assert address in said("config", "list", "--show-keys")
    assert said("config", "get", "api_keys.openai") == "sk-other\n"
    assert "sk-other" in said("config", "list", "--show-keys")


def test_backends_and_plugins_are_listed() -> None:
    assert said("list", "backends").split() == ["NAME", "llama.cpp", "huggingface", "openai", "eliza"]
    plugins = json.loads(said("list", "plugins", "--json"))
    assert [(row["name"], row["kind"], row["enabled"]) for row in plugins] == [
        ("text_formatter", "preprocessing", False),
        ("text_cleaner", "postprocessing", False),
        ("calculator", "tools", False),
        ("benchmark", "commands", False),
    ]


def test_older_spellings(tiny_gguf: Path) -> None:
    said("models", "add", "--name", "tiny", "--path", str(tiny_gguf), "--param", "n_ctx=64")
    assert said("list-models", "--json") == said("models", "list", "--json") == said("list", "--json")
    assert json.loads(said("info", "tiny", "--json"))["parameters"] == {"n_ctx": 64}
    assert said("models", "remove", "--name", "tiny") == "Removed tiny\n"
    assert said("generate", "--model", "eliza", "I am sad") == f"{SAD}\n"


# ---- config


def test_the_configuration(home: Path) -> None:
    assert said("config", "path") == f"{home / 'config.json'}\n"
    assert not (home / "config.json").exists()
    assert said("config", "init") == f"{home / 'config.json'} was written.\n"
    said("config", "set", "server.port", "9000")
    said("config", "set", "default_model", "eliza")
    assert said("config", "init") == f"{home / 'config.json'} is there already.\n"
    assert said("config", "get", "server.port") == "9000\n"
    assert said("config", "get", "default_model") == "eliza\n"
    assert json.loads(said("config", "get", "server"))["port"] == 9000
    assert json.loads(said("config", "list"))["default_model"] == "eliza"
    assert failed("config", "get", "no.such.key") == "llamaforge: 'no.such.key' is not set.\n"


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("server.enable_cors", "False", False),
        ("server.enable_cors", "on", True),
        ("server.request_timeout", "60", 60),
        ("default_model", "4", "4"),
        ("default_model", "null", None),
        ("default_model", '"null"', "null"),
        ("api_keys.openai", "123", "123"),
        ("memory_budget", "12GB", "12GB"),
        ("memory_budget", "null", None),
        ("plugins.enabled", "calculator, text_cleaner", ["calculator", "text_cleaner"]),
        ("plugins.enabled", '["calculator"]', ["calculator"]),
        ("backends.llama.cpp.default_parameters.n_ctx", "512", 512),
        ("backends.mine.default_parameters.anything", "yes", "yes"),
        ("models.d.r.parameters.delay", "0.5", 0.5),
        ("models.d.r.metadata.note", "true", True),
        ("logging.level", "DEBUG", "DEBUG"),
    ],
)
def test_settings_are_read_by_their_type(home: Path, key: str, words: str, value: object) -> None:
    config = Config()
    config.add_model("d.r", "doctor", "eliza")
    config.save()
    said("config", "set", "--", key, words)
    read = Config().get(key)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "words", "sentence"),
    [
        ("server.enable_cors", "perhaps", "'server.enable_cors' must be true or false."),
        ("server.enable_cors", "null", "'server.enable_cors' must be true or false."),
        ("server.port", "http", "'server.port' must be a number."),
        ("server.port", "70000", "'server.port' must be between 0 and 65535."),
        ("server.cors", "x", "There is no setting 'server.cors'. Did you mean 'server.port'?"),
        ("server", "{}", "There is no setting 'server'. Did you mean 'server.port'?"),
        ("enable_cors", "x", "There is no setting 'enable_cors'. Did you mean 'server.enable_cors'?"),
        ("nonsense", "x", "There is no setting 'nonsense'. Known: active_profile, api_keys.BACKEND, backends.BACKEND."),
        ("", "x", "There is no setting ''."),
        ("memory_budget", "much", "'much' is no amount of memory"),
        ("plugins.enabled", "[1]", "'plugins.enabled' must be text or a list of texts."),
        ("plugins.config", "x", "'plugins.config' must be an object."),
        ("logging.level", "LOUD", "'logging.level' must be DEBUG, INFO, WARNING or ERROR."),
        ("active_profile", "work", "There is no profile 'work'. Known: none."),
        ("models.no.path", "x", "There is no model 'no'."),
        ("models.d.r.parameters.n_ctx", "much", "'models.d.r.parameters.n_ctx' must be a number."),
        ("models.d.r.weights", "x", "There is no model 'd'."),
        ("backends.llama.cpp.default_parameters.temprature", "1", "Did you mean 'temperature'?"),
        ("backends.llama.cpp.default_parameters.top_k", "many", "default_parameters.top_k' must be a number."),
        ("backends.llama.cpp", "1", "There is no setting 'backends.llama.cpp'."),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_can(home: Path, key: str, words: str, sentence: str) -> None:
    config = Config()
    config.add_model("d.r", "/m/x.gguf")
    config.save()
    before = (home / "config.json").read_bytes()
    assert sentence in failed("config", "set", "--", key, words)
    assert (home / "config.json").read_bytes() == before


def test_a_file_that_says_false_in_words_opens_no_server(home: Path) -> None:
    (home / "config.json").write_text('{"server": {"enable_cors": "False"}}')
    assert said("config", "get", "server.enable_cors") == "false\n"
    (home / "config.json").write_text('{"server": {"enable_cors": "maybe"}}')
    assert f"{home / 'config.json'}: 'server.enable_cors' must be true or false." in failed("list")


def test_global_options_stand_before_the_command(home: Path) -> None:
    other = str(home / "other.json")
    said("--config", other, "config", "set", "default_model", "x")
    assert said("--config", other, "config", "get", "default_model") == "x\n"
    assert Config(home / "config.json").get("default_model") is None
    assert "No such option" in failed("config", "path", "--config", other, code=2)


def test_profiles(home: Path) -> None:
    said("config", "create-profile", "work")
    assert "There is already a profile 'work'" in failed("config", "create-profile", "work")
    said("--profile", "work", "config", "set", "default_model", "eliza")
    stored = json.loads((home / "config.json").read_text())
    assert stored["profiles"] == {"work": {"default_model": "eliza"}}
    assert stored.get("active_profile") is None, "the option is for one command"
    os.environ["LLAMAFORGE_PROFILE"] = ""
    said("config", "set-profile", "work")
    assert said("config", "get", "default_model") == "eliza\n"
    said("config", "set-profile")
    assert said("config", "get", "default_model") == "null\n"


def test_a_broken_configuration_is_told(home: Path) -> None:
    (home / "config.json").write_text("{")
    assert str(home / "config.json") in failed("list")


# ---- tools and benchmark


@pytest.mark.parametrize(
    ("expression", "value"),
    [(["sqrt(144)"], "12"), (["2", "+", "3"], "5"), (["-5", "+", "3"], "-2"), (["2^0.5"], "1.4142135623730951")],
)
def test_the_calculator(expression: list[str], value: str) -> None:
    assert said("tools", "calculator", *expression) == f"{value}\n"


def test_a_benchmark_counts_the_tokens_of_the_engine(upstream: Upstream, home: Path) -> None:
    said("add", "m", "fixed", "--backend", "openai", "-p", f"api_base={upstream.openai_url}")
    out = said(
        "benchmark", "-m", "m", "--prompts", "a", "--prompts", "b", "--iterations", "2", "--max-tokens", "5", "--json",
        "--output", str(home / "figures.json"),
    )  # fmt: skip
    result = json.loads(out)
    assert json.loads((home / "figures.json").read_text()) == result
    assert (result["model"], result["backend"], result["token_count"]) == ("m", "openai", "engine")
    assert [item["prompt"] for item in result["prompts"]] == ["a", "b"]
    assert [[run["tokens"] for run in item["runs"]] for item in result["prompts"]] == [[5, 5], [5, 5]]
    overall = result["overall"]
    assert overall["total_tokens"] == 20
    assert overall["avg_tokens_per_second"] == pytest.approx(20 / overall["total_time"])
    assert overall["time_percentiles"].keys() == {"p50", "p90", "p99"}
    assert 0 < overall["avg_time_to_first_token"] < overall["avg_time"]
    assert len(upstream.received) == 5, "one to warm up"
    table = said("benchmark", "-m", "m", "--prompt", "a", "--iterations", "1", "--no-warmup").splitlines()
    assert table[0] == "m on openai, 1 runs a prompt, tokens by engine"
    assert table[1].split()[:3] == ["PROMPT", "TOKENS/S", "TTFT"]


def test_a_benchmark_of_a_file_of_prompts(home: Path) -> None:
    (home / "prompts.jsonl").write_text('{"instruction": "one"}\n{"prompt": "two"}\n"three"\nfour\n')
    args = [
        "-m",
        "eliza",
        "--dataset",
        str(home / "prompts.jsonl"),
        "--num-samples",
        "4",
        "--iterations",
        "1",
        "--json",
    ]
    result = json.loads(said("benchmark", *args))
    assert [item["prompt"] for item in result["prompts"]] == ["one", "two", "three", "four"]
    assert result["token_count"] == "pieces"


# ---- serve


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


@pytest.fixture
def serving(port: int) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([*COMMAND, "serve", "--port", str(port), *args], stderr=subprocess.PIPE))
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                assert started[-1].poll() is None
                time.sleep(0.05)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_serve_answers_and_ends_on_sigterm(
    serving: Callable[..., subprocess.Popen[bytes]], port: int, upstream: Upstream
) -> None:
    said("add", "m", "echo", "--backend", "openai", "-p", f"api_base={upstream.openai_url}")
    process = serving("--model", "m", "--api-key", "sk-mine")
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello you"}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-mine"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.load(response)
    assert answer["choices"][0]["message"]["content"] == "hello you"
    process.terminate()
    assert process.wait(timeout=20) == 0
