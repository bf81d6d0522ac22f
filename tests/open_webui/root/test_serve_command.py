"""What `oui-backend serve` is given is read without the other commands, and everything else by them."""

import subprocess
import sys
from pathlib import Path

import pytest

from open_webui.cli import plain_serve


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("serve", {}),
        ("serve --port 9000", {"port": 9000}),
        ("serve --host=::1 --port=9000", {"host": "::1", "port": 9000}),
        ("serve --port 9000 --port 9001 --workers 4", {"port": 9001, "uvicorn_workers": 4}),
    ],
)
def test_what_is_plain(arguments: str, given: dict[str, str | int]) -> None:
    assert plain_serve(arguments.split()) == given


@pytest.mark.parametrize(
    "arguments",
    [
        "", "--version", "--help", "migrate", "serve --help", "serve --reload", "serve --port", "serve --port x",
        "serve --port -1", "serve --port 65536", "serve --workers 0", "serve --workers 129", "serve 9000", "serve --hots a",
        "serve --host a b c", "serve -- --port 9000", "--port 9000 serve",
    ],
)  # fmt: skip
def test_what_the_other_commands_read_or_refuse(arguments: str) -> None:
    assert plain_serve(arguments.split()) is None


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["serve", "--port", "x"], 2, "a valid integer"),
        (["serve", "--workers", "0"], 2, "greater than or equal to 1"),
        (["serve", "--help"], 0, "--reload"),
        (["serve", "--workers", "2"], 1, "A SQLite database serves one process"),
    ],
)
def test_what_is_said(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "open_webui.cli", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert said in " ".join((done.stdout + done.stderr).split())


def test_options_are_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("HOST", "::1")
    code = """
import open_webui.serving as serving
from open_webui.launch import serve
serving.run = lambda settings, reload: print(settings.host, settings.port, reload)
serve({"port": 9001})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "::1 9001 False\n"
