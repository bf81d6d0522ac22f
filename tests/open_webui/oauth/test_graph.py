"""Groups that a token of Entra has no room for: asked of Microsoft Graph, which plays any part here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from open_webui.access.oauth import graph
from tests.open_webui.oauth.conftest import Serve
from tests.support.fake_oidc import FakeProvider, make, sign_in
from tests.support.live import Actor, Live, sign_up

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
OVER: dict[str, Any] = {
    # Where the token says that they are, is nowhere that is asked.
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:9/hostile"}},
}


class FakeGraph:
    """pages: ids of the groups, page by page. answer: what comes instead. link: the next page's address instead. held: what
    it waits for.
    """

    def __init__(self) -> None:
        self.url = ""
        self.pages: list[list[str]] = [["a", "b"], ["c"]]
        self.answer: Any = None
        self.link: Any = None
        self.held: asyncio.Event | None = None
        self.seen: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers.get("authorization", "")))
        if self.held is not None:
            await self.held.wait()
        if self.answer is not None:
            status, body = self.answer
            return web.Response(status=status, body=body, content_type="application/json")
        number = int(request.query.get("$skiptoken", 0))
        page = [{"id": name, "displayName": f"The {name}"} for name in self.pages[number]]
        said: dict[str, Any] = {"value": page}
        if number + 1 < len(self.pages):
            said["@odata.nextLink"] = self.link or f"{self.url}{request.path}?$skiptoken={number + 1}"
        return web.json_response(said)


@asynccontextmanager
async def fake_graph() -> AsyncIterator[FakeGraph]:
    made = FakeGraph()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        if made.held is not None:
            made.held.set()
        await runner.cleanup()


@pytest.fixture
async def asked() -> AsyncIterator[FakeGraph]:
    async with fake_graph() as made:
        yield made


@pytest.fixture
async def live(serve: Serve, asked: FakeGraph) -> Live:
    made = await serve()
    settings = {"graph.url": asked.url, "timeout": "20", "enable_group_mapping": True, "enable_group_creation": True}
    await made.app.state.oui.save_config({f"oauth.{name}": value for name, value in settings.items()})
    return made


@pytest.fixture
async def admin(live: Live) -> AsyncIterator[Actor]:
    made = await sign_up(live, "Admin One")
    yield made
    await made.client.aclose()


async def groups_of(admin: Actor, email: str = "eva@example.com") -> list[str]:
    people = (await admin.client.get("/api/v1/users/", params={"query": email})).json()["users"]
    found = (await admin.client.get(f"/api/v1/users/{people[0]['id']}/groups")).json()
    return sorted(group["name"] for group in found)


async def steps(admin: Actor) -> str:
    newest = (await admin.client.get("/api/v1/auths/admin/sign-ins")).json()[0]
    return str(newest["steps"])


async def test_all_pages_are_read_with_the_persons_token(
    live: Live, admin: Actor, provider: FakeProvider, asked: FakeGraph
) -> None:
    for claims in (OVER, {"hasgroups": True}, {"hasgroups": "true"}):
        asked.seen.clear()
        browser = await make(live, provider, sub="eva", **claims)
        assert await groups_of(admin) == ["a", "b", "c"]
        assert len(asked.seen) == 2
        assert {path for path, _ in asked.seen} == {"/v1.0/me/transitiveMemberOf/microsoft.graph.group"}
        assert all(token.removeprefix("Bearer ") in provider.tokens for _, token in asked.seen)
        assert "3 groups were read from Microsoft Graph" in await steps(admin)
        await browser.aclose()
    # They are left as the claim's are.
    asked.pages = [["b"]]
    browser = await make(live, provider, sub="eva", **OVER)
    assert await groups_of(admin) == ["b"]
    await browser.aclose()


async def test_by_their_names(live: Live, admin: Actor, provider: FakeProvider) -> None:
    await live.app.state.oui.save_config({"oauth.graph.use_names": True})
    browser = await make(live, provider, sub="eva", **OVER)
    assert await groups_of(admin) == ["The a", "The b", "The c"]
    await browser.aclose()


async def test_who_has_few_groups_is_not_asked_about(
    live: Live, admin: Actor, provider: FakeProvider, asked: FakeGraph
) -> None:
    browser = await make(live, provider, sub="eva", groups=["a"])
    assert (await groups_of(admin), asked.seen) == (["a"], [])
    await live.app.state.oui.save_config({"oauth.enable_group_mapping": False})
    assert (await sign_in(browser)).status_code == 302
    provider.person |= OVER
    assert (await sign_in(browser)).status_code == 302
    assert asked.seen == []
    await live.app.state.oui.save_config({"oauth.enable_group_mapping": True, "oauth.graph.url": ""})
    assert (await sign_in(browser)).status_code == 302
    assert asked.seen == []
    assert "the groups stay" in await steps(admin)
    await browser.aclose()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((403, b'{"error": {"code": "Authorization_RequestDenied", "message": "no"}}'), "Authorization_RequestDenied"),
        ((500, b"<html>"), "status 500"),
        ((302, b""), "status 302"),
        ((200, b"[]"), "status 200"),
        ((200, b'{"value": {}}'), "no groups in it"),
        ((200, b'{"value": [' + b'{"id": "x"},' * 60_000 + b"1]}"), "Microsoft Graph"),
    ],
)
async def test_where_it_fails_the_groups_stay(
    live: Live, admin: Actor, provider: FakeProvider, asked: FakeGraph, answer: Any, why: str
) -> None:
    browser = await make(live, provider, sub="eva", groups=["a"])
    provider.person = {name: value for name, value in provider.person.items() if name != "groups"} | OVER
    asked.answer = answer
    assert (await sign_in(browser)).headers["location"] == "/"
    assert await groups_of(admin) == ["a"]
    said = await steps(admin)
    assert why in said
    assert "the groups stay" in said
    await browser.aclose()


async def test_a_next_page_elsewhere_gets_no_token(
    live: Live, admin: Actor, provider: FakeProvider, asked: FakeGraph
) -> None:
    browser = await make(live, provider, sub="eva", groups=["a"])
    provider.person = {name: value for name, value in provider.person.items() if name != "groups"} | OVER
    async with fake_graph() as hostile:
        port = asked.url.rpartition(":")[2]
        for link in (
            f"{hostile.url}/v1.0/me/x?$skiptoken=1", "https://graph.microsoft.com.evil.example/v1.0/x", "//evil/v1.0/x",
            f"{asked.url}@evil.example/v1.0/x", f"{asked.url}/elsewhere", f"https://127.0.0.1:{port}/v1.0/x", "http://[", 5,
            ["x"],
        ):  # fmt: skip
            asked.link = link
            asked.seen.clear()
            assert (await sign_in(browser)).headers["location"] == "/", link
            assert (len(asked.seen), hostile.seen) == (1, []), link
            assert await groups_of(admin) == ["a"], link
            assert "at another address" in await steps(admin), link
    await browser.aclose()


async def test_its_pages_its_groups_and_its_time_are_bounded(
    live: Live, admin: Actor, provider: FakeProvider, asked: FakeGraph
) -> None:
    browser = await make(live, provider, sub="eva", groups=["a"])
    provider.person = {name: value for name, value in provider.person.items() if name != "groups"} | OVER
    for pages, why in (
        ([["x"]] * 30, f"more than {graph.MOST_PAGES} pages"),
        ([[f"g{n}" for n in range(600)]], "more than 500 groups"),
    ):
        asked.pages = pages
        assert (await sign_in(browser)).headers["location"] == "/"
        assert (await groups_of(admin), len(asked.seen) <= 2 * graph.MOST_PAGES) == (["a"], True)
        assert why in await steps(admin)
    asked.held = asyncio.Event()
    await live.app.state.oui.save_config({"oauth.timeout": "1"})
    assert (await sign_in(browser)).headers["location"] == "/"
    assert await groups_of(admin) == ["a"]
    assert "Microsoft Graph" in await steps(admin)
    await browser.aclose()
