"""Schemathesis plays requests by /openapi.json against the real server, right and wrong ones: none is answered 500."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.live import PASSWORD
from tests.support.process import clean_environment
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
# Who asks, and made-up requests of each operation: one at first; OUI_PLAYED=40 makes some 50,000 beside them.
WHO = ("admin", "user", "nobody")
EXAMPLES = [1] + [int(many) for many in [os.environ.get("OUI_PLAYED")] if many]
# Seconds of CPU time that a turn of the server's loop may take: nobody else, /health included, is answered while one lasts.
LONGEST_TURN = 0.1
# What ends the session that asks, or asks addresses that were made up.
LEFT_OUT = ("/api/v1/auths/signout", "/api/v1/auths/update/password", "/openai/verify", "/ollama/verify")


@pytest.fixture
def developed(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> Server:
    return make_server(
        DATABASE_URL=database_url, ENV="dev", OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream"
    ).start()


def token_of(server: Server, who: str) -> str | None:
    """A session of somebody; the administrator's account is made first."""
    form = {"name": "Dev", "email": "dev@example.com", "password": PASSWORD}
    admin: str = httpx.post(f"{server.url}/api/v1/auths/signup", json=form, timeout=60).json()["token"]
    if who != "user":
        return admin if who == "admin" else None
    person = {"name": "Else", "email": "else@example.com", "password": PASSWORD, "role": "user"}
    signed = {"Authorization": f"Bearer {admin}"}
    added = httpx.post(f"{server.url}/api/v1/auths/add", json=person, headers=signed, timeout=60)
    token: str = added.json()["token"]
    return token


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("who", WHO)
def test_no_request_is_answered_500(developed: Server, tmp_path: Path, examples: int, who: str) -> None:
    token = token_of(developed, who)
    signed = ("--header", f"Authorization: Bearer {token}") if token else ()
    report = tmp_path / "report.json"
    told = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{developed.url}/openapi.json",
            *signed, "--checks", "not_a_server_error",
            "--phases", "fuzzing", "--max-examples", str(examples),
            "--generation-deterministic", "--no-shrink", "--continue-on-failure",
            "--request-timeout", "120", "--report", "json", "--report-json-path", str(report), "--no-color", "--warnings", "off",
            *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
        ],
        cwd=tmp_path, env=clean_environment({}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-6000:]
    assert developed.healthy()
    assert "unexpected error" not in developed.log
    # The log has it, and not /metrics: an administrator's made-up requests may close that.
    turns = [float(seconds) for seconds in re.findall(r"event loop was long.*?cpu_seconds\W+([\d.]+)", developed.log)]
    # The short run is mostly what a server does for the first time: it loads what it needs for that.
    assert examples == 1 or max(turns, default=0.0) < LONGEST_TURN, sorted(turns)
    played = json.loads(report.read_text())
    assert played["complete"]
    assert played["operations"]["tested"] == played["operations"]["total"] - len(LEFT_OUT)
