"""Plugins from elsewhere: fetched for an admin to look at, from the Internet alone."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from open_webui.services.plugins import name_of, raw_url
from tests.open_webui.plugins.test_reading import ADDER
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.service import Asked, Service, a_service

RAW = "https://raw.githubusercontent.com/o/r"


@pytest.mark.parametrize(
    ("url", "raw", "name"),
    [
        ("https://github.com/o/r/blob/main/tools/adder.py", f"{RAW}/main/tools/adder.py", "adder"),
        ("https://www.github.com/o/r/blob/main/a/main.py", f"{RAW}/main/a/main.py", "a"),
        ("https://github.com/o/r/tree/main/a/b/", f"{RAW}/main/a/b/main.py", "b"),
        ("https://github.com/o/r", "https://github.com/o/r", "r"),
        ("https://github.com/", "https://github.com/", "plugin"),
        ("https://example.com/x/__init__.py?a=b", "https://example.com/x/__init__.py?a=b", "x"),
        (
            "https://github.com.evil.example/o/r/blob/main/a.py",
            "https://github.com.evil.example/o/r/blob/main/a.py",
            "a",
        ),
    ],
)
def test_addresses(url: str, raw: str, name: str) -> None:
    assert (raw_url(url), name_of(raw_url(url))) == (raw, name)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with a_service() as running:
        yield running


@pytest.fixture
async def local(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies on this machine may be fetched."""
    allowed = live.app.state.oui.settings.model_copy(update={"enable_rag_local_web_fetch": True})
    monkeypatch.setattr(live.app.state.oui, "settings", allowed)


def pages_of(asked: Asked) -> web.Response:
    if asked.path == "/long.py":
        return web.Response(text="#" * 1_000_001)
    if asked.path == "/picture.py":
        return web.Response(body=b"\xff\xfe\x00picture")
    return web.Response(text=ADDER) if asked.path == "/adder.py" else web.Response(status=404)


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("kind", ["tools", "functions"])
async def test_what_lies_there(admin: Actor, user: Actor, service: Service, kind: str) -> None:
    service.answer = pages_of
    path = f"/api/v1/{kind}/load/url"
    assert await say(admin, "POST", path, {"url": f"{service.url}/adder.py"}) == (
        200,
        {"name": "adder", "content": ADDER},
    )
    for name, said in (("none", "404"), ("long.py", "1,000,000 characters"), ("picture.py", "no text")):
        status, refused = await say(admin, "POST", path, {"url": f"{service.url}/{name}"})
        assert (status, said in refused["detail"]) == (400, True), name
    assert (await say(user, "POST", path, {"url": f"{service.url}/adder.py"}))[0] == 401


async def test_nothing_of_this_network(admin: Actor, service: Service) -> None:
    for url in (f"{service.url}/adder.py", "http://localhost/x", "http://169.254.169.254/", "file:///etc/passwd", "x"):
        status, _ = await say(admin, "POST", "/api/v1/tools/load/url", {"url": url})
        assert status == 400, url
    for body in ({}, {"url": ""}, {"url": 3}, {"url": "http://x/" + "a" * 3_000}):
        assert (await say(admin, "POST", "/api/v1/tools/load/url", body))[0] == 422
    assert service.asked == []
