"""Whose word on a client's address is taken, what is counted by it, and the pages that come through a proxy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from open_webui.internal import bounded_http
from open_webui.internal.bounded_http import BoundedHttp
from open_webui.internal.forwarded import Proxies, household, is_own_origin, may_be_rebound
from open_webui.services.attempts import PER_ADDRESS
from tests.support.live import PASSWORD, Actor, Live
from tests.support.raw_socket import RawSocket
from tests.support.server import Server

POLL = "/ws/socket.io/?EIO=4&transport=polling"
Make = Callable[..., Awaitable[Live]]


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


def client_of(listed: str, peer: str, *forwarded: str) -> str:
    """The address that a request counts for."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope: dict[str, Any] = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": headers}
    proxies = Proxies(listed)
    proxies.apply(scope, believed=peer in proxies)
    return str(scope["client"][0])


class TestAddress:
    @pytest.mark.parametrize(
        ("listed", "peer", "forwarded", "counted"),
        [
            # Who is not listed chooses nothing, from wherever it connects.
            ("", "127.0.0.1", ["203.0.113.7"], "127.0.0.1"), ("", "::1", ["203.0.113.7"], "::1"),
            ("10.0.0.1", "127.0.0.1", ["203.0.113.7"], "127.0.0.1"), ("10.0.0.1", "10.0.0.11", ["203.0.113.7"], "10.0.0.11"),
            # A listed proxy adds who called it; what stood there before is whatever the client wrote.
            ("127.0.0.1", "127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", "127.0.0.1", ["8.8.8.8, 203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", "127.0.0.1", ["8.8.8.8", "203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", "127.0.0.1", ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
            # Of two listed proxies the outer one's word.
            ("127.0.0.1,10.0.0.0/8", "127.0.0.1", ["8.8.8.8, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("127.0.0.1,10.0.0.0/8", "127.0.0.1", ["10.0.0.2"], "10.0.0.2"),
            ("127.0.0.1", "127.0.0.1", ["203.0.113.7, 10.0.0.2"], "10.0.0.2"),
            # Everybody is a proxy: then only the last word counts.
            ("*", "198.51.100.9", ["8.8.8.8, 203.0.113.7"], "203.0.113.7"),
            ("*", "198.51.100.9", [], "198.51.100.9"),
            # Ports, brackets, mapped addresses, networks.
            ("127.0.0.1", "127.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
            ("127.0.0.1", "127.0.0.1", ["[2001:db8::1]:80"], "2001:db8::1"),
            ("127.0.0.1", "127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", "::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", "127.0.0.1", ["8.8.8.8, ::ffff:203.0.113.7"], "203.0.113.7"),
            ("::1", "::1", ["203.0.113.7"], "203.0.113.7"), ("fd00::/8", "fd00::7", ["203.0.113.7"], "203.0.113.7"),
            # What is no address leaves it with the proxy's own.
            ("127.0.0.1", "127.0.0.1", ["unknown"], "127.0.0.1"), ("127.0.0.1", "127.0.0.1", ["8.8.8.8, "], "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1", [""], "127.0.0.1"), ("127.0.0.1", "127.0.0.1", ["8.8.8.8, _x" + "1" * 9_000], "127.0.0.1"),
            ("127.0.0.0/8", "127.0.0.1", ["8.8.8.8" + ", 127.0.0.1" * 5_000], "127.0.0.1"),
        ],
    )  # fmt: skip
    def test_is_the_last_that_no_listed_proxy_has(
        self, listed: str, peer: str, forwarded: list[str], counted: str
    ) -> None:
        assert client_of(listed, peer, *forwarded) == counted

    @pytest.mark.parametrize("listed", ["localhost", "10.0.0.0/8;127.0.0.1", "10.0.0.300", "10.0.0.0/33", "nginx"])
    def test_a_list_that_names_none_is_told_at_the_start(self, listed: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="does not appear"):
            Proxies(listed)
        server = Server(tmp_path, {"FORWARDED_ALLOW_IPS": listed})
        if listed == "localhost":
            assert server.launch().wait(30) == 1
            assert "FORWARDED_ALLOW_IPS: 'localhost'" in server.log
            assert "Traceback" not in server.log

    @pytest.mark.parametrize(
        ("address", "counted"),
        [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
         ("2001:db8:1:2::", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("", ""), ("testclient", "testclient")],
    )  # fmt: skip
    def test_of_ipv6_a_household_is_one_address(self, address: str, counted: str) -> None:
        assert household(address) == counted


async def _guess(client: httpx.AsyncClient, n: int) -> int:
    """A wrong sign-in that says it comes from somewhere else each time."""
    form = {"email": f"guess{n}@example.com", "password": "x"}
    reply = await client.post("/api/v1/auths/signin", json=form, headers={"x-forwarded-for": f"203.0.{n}.7"})
    return reply.status_code


class TestSignIn:
    async def test_who_connects_directly_does_not_choose_where_he_counts(
        self, live: Live, caplog: pytest.LogCaptureFixture
    ) -> None:
        # A process tells of a client once, and this one may have told of this client in another test.
        bounded_http.proxies.cache_clear()
        async with live.client() as client:
            statuses = [await _guess(client, n) for n in range(PER_ADDRESS + 2)]
        assert statuses == [400] * PER_ADDRESS + [429] * 2
        assert caplog.text.count("FORWARDED_ALLOW_IPS") == 1, "whoever has a proxy is told"

    async def test_the_people_behind_a_listed_proxy_count_each_for_themselves(
        self, make_live: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        live = await make_live(forwarded_allow_ips="127.0.0.1")
        async with live.client() as client:
            assert {await _guess(client, n) for n in range(PER_ADDRESS + 2)} == {400}
            forged = [{"x-forwarded-for": f"203.0.{n}.9, 198.51.100.1"} for n in range(PER_ADDRESS + 2)]
            form = {"email": "x@example.com", "password": "x"}
            statuses = [(await client.post("/api/v1/auths/signin", json=form, headers=h)).status_code for h in forged]
            assert statuses[-1] == 429
        assert "FORWARDED_ALLOW_IPS" not in caplog.text


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


class TestConnections:
    """One address has a share of the connections that there may be."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BoundedHttp, "max_of_address", 6)
        for remembered in (bounded_http._no_room_until, bounded_http._next_warning):
            remembered.clear()

    @contextlib.asynccontextmanager
    async def held(self, live: Live, token: str, count: int, **headers: str) -> AsyncIterator[list[RawSocket]]:
        """Sockets that have signed in: nobody closes those to make room."""
        async with contextlib.AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(await RawSocket.open(urlsplit(live.url).port or 0, **headers))
                for _ in range(count)
            ]
            for socket in opened:
                await socket.sign_in(token)
            yield opened

    async def test_one_takes_no_more_than_its_share(
        self, live: Live, admin: Actor, caplog: pytest.LogCaptureFixture
    ) -> None:
        await admin.client.aclose()
        async with self.held(live, admin.token, 6) as sockets:
            async with live.client() as client:
                reply = await client.get("/health")
                assert reply.status_code == 429
                assert "too many open connections" in reply.text
                again = await client.get("/health")
                assert again.status_code == 429
            assert caplog.text.count("too many connections") == 1
            assert "127.0.0.1" in caplog.text
            assert await sockets[0].ask("heartbeat", {}) == [], "what is open stays"
        await _until(lambda: not bounded_http._of_address)
        async with live.client() as client:
            assert (await client.get("/health")).status_code == 200

    async def test_its_idle_ones_make_room(self, live: Live) -> None:
        async with contextlib.AsyncExitStack() as stack:
            port = urlsplit(live.url).port
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(_abort, writer)
            async with live.client() as client:
                assert (await client.get("/health")).status_code == 200
                await _until(lambda: bounded_http._of_address["127.0.0.1"] <= 6)

    async def test_behind_a_listed_proxy_each_client_has_its_own(
        self, make_live: Make, live: Live, admin: Actor
    ) -> None:
        behind = await make_live(forwarded_allow_ips="127.0.0.1")
        one, other = {"x-forwarded-for": "8.8.8.8, 203.0.113.1"}, {"x-forwarded-for": "203.0.113.2"}
        async with self.held(behind, admin.token, 6, **one), behind.client() as client:
            assert bounded_http._of_address["203.0.113.1"] == 6
            reply = await client.get("/health", headers=one)
            assert reply.status_code == 429
            for _ in range(20):
                assert (await client.get("/health", headers=other)).status_code == 200
            assert "203.0.113.2" not in bounded_http._of_address, "a proxy keeps connections that are nobody's"
            async with self.held(behind, admin.token, 6, **other):
                assert (await client.get("/health")).status_code == 200, "the proxy itself has no bound"
        assert live is not behind

    async def test_the_share_is_a_setting(self, tmp_path: Path) -> None:
        server = Server(tmp_path, {"MAX_CONNECTIONS_PER_ADDRESS": "3"}).start()
        try:
            assert "of_one_address=3" in server.log
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(3):
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    stack.callback(_abort, writer)
                    # A request that has begun is no idle connection.
                    writer.write(
                        b"POST /api/v1/auths/signin HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n"
                        b"Content-Type: application/json\r\n\r\n"
                    )
                    assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                stack.callback(_abort, writer)
                assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 429 ")
        finally:
            server.kill()


class TestPages:
    """Pages behind a proxy that ends TLS, listed or not, whatever it says of itself."""

    @pytest.mark.parametrize(
        ("scheme", "origin", "own"),
        [("http", "http://x.example", True), ("http", "https://x.example", True), ("https", "https://x.example", True),
         ("https", "http://x.example", False), ("ws", "http://x.example", True), ("ws", "https://x.example", True),
         ("wss", "http://x.example", False), ("wss", "https://x.example", True), ("http", "ftp://x.example", False),
         ("http", "x.example", False), ("http", "null", False), ("http", "http://", False), ("http", "http://[", False),
         ("http", "http://x.example.evil", False), ("http", "http://y.example", False), ("http", "http://x.example:80", False)],
    )  # fmt: skip
    def test_an_origin_is_a_host_and_a_scheme_that_is_no_weaker(self, scheme: str, origin: str, own: bool) -> None:
        assert is_own_origin(origin, scheme, "x.example", None) is own
        assert is_own_origin(origin, scheme, None, "x.example") is own
        assert not is_own_origin(origin, scheme, None, "")

    @pytest.mark.parametrize(
        "headers",
        [{}, {"x-forwarded-proto": "https"}, {"x-forwarded-for": "203.0.113.7"}, {"host": "inner", "x-forwarded-host": "HOST"}],
    )  # fmt: skip
    async def test_their_sockets_open(self, live: Live, headers: dict[str, str]) -> None:
        host = urlsplit(live.url).netloc
        sent = {name: value.replace("HOST", host) for name, value in headers.items()}
        async with live.client() as client:
            reply = await client.get(POLL, headers={"origin": f"https://{host}"} | sent)
        assert reply.status_code != 403
        assert "not an accepted origin" not in reply.text

    async def test_the_log_says_why_others_are_refused(self, live: Live, caplog: pytest.LogCaptureFixture) -> None:
        host = urlsplit(live.url).netloc
        async with live.client() as client:
            for headers in ({}, {"origin": live.url}, {"origin": f"https://{host}"}):
                await client.get(POLL, headers=headers)
            assert "CORS_ALLOW_ORIGIN" not in caplog.text
            for n in range(3):
                # nginx without `proxy_set_header Host $host`.
                await client.get(POLL, headers={"origin": "https://chat.example", "host": "127.0.0.1:8080"})
                await client.get(POLL, headers={"origin": f"https://{n}" + "x" * 5_000})
        assert caplog.text.count("https://chat.example") == 1
        assert caplog.text.count("CORS_ALLOW_ORIGIN") == 4
        assert len(caplog.text) < 5_000

    @pytest.mark.parametrize("configured", ["", "https://app.example"])
    async def test_those_of_another_site_do_not(self, make_live: Make, configured: str) -> None:
        live = await make_live(cors_allow_origin=configured, enable_websocket_support=False)
        async with live.client() as client:
            for origin, expected in (
                ("https://evil.example", 400), ("null", 400), ("https://app.example", 200 if configured else 400),
                (live.url, 200),
            ):  # fmt: skip
                assert (await client.get(POLL, headers={"origin": origin})).status_code == expected, origin

    async def test_their_cookie_is_secure(self, live: Live, user: Actor) -> None:
        form = {"email": user.email, "password": PASSWORD}
        for headers, secure in (
            ({}, False),
            ({"x-forwarded-proto": "https"}, True),
            ({"x-forwarded-proto": "x"}, False),
        ):
            async with live.client() as browser:
                reply = await browser.post("/api/v1/auths/signin", json=form, headers=headers)
            assert ("secure" in reply.headers["set-cookie"].lower()) is secure


class TestFirstAccount:
    """A page of another site whose name leads to this machine (DNS rebinding) is for the browser a page of the server's."""

    @pytest.mark.parametrize(
        ("client", "host", "strange"),
        [
            ("127.0.0.1", "evil.example:8080", True), ("::1", "evil.example", True), ("127.0.0.5", "EVIL.example.", True),
            ("::ffff:127.0.0.1", "evil.example:8080", True), ("127.0.0.1", "localhost.evil.example", True),
            ("127.0.0.1", "127.0.0.1.evil.example:80", True),
            ("127.0.0.1", "localhost:8080", False), ("127.0.0.1", "127.0.0.1:8080", False), ("::1", "[::1]:8080", False),
            ("127.0.0.1", "oui.localhost", False), ("127.0.0.1", "workstation:8080", False), ("127.0.0.1", "pi.local", False),
            ("192.168.0.7", "evil.example", False), ("203.0.113.7", "chat.example.com", False), ("", "evil.example", False),
            ("127.0.0.1", "", False),
        ],
    )  # fmt: skip
    def test_which_names_lead_here_from_elsewhere(self, client: str, host: str, strange: bool) -> None:
        assert may_be_rebound(client, host) is strange

    async def test_it_is_not_made_under_such_a_name(self, make_live: Make) -> None:
        live = await make_live()
        form = {"name": "Mallory", "email": "mallory@example.com", "password": PASSWORD}
        async with live.client() as client:
            headers = {"host": f"evil.example:{urlsplit(live.url).port}", "x-forwarded-for": "203.0.113.7"}
            reply = await client.post("/api/v1/auths/signup", json=form, headers=headers)
            assert reply.status_code == 403
            assert "first account" in reply.json()["detail"]
            assert (await client.get("/api/config")).json()["onboarding"] is True
            # Nothing of it is left: who opens the server by its own name makes the first account.
            reply = await client.post("/api/v1/auths/signup", json=form)
            assert (reply.status_code, reply.json()["role"]) == (200, "admin")
