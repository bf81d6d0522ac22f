"""The interface described: what a developer's server sends, and that nobody else's loads anything of it."""

import gzip
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from open_webui.routers.api_docs import FILES, FOLDER
from open_webui.routers.pages import OWN_CSP
from tests.support.live import Live

SRC = Path(__file__).resolve().parents[3] / "src"


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
async def developed(make_live: Callable[..., Awaitable[Live]]) -> Live:
    return await make_live(env="dev")


async def test_the_viewer_is_sent_compressed_and_under_the_pages_policy(developed: Live) -> None:
    async with developed.client() as client:
        page = await client.get("/docs")
        assert page.headers["content-security-policy"] == OWN_CSP
        for name, (place, media_type) in FILES.items():
            packed = await client.get(f"/docs/{name}")
            plain = await client.get(f"/docs/{name}", headers={"accept-encoding": "identity"})
            stored = (FOLDER / place).read_bytes()
            assert packed.headers["content-type"].startswith(media_type)
            assert packed.headers.get("content-encoding") == ("gzip" if place.endswith(".gz") else None)
            assert "content-encoding" not in plain.headers
            assert packed.content == plain.content == (gzip.decompress(stored) if place.endswith(".gz") else stored)
        for name in ("vendor/swagger-ui.LICENSE", "..%2fmain.py", "index.html"):
            assert (await client.get(f"/docs/{name}")).status_code == 404


async def test_the_document_is_made_once(developed: Live) -> None:
    async with developed.client() as client:
        first = await client.get("/openapi.json")
        making = developed.app.state.description
        again = await client.get("/openapi.json", headers={"accept-encoding": "identity"})
    assert first.headers["content-encoding"] == "gzip"
    assert first.json() == again.json()
    assert developed.app.state.description is making


async def test_others_have_neither(client: httpx.AsyncClient) -> None:
    for path in ("/openapi.json", "/docs/start.js", "/docs/swagger-ui.css"):
        assert (await client.get(path)).status_code == 404


def test_nothing_of_it_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys; from open_webui.env import Settings; from open_webui.main import create_app\n"
        "create_app(Settings(_env_file=None, data_dir=sys.argv[1]))\n"
        "print([m for m in sys.modules if m.startswith(('open_webui.openapi', 'open_webui.schemas.replies.',"
        " 'open_webui.schemas.bodies', 'open_webui.routers.api_docs')) and not m.endswith('.shape')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "[]"
