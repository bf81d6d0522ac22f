"""docs/llamaforge.md, and README's part about it, are run as a reader would; and all three tutorials in one home.

Each chapter begins on an empty machine; its blocks are run in their order, and what they write is compared. A `python` block
runs here, and writes what the `text` block after it shows (nothing where there is none). Each `$ ` line of a `console` block is
run by bash, and what it writes, errors included, stands below it; columns may be farther apart. `...` stands for anything. A
command that ends with `&` goes on until the end of its chapter. `/home/you` and the ports of the document stand for ours.
"""

import contextlib
import hashlib
import http.server
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from consciousness.emotions import COORDINATES
from llamaforge import backends, exceptions
from llamaforge.config import DEFAULTS
from llamaforge.parameters import SAMPLING, SHAPE, Parameter
from tests.consciousness import test_docs as mind
from tests.support import tiny_gguf, tiny_transformers
from tests.support.process import ROOT, clean_environment, die_with_parent, free_port
from tests.support.server import Server
from tests.support.upstream import Upstream
from tests.synthora import test_docs as synthora

PAGE = ROOT / "docs" / "llamaforge.md"
HOME = "/home/you"
# What the tiny model of a chapter says, where it is not its usual sentence.
SAYS = {
    "Tools": '<tool_call>\n{"name": "calculator", "arguments": {"expression": "12 * 34"}}\n</tool_call>',
    "Tools that run by themselves": "It is 18 degrees in Rome.",
    "An answer in JSON": '{"city": "Paris", "inhabitants": 2100000}',
}
# Blocks that are shown and not run: installing takes the network.
NOT_RUN = {"Install"}
MARK = "\036"


@dataclass(frozen=True)
class Block:
    """A fenced block with the number of its first line and the text shown after it, if that is what it writes."""

    language: str
    code: str
    line: int
    shown: str = ""


def chapters(page: Path) -> dict[str, list[Block]]:
    """The blocks under each heading of the second level."""
    found: dict[str, list[Block]] = {}
    heading, lines = "", page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("## "):
            heading = line[3:]
            found[heading] = []
        elif line.startswith("```"):
            end = lines.index("```", number + 1)
            block = Block(line[3:], "\n".join(lines[number + 1 : end]) + "\n", number + 2)
            if block.language == "text":
                before = found[heading].pop()
                assert before.language == "python", f"line {number + 1}: shown after no Python"
                block = Block("python", before.code, before.line, block.code)
            found[heading].append(block)
            number = end
        number += 1
    return found


CHAPTERS = chapters(PAGE)
README = chapters(ROOT / "README.md")["Models without the server"]
RUN = [heading for heading, blocks in CHAPTERS.items() if blocks and heading not in NOT_RUN]


