"""A question whose answer rests on a search of the web: what the page is told, and what is refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.open_webui.chat.page import open_page
from tests.support.live import Actor, Live
from tests.support.service import Asked, Service
from tests.support.upstream import Upstream


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True, enable_rag_local_web_fetch=True)


def web_of(service: Service) -> Callable[[Asked], web.Response]:
    def answer(asked: Asked) -> web.Response:
        if asked.path == "/searx":
            hits = [{"url": f"{service.url}/{n}", "title": f"Page {n}", "content": "x"} for n in (1, 2)]
            return web.json_response({"results": hits})
        text = f"<html><head><title>Page {asked.path}</title></head><body><p>Kangaroos box at {asked.path}.</p></body></html>"
        return web.Response(text=text, content_type="text/html")

    return answer


async def switch_on(live: Live, service: Service, **more: Any) -> None:
    settings = {
        "web.search.enable": True,
        "web.search.engine": "searxng",
        "web.search.searxng_query_url": f"{service.url}/searx",
    }
    await live.app.state.oui.save_config(settings | more)


async def answered(user: Actor, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The statuses that the page saw, and the stored answer."""
    async with open_page(user.client, user.token) as page:
        body = page.ask("fixed", "Where do kangaroos box?", features={"web_search": True}, **fields)
        reply = await page.post(body)
        await page.idle(reply["chat_id"])
        return page.data("status"), await page.message(reply["chat_id"], body["id"])


async def test_the_web_is_searched_read_and_cited(
    live: Live, user: Actor, service: Service, upstream: Upstream
) -> None:
    service.answer = web_of(service)
    await switch_on(live, service)
    upstream.answer_when("search queries", '{"queries": ["kangaroo boxing"]}')
    statuses, kept = await answered(user)
    assert [s["action"] for s in statuses] == [
        "web_search", "web_search_queries_generated", "web_search", "queries_generated", "sources_retrieved",
    ]  # fmt: skip
    assert statuses[1]["queries"] == ["kangaroo boxing"]
    assert statuses[2]["urls"] == [f"{service.url}/1", f"{service.url}/2"]
    assert statuses[2]["items"][0]["title"] == "Page 1"
    (source,) = kept["sources"]
    assert source["source"]["type"] == "web_search"
    assert {meta["source"] for meta in source["metadata"]} == {f"{service.url}/1", f"{service.url}/2"}
    assert "Kangaroos box at /1." in upstream.chats[-1].body["messages"][-1]["content"]


async def test_whole_pages_where_they_are_not_to_be_indexed(
    live: Live, user: Actor, service: Service, upstream: Upstream
) -> None:
    service.answer = web_of(service)
    more = {"web.search.bypass_embedding_and_retrieval": True, "task.query.search.enable": False}
    await switch_on(live, service, **more)
    _, kept = await answered(user)
    assert {s["source"]["url"] for s in kept["sources"]} == {f"{service.url}/1", f"{service.url}/2"}
    assert "Kangaroos box at /2." in upstream.chats[-1].body["messages"][0]["content"]


async def test_an_engine_that_fails_is_told_and_the_answer_comes(live: Live, user: Actor, service: Service) -> None:
    service.answer = lambda _asked: web.Response(status=500)
    await switch_on(live, service, **{"task.query.search.enable": False})
    statuses, kept = await answered(user)
    assert statuses[-1]["description"].startswith("The web could not be searched: ")
    assert statuses[-1]["error"] is True
    assert kept["content"]
    assert "sources" not in kept


async def test_where_it_is_off_or_nobodys_right(live: Live, admin: Actor, user: Actor, service: Service) -> None:
    _, kept = await answered(user)
    assert kept["error"]["content"] == "The web is not searched on this server. An administrator can switch that on."
    await switch_on(live, service)
    assert (await user.client.get("/api/config")).json()["features"]["enable_web_search"] is True
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["web_search"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=permissions)
    _, kept = await answered(user)
    assert kept["error"]["content"] == "You may not search the web on this server."
    assert service.asked == []


API: dict[str, Any] = {
    "model": "fixed",
    "messages": [{"role": "user", "content": "Where do kangaroos box?"}],
    "features": {"web_search": True},
}


async def test_an_api_client_has_the_web_searched(
    live: Live, user: Actor, service: Service, upstream: Upstream
) -> None:
    service.answer = web_of(service)
    await switch_on(live, service)
    upstream.answer_when("search queries", '{"queries": ["kangaroo boxing"]}')
    reply = await user.client.post("/api/chat/completions", json=API)
    assert reply.status_code == 200, reply.text
    (source,) = reply.json()["sources"]
    assert {meta["source"] for meta in source["metadata"]} == {f"{service.url}/1", f"{service.url}/2"}
    sent = upstream.chats[-1].body
    assert "Kangaroos box at /1." in sent["messages"][-1]["content"]
    assert "features" not in sent
    off = await user.client.post("/api/chat/completions", json=API | {"features": {"web_search": False}})
    assert "sources" not in off.json()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"features": ["web_search"]}, "'features' should be an object."),
        ({"features": {"web_search": "yes"}}, "'features.web_search' should be true or false."),
        ({"features": {"image_generation": True}}, "'features.image_generation' is not done for API clients here."),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "The web can't be searched without a question"),
        ({"messages": [{"role": "user", "content": " "}]}, "The web can't be searched without a question"),
    ],
)
async def test_what_an_api_client_can_not_have_is_refused(
    live: Live, user: Actor, service: Service, upstream: Upstream, fields: dict[str, Any], said: str
) -> None:
    await switch_on(live, service)
    asked = len(upstream.chats)
    reply = await user.client.post("/api/chat/completions", json=API | fields)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(said)
    assert len(upstream.chats) == asked


async def test_an_api_client_without_the_right_or_the_web(
    live: Live, admin: Actor, user: Actor, service: Service, upstream: Upstream
) -> None:
    asked = len(upstream.chats)

    async def refused() -> tuple[int, str]:
        reply = await user.client.post("/api/chat/completions", json=API)
        return reply.status_code, reply.json()["detail"]

    assert await refused() == (403, "The web is not searched on this server. An administrator can switch that on.")
    service.answer = lambda _asked: web.Response(status=500)
    await switch_on(live, service, **{"task.query.search.enable": False})
    status, said = await refused()
    status, said = await refused()
    assert status == 502
    assert said.startswith("The web could not be searched: ")
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["web_search"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=permissions)
    before = len(service.asked)
    assert await refused() == (403, "You may not search the web on this server.")
    assert len(service.asked) == before
    assert len(upstream.chats) == asked
