"""What holds for every request: headers, ids, bounds on bodies, the origin of writes, replies to failures (R11, R16)."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from open_webui.access.policy import OPTIONAL, PUBLIC, USER
from open_webui.deps import OptionalCaller
from open_webui.errors import OuiError, ProviderError
from open_webui.routing import TOKEN_COOKIE, allow, new_router
from tests.support.live import Actor, Live, sign_up

MB = 2**20
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


def add_routes(live: Live) -> None:
    """Routes that go wrong, as a handler with a bug would, and one that echoes."""
    router = new_router(prefix="/api/test")

    @router.get("/bug")
    @allow(PUBLIC)
    async def bug() -> None:
        raise RuntimeError("a secret detail of /srv/app")

    @router.get("/unencodable")
    @allow(PUBLIC)
    async def unencodable() -> object:
        return object()

    @router.get("/provider")
    @allow(PUBLIC)
    async def provider() -> None:
        raise ProviderError("no", status=429, body={"error": {"message": "slow down"}})

    @router.post("/echo")
    @allow(PUBLIC)
    async def echo(body: dict[str, object]) -> object:
        return body

    @router.post("/echo/mine")
    @allow(USER)
    async def echo_mine(body: dict[str, object]) -> object:
        return body

    @router.post("/write")
    @allow(USER)
    async def write() -> bool:
        return True

    @router.post("/maybe")
    @allow(OPTIONAL)
    async def maybe(caller: OptionalCaller) -> bool:
        return caller is not None

    live.app.router.routes[:0] = router.routes


@pytest.fixture
async def wired(live: Live) -> Live:
    add_routes(live)
    return live


@pytest.fixture
async def anyone(wired: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with wired.client() as client:
        yield client


async def test_every_reply_has_the_security_headers(anyone: httpx.AsyncClient) -> None:
    for path, status in {
        "/": 200, "/health": 200, "/static/favicon.png": 200, "/nope.js": 404, "/api/v1/auths/": 401,
        "/api/test/bug": 500, "/api/test/provider": 429, "/api/config": 200,
    }.items():  # fmt: skip
        reply = await anyone.get(path)
        assert reply.status_code == status, path
        assert {n: reply.headers.get(n) for n in HEADERS} == HEADERS, path
        assert "server" not in reply.headers or "uvicorn" in reply.headers["server"]
    assert (await anyone.put("/health")).headers["x-frame-options"] == "SAMEORIGIN"


async def test_every_reply_has_an_id(anyone: httpx.AsyncClient) -> None:
    ids = {(await anyone.get(path)).headers["x-request-id"] for path in ("/health", "/nope.js", "/api/test/bug", "/")}
    assert len(ids) == 4
    assert all(len(i) == 16 and i.isalnum() for i in ids)


@pytest.mark.parametrize("given", ["abc-123", "A" * 64])
async def test_a_proxys_id_is_kept(anyone: httpx.AsyncClient, given: str) -> None:
    assert (await anyone.get("/health", headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "A" * 65, "a\tb", "<script>", "é".encode("latin-1"), "x;y=1"])
async def test_an_odd_id_is_replaced(anyone: httpx.AsyncClient, given: str | bytes) -> None:
    reply = await anyone.get(
        "/health", headers=[(b"x-request-id", given if isinstance(given, bytes) else given.encode())]
    )
    assert len(reply.headers["x-request-id"]) == 16


async def test_a_bug_is_answered_without_internals(anyone: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/api/test/bug", "/api/test/unencodable"):
        reply = await anyone.get(path)
        assert (reply.status_code, reply.json()) == (500, {"detail": OuiError.detail})
        assert "secret" not in reply.text
    logged = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(logged) == 2


async def test_a_providers_refusal_keeps_its_status_and_body(anyone: httpx.AsyncClient) -> None:
    reply = await anyone.get("/api/test/provider")
    assert (reply.status_code, reply.json()) == (429, {"error": {"message": "slow down"}})


@pytest.fixture
async def small(make_live: Callable[..., Awaitable[Live]]) -> Live:
    live = await make_live(max_body_mb=1)
    add_routes(live)
    return live


def too_large(reply: httpx.Response) -> bool:
    detail = {"detail": "The request is larger than this server accepts (1 MB)."}
    return (reply.status_code, reply.json(), reply.headers["x-frame-options"]) == (413, detail, "SAMEORIGIN")


async def test_a_body_within_the_bound_is_taken(small: Live) -> None:
    body = {"text": "x" * (MB - 100)}
    actor = await sign_up(small, "Ann")
    async with actor.client:
        assert (await actor.client.post("/api/test/echo/mine", json=body)).json() == body
        assert (await actor.client.post("/api/test/echo", json=body)).status_code == 413, "nobody is asked who sends it"


async def test_a_declared_body_beyond_the_bound_is_refused_unread(small: Live) -> None:
    """Only the head is sent: the reply comes without waiting for the body."""
    host, _, port = small.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /api/test/echo HTTP/1.1\r\nhost: {host}\r\ncontent-length: {50 * MB}\r\n\r\n".encode())
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    assert b" 413 " in status


async def test_a_body_that_grows_beyond_the_bound_is_refused(small: Live) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"text":"'
        for _ in range(40):
            yield b"x" * (MB // 20)
        yield b'"}'

    headers = {"content-type": "application/json"}
    actor = await sign_up(small, "Ann")
    async with actor.client:
        assert too_large(await actor.client.post("/api/test/echo/mine", content=chunks(), headers=headers))
    async with small.client() as client:
        reply = await client.post("/api/v1/auths/signin", content=chunks(), headers=headers)
        assert reply.status_code == 413


async def test_a_form_beyond_the_bound_is_refused(small: Live) -> None:
    async with small.client() as client:
        reply = await client.post("/api/test/echo", files={"file": ("a.bin", io.BytesIO(b"x" * 3 * MB))})
    assert too_large(reply)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 12_000, b"nul", b'{"a":1}x', b'"\\ud800"', b"1e999"]
)
async def test_bodies_that_are_no_json_object(anyone: httpx.AsyncClient, body: bytes) -> None:
    reply = await anyone.post("/api/test/echo", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert isinstance(reply.json()["detail"], list)
    assert len(reply.content) < 5_000


async def test_a_huge_wrong_value_is_not_sent_back(anyone: httpx.AsyncClient) -> None:
    reply = await anyone.post("/api/test/echo", json="x" * 60_000)
    assert reply.status_code == 422
    assert len(reply.content) < 2_000


ORIGINS = {
    "https://evil.example": 403,
    "null": 403,
    "http://127.0.0.1": 403,
    "http://127.0.0.1:1": 403,
    "javascript:alert(1)": 403,
    "": 403,
}


async def test_a_cookie_writes_from_our_own_pages_only(wired: Live, user: Actor) -> None:
    async with wired.client(cookies={TOKEN_COOKIE: user.token}) as browser:
        for path in ("/api/test/write", "/api/test/maybe"):
            assert (await browser.post(path, headers={"origin": wired.url})).json() is True
            assert (await browser.post(path)).json() is True
            assert (await browser.post(path, headers={"sec-fetch-site": "same-origin"})).json() is True
            for origin, status in ORIGINS.items():
                reply = await browser.post(path, headers={"origin": origin})
                assert reply.status_code == status, (path, origin)
            for site in ("cross-site", "same-site"):
                assert (await browser.post(path, headers={"sec-fetch-site": site})).status_code == 403, (path, site)
        assert (await browser.get("/api/config", headers={"origin": "https://evil.example"})).status_code == 200


async def test_a_bearer_token_needs_no_origin(user: Actor, wired: Live) -> None:
    reply = await user.client.post("/api/test/write", headers={"origin": "https://elsewhere.example"})
    assert reply.status_code == 200


async def test_no_other_origin_may_read_unless_configured(anyone: httpx.AsyncClient) -> None:
    reply = await anyone.get("/api/config", headers={"origin": "https://app.example"})
    assert not [name for name in reply.headers if name.startswith("access-control-")]
    preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert (await anyone.options("/api/config", headers=preflight)).status_code == 405


async def test_a_configured_origin_may_call_with_cookies(make_live: Callable[..., Awaitable[Live]]) -> None:
    live = await make_live(cors_allow_origin="https://app.example; https://two.example/")
    add_routes(live)
    async with live.client() as client:
        for origin in ("https://app.example", "https://two.example"):
            for path in ("/api/config", "/nope.js", "/api/test/bug"):
                reply = await client.get(path, headers={"origin": origin})
                assert reply.headers["access-control-allow-origin"] == origin, path
                assert reply.headers["access-control-allow-credentials"] == "true"
        other = await client.get("/api/config", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        preflight = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type",
        }
        reply = await client.options("/api/test/echo", headers=preflight)
        assert reply.status_code == 200
        assert "authorization" in reply.headers["access-control-allow-headers"]


async def test_all_origins_never_come_with_cookies(make_live: Callable[..., Awaitable[Live]]) -> None:
    live = await make_live(cors_allow_origin="*;https://app.example", enable_websocket_support=False)
    async with live.client(cookies={TOKEN_COOKIE: "x"}) as client:
        for path in ("/health", "/ws/socket.io/?EIO=4&transport=polling"):
            reply = await client.get(path, headers={"origin": "https://evil.example"})
            assert reply.status_code == 200, path
            assert reply.headers["access-control-allow-origin"] in {"*", "https://evil.example"}, path
            assert "access-control-allow-credentials" not in reply.headers, path


async def test_a_configured_origin_may_open_a_socket(make_live: Callable[..., Awaitable[Live]]) -> None:
    live = await make_live(cors_allow_origin="https://app.example/", enable_websocket_support=False)
    async with live.client() as client:
        path = "/ws/socket.io/?EIO=4&transport=polling"
        reply = await client.get(path, headers={"origin": "https://app.example"})
    assert reply.status_code == 200
    assert reply.headers.get_list("access-control-allow-origin") == ["https://app.example"]


async def test_a_configured_origin_may_write_with_a_cookie(
    make_live: Callable[..., Awaitable[Live]], live: Live, user: Actor
) -> None:
    """The same accounts, seen by a server that another origin's page may use."""
    other = await make_live(cors_allow_origin="https://app.example/")
    add_routes(other)
    async with other.client(cookies={TOKEN_COOKIE: user.token}) as browser:
        for origin, status in {"https://app.example": 200, "https://evil.example": 403, other.url: 200}.items():
            reply = await browser.post("/api/test/write", headers={"origin": origin})
            assert reply.status_code == status, origin


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_other_origins_open_no_socket(make_live: Callable[..., Awaitable[Live]], origin: str) -> None:
    live = await make_live(enable_websocket_support=False)
    async with live.client() as client:
        path = "/ws/socket.io/?EIO=4&transport=polling"
        assert (await client.get(path, headers={"origin": origin})).status_code == 400
        assert (await client.get(path, headers={"origin": live.url})).status_code == 200


async def test_logs_carry_the_id_and_no_token(capsys: pytest.CaptureFixture[str], wired: Live, user: Actor) -> None:
    await user.client.get("/api/test/bug", headers={"x-request-id": "find-me"})
    text = capsys.readouterr().err
    assert "find-me" in text
    assert "a secret detail" in text, "the log is where the details are"
    assert user.token not in text
