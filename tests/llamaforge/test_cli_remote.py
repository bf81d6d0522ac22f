"""`llamaforge ps` and `stop`: a server of ours that runs, none, and what only answers."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from llamaforge import LlamaForge
from llamaforge.cli import app
from llamaforge.config import Config
from llamaforge.server import ApiServer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("LLAMAFORGE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    config = Config()
    config.add_model("d", "doctor", "eliza", {}, {"aliases": ["healer"]})
    config.add_model("e", "doctor", "eliza")
    config.save()
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[ApiServer]:
    with LlamaForge() as forge:
        running = ApiServer(forge, port=0, api_key="sk-mine").start()
        forge.config.set("server.port", int(running.url.rpartition(":")[2]))
        forge.config.save()
        yield running
        running.stop()


def call(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def failed(*args: str) -> str:
    result = call(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_key_goes_to_no_other_server() -> None:
    keys: list[str | None] = []

    class Leads(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization"))
            self.send_response(302 if self.server is here else 404)
            self.send_header("Location", f"http://127.0.0.1:{there.server_port}/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    here, there = (http.server.HTTPServer(("127.0.0.1", 0), Leads) for _ in range(2))
    for one in (here, there):
        threading.Thread(target=one.handle_request, daemon=True).start()
    assert "no llamaforge" in failed("ps", "--url", f"http://127.0.0.1:{here.server_port}", "--api-key", "sk-mine")
    here.server_close()
    there.server_close()
    assert keys == ["Bearer sk-mine", None]


def test_models_of_a_running_server_are_listed_and_stopped(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed("ps") == f"llamaforge: {server.url} wants a key: give --api-key, or set LLAMAFORGE_API_KEY.\n"
    assert "wants a key" in failed("stop", "d", "--api-key", "sk-other")
    monkeypatch.setenv("LLAMAFORGE_API_KEY", "sk-mine")
    assert call("ps").stderr == "No model is loaded.\n"
    assert call("ps", "--json").stdout == "[]\n"
    assert call("stop", "d").stdout == "d was not loaded\n"
    headers = {"Authorization": "Bearer sk-mine"}
    url = f"{server.url}/api/load"
    assert httpx.post(url, json={"model": "d"}, headers=headers, trust_env=False, timeout=60).status_code == 200
    lines = call("ps").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "MEMORY", "REQUESTS", "UNTIL"]
    assert lines[1].split()[:2] == ["d", "ready"]
    (model,) = json.loads(call("ps", "--json").stdout)
    assert (model["name"], model["state"], model["in_use"]) == ("d", "ready", 0)
    assert call("stop", "healer", "e").stdout == "Stopped d\ne was not loaded\n"
    assert call("ps", "--json", "--url", f"{server.url}/").stdout == "[]\n"
    assert "nobody" in failed("stop", "nobody")
    assert call("stop", "--force", "d").stdout == "d was not loaded\n"


def test_without_a_server_it_says_how_to_start_one() -> None:
    Config().save()
    assert call("config", "set", "server.port", "9").exit_code == 0
    message = failed("ps")
    assert message.startswith("llamaforge: No server answers at http://127.0.0.1:9 (")
    assert message.endswith("Start one: llamaforge serve\n")
    assert "No server answers at http://[::1]:9" in failed("stop", "d", "--url", "http://[::1]:9")


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers whatever it is told to."""

    status = 200
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body) if self.body != b"cut" else 100))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, b"<html>", "is no llamaforge."),
        (200, b"[]", "is no llamaforge."),
        (200, b'{"models": 5}', "is no llamaforge."),
        (200, b"\xff", "is no llamaforge."),
        (200, b"", "is no llamaforge."),
        (200, b"cut", "No server answers at"),
        (404, b"nothing here", "is no llamaforge."),
        (500, b'{"error": "broken"}', "is no llamaforge."),
        (503, b'{"error": {"message": "Too many wait.\\u001b[2J"}}', "Too many wait."),
        (301, b"", "is no llamaforge."),
    ],
)
def test_what_only_answers_is_a_sentence(status: int, body: bytes, sentence: str) -> None:
    handler = type("Handler", (Stranger,), {"status": status, "body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for args in (("ps",), ("stop", "d")):
            assert sentence in failed(*args, "--url", url)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("url", ["nowhere", "", "http://", "file:///etc/passwd", "http://127.0.0.1:port", "http://a b"])
def test_addresses_that_are_none(url: str) -> None:
    message = failed("ps", "--url", url) if url else ""
    assert "Traceback" not in message
