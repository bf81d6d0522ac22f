"""R8: what a user's address may lead to."""

import gzip
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from open_webui.internal import guarded_http
from open_webui.internal.guarded_http import Unreachable, fetch, is_public
from tests.support.service import Service, a_service

BAD = (
    "127.0.0.1 127.8.9.1 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.8 198.18.0.1 224.0.0.1"
    " 240.0.0.1 255.255.255.255 192.0.2.1 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1"
    " 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 2002:7f00:1:: 2002:a00:1:: ::127.0.0.1 2001:db8::1"
    " 2001:0:0:0:0:0:80ff:fffe"
).split()


@pytest.mark.parametrize("address", BAD)
def test_what_is_not_the_internets(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with a_service() as running:
        yield running


async def get(url: str, **options: Any) -> guarded_http.Page:
    return await fetch(url, **({"limit": 100_000, "timeout": 5, "allow_local": True} | options))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "017700000001", "[::ffff:127.0.0.1]", "0"]
)
async def test_this_machine_is_refused_in_every_form(host: str) -> None:
    async with a_service() as service:
        service.reply("secret")
        port = service.url.rpartition(":")[2]
        with pytest.raises(Unreachable):
            await get(f"http://{host}:{port}/", allow_local=False)
        assert service.asked == []


async def test_a_name_that_leads_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was somewhere else a moment ago: what is connected to is what is checked."""
    found: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *given: Any, **named: Any) -> Any:
        found.append(str(host))
        return real("127.0.0.1" if host == "rebinding.example" else host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with a_service() as service:
        service.reply("secret")
        port = service.url.rpartition(":")[2]
        with pytest.raises(Unreachable, match=r"rebinding\.example is no public address"):
            await get(f"http://rebinding.example:{port}/", allow_local=False)
        assert service.asked == []
    assert "rebinding.example" in found


async def test_a_redirect_is_checked_like_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(guarded_http, "_check", checked.append)
    async with a_service() as inner, a_service() as outer:
        inner.reply("secret")
        outer.reply("", status=302, headers={"Location": f"{inner.url}/x"})
        page = await get(f"{outer.url}/", allow_local=False)
        assert page.url == f"{inner.url}/x"
        assert checked == ["127.0.0.1"] * 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://x", "http://", "http:///x", "//example.com", "example.com", "",
        "http://user:pass@example.com/", "http://user@example.com", "http://exa mple.com/", "http://example.com:x/",
        "http://example.com/\r\nX: y", "javascript:alert(1)", "http://[::1", "https://example.com/" + "a" * 9_000,
    ],
)  # fmt: skip
async def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Unreachable):
        await get(url)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://example.com/", "http://me:secret@example.com/"])
async def test_a_redirect_out_of_the_web(service: Service, place: str) -> None:
    service.reply("", status=302, headers={"Location": place})
    with pytest.raises(Unreachable):
        await get(service.url)


async def test_redirects_end(service: Service) -> None:
    service.reply("", status=302, headers={"Location": "/again"})
    with pytest.raises(Unreachable, match="on and on"):
        await get(service.url)
    assert len(service.asked) == guarded_http.MAX_REDIRECTS + 1


async def test_sites_that_are_not_visited(service: Service) -> None:
    with pytest.raises(Unreachable, match="not among the sites"):
        await get(service.url, visits=lambda _: False)
    assert service.asked == []


def many_bytes(_: Any) -> web.Response:
    return web.Response(body=b"x" * 200_000)


def bomb(_: Any) -> web.Response:
    return web.Response(body=gzip.compress(b"\0" * 50_000_000), headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize("answer", [many_bytes, bomb])
async def test_a_page_has_a_size(service: Service, answer: Callable[[Any], web.Response]) -> None:
    service.answer = answer
    with pytest.raises(Unreachable, match=r"more than 100,000 bytes|can't be read"):
        await get(service.url)


async def test_a_page_has_a_time(service: Service) -> None:
    import asyncio

    over = asyncio.Event()

    async def never(_: Any) -> web.Response:
        await over.wait()
        return web.Response()

    service.answer = never
    with pytest.raises(Unreachable, match=r"did not answer within 0\.1 seconds"):
        await get(service.url, timeout=0.1)
    # The server waits for its answer when it is closed.
    over.set()


async def test_nothing_of_ours_goes_along(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")

    def answer(asked: Any) -> web.Response:
        if asked.path == "/":
            return web.Response(status=302, headers={"Location": "/next", "Set-Cookie": "a=b"})
        return web.Response(text="<p>hi</p>", content_type="text/html", charset="utf-8")

    service.answer = answer
    page = await get(service.url)
    assert (page.body, page.kind, page.charset) == (b"<p>hi</p>", "text/html", "utf-8")
    for asked in service.asked:
        assert not {"cookie", "authorization", "referer", "proxy-authorization"} & {
            name.lower() for name in asked.headers
        }


@pytest.mark.parametrize("status", [204, 304, 403, 404, 500])
async def test_what_is_not_there(service: Service, status: int) -> None:
    service.answer = lambda _: web.Response(status=status)
    with pytest.raises(Unreachable, match=f"status {status}"):
        await get(service.url)
