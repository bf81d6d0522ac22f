"""What README and the pages tell people to type works, against the real server."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from tests.support.live import Actor, Live
from tests.support.process import clean_environment
from tests.support.server import Server

README = Path(__file__).resolve().parents[2] / "README.md"
ADDRESS = "http://localhost:8080"
# As the example has them.
EMAIL, PASSWORD = "you@example.com", "your password"


def blocks(heading: str, language: str) -> list[str]:
    """The examples in one language under a heading of the README."""
    section = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def run(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=clean_environment(environment), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A server as a newcomer starts it: SQLite, nothing connected; with API keys, as the section says."""
    made = make_server(ENABLE_API_KEYS="true").start()
    form = {"name": "You", "email": EMAIL, "password": PASSWORD}
    reply = httpx.post(f"{made.url}/api/v1/auths/signup", json=form, trust_env=False, timeout=60)
    assert reply.status_code == 200, reply.text
    return made


def test_the_examples_of_the_readme(server: Server) -> None:
    make_key, ask = (text.replace(ADDRESS, server.url) for text in blocks("Use it from programs", "bash"))
    key = json.loads(run(["bash", "-euo", "pipefail", "-c", make_key], {}))["api_key"]
    environment = {"OUI_API_KEY": key}

    answer = json.loads(run(["bash", "-euo", "pipefail", "-c", ask], environment))
    assert answer["choices"][0]["message"]["content"]

    openai, ollama = (text.replace(ADDRESS, server.url) for text in blocks("Use it from programs", "python"))
    model, *answers = run([sys.executable, "-c", openai], environment).splitlines()
    assert model == "eliza"
    half = len(answers) // 2
    assert answers[:half] == answers[half:] != [], answers
    assert run([sys.executable, "-c", ollama], environment).strip()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_opening_a_model_as_the_readme_says(live: Live, admin: Actor, user: Actor) -> None:
    (example,) = (text.replace(ADDRESS, live.url) for text in blocks("Connect models", "bash"))
    example = example.replace("llama3.2:latest", "fixed")

    async def seen() -> list[str]:
        return [model["id"] for model in (await user.client.get("/api/models")).json()["data"]]

    assert "fixed" not in await seen()
    environment = {"OUI_API_KEY": admin.token}
    told = await asyncio.to_thread(run, ["bash", "-euo", "pipefail", "-c", example], environment)
    assert json.loads(told)["id"] == "fixed"
    assert "fixed" in await seen()


def test_settings_of_both_kinds_may_stand_in_a_file(make_server: Callable[..., Server]) -> None:
    """docs/architecture/configuration.md: variables of both kinds may stand in `.env`; the environment wins over it."""
    server = make_server(WEBUI_NAME="from the environment")
    (server.folder / ".env").write_text("WEBUI_NAME=from the file\nDEPLOYMENT_ID=from the file\nDEFAULT_LOCALE=nl\n")
    server.start()
    told = httpx.get(f"{server.url}/api/config", trust_env=False).json()
    assert (told["name"], told["default_locale"]) == ("from the environment", "nl")
    version = httpx.get(f"{server.url}/api/version", trust_env=False).json()
    assert version["deployment_id"] == "from the file"


def test_malformed_settings_are_told_as_the_page_says(make_server: Callable[..., Server]) -> None:
    server = make_server(PORT="abc", CHECKPOINT_INTERVAL="5")
    server.launch()
    assert server.wait() == 1
    page = (README.parent / "docs" / "architecture" / "configuration.md").read_text(encoding="utf-8")
    assert server.log.strip() in page