class Reader:
    """Somebody who types a chapter into a machine on which nothing but the package is installed."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.names: dict[str, Any] = {"__name__": "tutorial"}
        self.replaced = {HOME: str(home), "8000": str(free_port()), "8080": str(free_port())}
        self.environment = clean_environment({"HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_COLOR": "1"})
        programs = home / ".bin"
        programs.mkdir()
        command = programs / "llamaforge"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llamaforge "$@"\n')
        command.chmod(0o755)
        self.environment["PATH"] = f"{programs}:{Path(sys.executable).parent}:{self.environment['PATH']}"
        for name in os.environ:
            if name.startswith(("LLAMAFORGE_", "OPENAI_", "OLLAMA_", "HF_")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(home)
        monkeypatch.syspath_prepend(str(home))
        monkeypatch.setattr(backends, "_registry", dict(backends._registry))
        self._background: list[subprocess.Popen[bytes]] = []

    def type(self, block: Block) -> None:
        """Do what a block says and compare."""
        if block.language == "python":
            self._python(block)
        elif block.language == "console":
            self._console(block)
        elif block.language == "toml":
            tomllib.loads(block.code)
        else:
            pytest.fail(f"line {block.line}: a block of the unknown kind {block.language!r}")

    def end(self) -> None:
        """What still runs is ended as by Ctrl-C, and ends well."""
        forge = self.names.get("forge")
        if forge is not None:
            forge.close()
        for process in self._background:
            process.send_signal(signal.SIGINT)
        for process in self._background:
            try:
                assert process.wait(20) == 0
            finally:
                process.kill()
        self._background.clear()

    def _python(self, block: Block) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(self._ours(block.code), f"line {block.line}", "exec"), self.names)
        self._compare(block.line, block.shown, out.getvalue())

    def _console(self, block: Block) -> None:
        """The commands between two that go on in the background share one shell."""
        typed = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
        assert not typed[0], f"line {block.line}: a console block begins with a command"
        together: list[tuple[str, str]] = []
        for one in typed[1:]:
            match = re.match(r"((?:.*\\\n)*.*)\n", one)
            assert match is not None
            command, shown = match[1], one[match.end() :]
            if command.endswith(" &"):
                self._shell(block, together)
                together = []
                self._start(command)
            else:
                together.append((command, shown))
        self._shell(block, together)

    def _shell(self, block: Block, commands: Sequence[tuple[str, str]]) -> None:
        script = "".join(f"(exit $kept)\n{command}\nkept=$?; printf '\\036'\n" for command, _ in commands)
        done = subprocess.run(
            ["bash"], input="exec 2>&1; kept=0\n" + self._ours(script), cwd=self.home, env=self.environment,
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        written = done.stdout.split(MARK)
        for (command, shown), text in zip(commands, written, strict=False):
            self._compare(block.line, shown, text, command)
        assert len(written) == len(commands) + 1, done.stdout

    def _start(self, command: str) -> None:
        words = shlex.split(self._ours(command.removesuffix(" &")))
        with (self.home / ".log").open("wb") as log:
            process = subprocess.Popen(
                words, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
            )  # fmt: skip
        self._background.append(process)
        url = f"http://127.0.0.1:{self.replaced['8000']}/health"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail(f"{command} did not start:\n{(self.home / '.log').read_text()}")

    def _ours(self, text: str) -> str:
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return text

    def _compare(self, line: int, shown: str, written: str, command: str = "") -> None:
        for theirs, ours in self.replaced.items():
            written = written.replace(ours, theirs)
        pattern = ".*?".join(re.escape(part) for part in _columns(shown).split("..."))
        if not re.fullmatch(pattern, _columns(written), re.DOTALL):
            # As the document would have it, to be seen in full.
            pytest.fail(f"line {line}: {command}\nshown:\n{shown}\nwritten:\n{written}")


def _columns(text: str) -> str:
    """With columns two blanks apart, and without the ends of lines that can't be seen."""
    return re.sub(r" +$", "", re.sub(r"(?<=\S) {2,}", "  ", text), flags=re.MULTILINE).removesuffix("\n")


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub as its client asks it: one repository with two GGUF files."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content = self.files.get(self.path.partition("?")[0])
        self.send_response(404 if content is None else 200)
        self.send_header("ETag", '"v1"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Callable[[str, dict[str, bytes]], str]]:
    """Puts a repository on a server with the hub's endpoints; the address of the server."""
    files: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def put(repo: str, contents: dict[str, bytes]) -> str:
        commit = "0" * 40
        about = {"id": repo, "_id": "1", "sha": commit, "private": False, "tags": [], "downloads": 0}
        siblings = []
        for name, content in contents.items():
            files[f"/{repo}/resolve/{commit}/{name}"] = content
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            siblings.append({"rfilename": name, "size": len(content), "lfs": lfs})
        files[f"/api/models/{repo}"] = json.dumps({**about, "siblings": siblings}).encode()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield put
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    home = tmp_path / "home"
    home.mkdir()
    made = Reader(home, monkeypatch)
    yield made
    made.end()


def as_pulled(home: Path, name: str, content: bytes) -> None:
    """A model as Ollama keeps one."""
    digest = hashlib.sha256(content).hexdigest()
    blob = home / ".ollama/models/blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    manifest = home / ".ollama/models/manifests/registry.ollama.ai/library" / name.replace(":", "/")
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))


Hubs = Callable[[str, dict[str, bytes]], str]


def prepare(heading: str, reader: Reader, hub: Hubs) -> None:
    """The model and what else a chapter speaks of."""
    model = tiny_gguf.write_gguf(reader.home / "model.gguf", says=SAYS.get(heading, tiny_gguf.HELLO))
    content = model.read_bytes()
    if heading == "Getting models":
        as_pulled(reader.home, "llama3.2:1b", content)
        files = {"tiny-Q8_0.gguf": content, "tiny-Q4_K_M.gguf": content}
        reader.environment["HF_ENDPOINT"] = hub("owner/tiny-GGUF", files)
    elif heading == "Transformers":
        tiny_transformers.write_model(reader.home / "folder")


