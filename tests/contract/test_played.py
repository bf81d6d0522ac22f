"""Schemathesis plays requests by /openapi.json against the real server, right and wrong ones: none is answered 500."""

import json
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
# Made-up requests of each operation.
EXAMPLES = [pytest.param(1, id="short"), pytest.param(10, id="long", marks=pytest.mark.slow)]
# What ends the session that asks, or asks addresses that were made up.
LEFT_OUT = ("/api/v1/auths/signout", "/api/v1/auths/update/password", "/openai/verify", "/ollama/verify")


@pytest.fixture
def developed(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> Server:
    return make_server(
        DATABASE_URL=database_url, ENV="dev", OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream"
    ).start()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", EXAMPLES)
def test_no_request_is_answered_500(developed: Server, tmp_path: Path, examples: int) -> None:
    form = {"name": "Dev", "email": "dev@example.com", "password": PASSWORD}
    token = httpx.post(f"{developed.url}/api/v1/auths/signup", json=form).json()["token"]
    report = tmp_path / "report.json"
    told = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{developed.url}/openapi.json",
            "--header", f"Authorization: Bearer {token}", "--checks", "not_a_server_error",
            "--phases", "fuzzing", "--max-examples", str(examples),
            "--generation-deterministic", "--no-shrink", "--continue-on-failure",
            "--request-timeout", "20", "--report", "json", "--report-json-path", str(report), "--no-color", "--warnings", "off",
            *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
        ],
        cwd=tmp_path, env=clean_environment({}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-6000:]
    assert developed.healthy()
    assert "unexpected error" not in developed.log
    played = json.loads(report.read_text())
    assert played["complete"]
    assert played["operations"]["tested"] == played["operations"]["total"] - len(LEFT_OUT)