@pytest.mark.parametrize("heading", RUN)
def test_a_chapter(heading: str, reader: Reader, hub: Hubs, make_server: Callable[..., Server]) -> None:
    prepare(heading, reader, hub)
    if heading == "In the chat server":
        reader.environment["OUI_API_KEY"] = admin_of_a_server(reader, make_server)
    for block in CHAPTERS[heading]:
        reader.type(block)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_tutorials_are_typed_into_one_home(
    reader: Reader, hub: Hubs, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first line to the last, nothing is in the way of what comes later. The chat server has a home of its own."""
    for heading in RUN:
        if heading != "In the chat server":
            prepare(heading, reader, hub)
            for block in CHAPTERS[heading]:
                reader.type(block)
            reader.end()

    monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    synthora.test_the_examples(upstream, reader.home, monkeypatch, capsys)
    monkeypatch.undo()

    fears = {name: number / 10 for number, name in enumerate(COORDINATES)} | {"fear": 0.9}
    tiny_gguf.write_gguf(reader.home / "rater.gguf", says=json.dumps(fears))
    reader.type(Block("console", "$ llamaforge add my-model rater.gguf\nAdded my-model: ...\n", 0))
    typed = "\n\n".join(mind.BLOCKS).replace("http://127.0.0.1:11434", upstream.url).replace('"llama3.2"', '"error500"')
    done = subprocess.run(
        [sys.executable, "-m", "asyncio"], input=f"{typed}\n\nforge.close()\n", cwd=reader.home, env=reader.environment,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert tiny_gguf.HELLO in done.stdout
    printed = {name: rf"'{name}': [\d.]+" for name in COORDINATES}
    assert re.search(", ".join(printed.values()), done.stdout), "the model's reading of a message"
    assert " my-model {'error500': " in done.stdout, "the answer of the model that stands in"


def admin_of_a_server(reader: Reader, make_server: Callable[..., Server]) -> str:
    """Starts the chat server on `data/` of the reader; an administrator's token."""
    server = make_server(DATA_DIR=str(reader.home / "data"), LOCAL_MODELS_SCAN_SECONDS="0.1").start()
    reader.replaced["8080"] = str(server.port)
    form = {"name": "You", "email": "you@example.com", "password": "your password"}
    reply = httpx.post(f"{server.url}/api/v1/auths/signup", json=form, trust_env=False, timeout=60)
    token: str = reply.json()["token"]
    return token


def test_the_part_of_the_readme(reader: Reader) -> None:
    tiny_gguf.write_gguf(reader.home / "model.gguf")
    console, python = README
    reader.type(console)
    reader.type(replace(python, shown=tiny_gguf.HELLO))


def test_only_installing_is_not_run() -> None:
    assert {name for name, blocks in CHAPTERS.items() if any(not block.language for block in blocks)} == NOT_RUN
    assert len(RUN) > 12


# ---- what the tables say


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the third or second level, without its head."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(rf"^###? {re.escape(heading)}\n", text, flags=re.MULTILINE)[1]
    lines = [line for line in re.split(r"^##", section, flags=re.MULTILINE)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


KINDS = {"int": "whole number", "float": "number", "bool": "true or false", "text": "text", "texts": "text or a list of texts",
         "object": "object", "list": "list", "any": "see there"}  # fmt: skip


def as_row(parameter: Parameter) -> list[str]:
    low, high = parameter.low, parameter.high
    takes = KINDS[parameter.kind]
    if low is not None:
        takes += f", at least {low:g}" if high is None else f", {low:g} to {high:g}"
    return [f"`{parameter.name}`", takes, ", ".join(f"`{alias}`" for alias in parameter.aliases)]


def own(cls: Any, which: str) -> list[Parameter]:
    return [known for known in getattr(cls, which) if known not in {*SAMPLING, *SHAPE}]


@pytest.mark.parametrize(
    ("heading", "parameters"),
    [
        ("Every generation", [*SAMPLING, *SHAPE]),
        ("llama.cpp: generation", own(backends.get_backend("llama.cpp"), "generation_parameters")),
        ("llama.cpp: load", backends.get_backend("llama.cpp").load_parameters),
        ("huggingface: generation", own(backends.get_backend("huggingface"), "generation_parameters")),
        ("huggingface: load", backends.get_backend("huggingface").load_parameters),
        ("openai: generation", own(backends.get_backend("openai"), "generation_parameters")),
        ("openai: load", backends.get_backend("openai").load_parameters),
    ],
)
def test_the_tables_of_parameters_are_those_of_the_code(heading: str, parameters: list[Parameter]) -> None:
    table = rows(heading)
    # "see there": what kind it is stands in its last column.
    assert [row[:3] for row in table] == [as_row(parameter) for parameter in parameters]
    assert [row[0] for row in table if len(row) < 4 or not row[3]] == []


def test_every_backend_takes_what_every_generation_takes() -> None:
    for name in ("llama.cpp", "huggingface", "openai"):
        assert {*SAMPLING, *SHAPE} <= {*(backends.get_backend(name).generation_parameters or ())}, name


def test_every_error_is_explained() -> None:
    declared = {
        name: error
        for name, error in vars(exceptions).items()
        if isinstance(error, type) and issubclass(error, exceptions.LlamaForgeError)
    }
    table = {row[0].strip("`"): row[1] for row in rows("Errors")}
    assert table.keys() == declared.keys()
    for name, also in table.items():
        bases = {base.__name__ for base in declared[name].__bases__ if base is not Exception}
        assert set(re.findall(r"`(\w+)`", also)) == bases


def test_every_key_of_the_configuration_is_explained() -> None:
    assert {row[0].strip("`") for row in rows("Keys of the configuration")} == DEFAULTS.keys()
