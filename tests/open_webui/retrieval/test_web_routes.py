"""Pages and searches of the web over the API: what is told, kept, and refused."""

from typing import Any

import pytest
from aiohttp import web

from open_webui.models import documents
from tests.support.live import Actor, Live
from tests.support.service import Asked, Service

PROCESS = "/api/v1/retrieval/process"


async def kept(live: Live, user_id: str, collection: str) -> list[documents.Document]:
    async with live.app.state.oui.database.read() as connection:
        return await documents.of_collection(connection, user_id, collection)


@pytest.mark.parametrize("path", ["url", "web", "youtube"])
async def test_an_address_of_this_machine(live: Live, admin: Actor, service: Service, path: str) -> None:
    """As it is recorded of the real server; nothing is asked there."""
    url = f"{service.url}/page"
    for query in ("", "?process=false"):
        reply = await admin.client.post(f"{PROCESS}/{path}{query}", json={"url": url})
        assert (reply.status_code, reply.json()) == (400, {"detail": f"[ERROR: Could not read content from {url}]"})
    assert service.asked == []


@pytest.mark.parametrize("body", [{}, {"url": ""}, {"url": 7}, {"url": "x", "user_id": "y"}])
async def test_bad_bodies(live: Live, user: Actor, body: dict[str, Any]) -> None:
    assert (await user.client.post(f"{PROCESS}/web", json=body)).status_code == 422
    assert (await user.client.post(f"{PROCESS}/web/search", json=body)).status_code == 422


async def test_a_search_that_is_off(live: Live, admin: Actor) -> None:
    assert (await admin.client.post(f"{PROCESS}/web/search", json={"queries": ["x"]})).status_code == 403


@pytest.fixture
async def local_pages(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of this machine may be read."""
    allowed = live.app.state.oui.settings.model_copy(update={"enable_rag_local_web_fetch": True})
    monkeypatch.setattr(live.app.state.oui, "settings", allowed)


def pages_of(asked: Asked) -> web.Response:
    if asked.path == "/gone":
        return web.Response(status=404)
    text = (
        f"<html><head><title>Page {asked.path}</title></head><body><p>Kangaroos box at {asked.path}.</p></body></html>"
    )
    return web.Response(text=text, content_type="text/html")


@pytest.mark.usefixtures("local_pages")
async def test_a_page_is_read_and_kept(live: Live, user: Actor, other: Actor, service: Service) -> None:
    service.answer = pages_of
    url = f"{service.url}/a"
    said = (await user.client.post(f"{PROCESS}/url?process=false", json={"url": url})).json()
    assert (said["status"], said["type"], said["name"], said["url"]) == (True, "web", "Page /a", url)
    assert said["collection_name"] is None
    assert "Kangaroos box at /a." in said["content"]

    said = (await user.client.post(f"{PROCESS}/url", json={"url": url})).json()
    collection = said["collection_name"]
    for _ in range(2):
        assert (await user.client.post(f"{PROCESS}/web", json={"url": url})).json()["collection_name"] == collection
    (document,) = await kept(live, user.id, collection)
    assert (document.url, document.name) == (url, "Page /a")
    assert document.expires_at is not None
    assert await kept(live, other.id, collection) == []


@pytest.mark.usefixtures("local_pages")
async def test_a_search_is_read_and_kept(
    live: Live, user: Actor, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> web.Response:
        if asked.path != "/searx":
            return pages_of(asked)
        if asked.query["q"] == "broken":
            return web.Response(status=400, text="no")
        found = [{"url": f"{service.url}/{name}", "title": name, "content": f"about {name}"} for name in ("a", "gone")]
        return web.json_response({"results": found})

    service.answer = answer
    settings: dict[str, object] = {
        "web.search.enable": True,
        "web.search.engine": "searxng",
        "web.search.searxng_query_url": f"{service.url}/searx",
    }
    await live.app.state.oui.save_config(settings)
    said = (await user.client.post(f"{PROCESS}/web/search", json={"queries": ["one", "broken", "one", " "]})).json()
    assert said["filenames"] == [f"{service.url}/a"]
    assert [item["title"] for item in said["items"]] == ["a", "gone"]
    assert said["loaded_count"] == 1
    (collection,) = said["collection_names"]
    assert collection.startswith("web-search-")
    (document,) = await kept(live, user.id, collection)
    assert document.url == f"{service.url}/a"

    await live.app.state.oui.save_config({"web.search.bypass_web_loader": True})
    said = (await user.client.post(f"{PROCESS}/web/search", json={"queries": ["snippets"]})).json()
    assert said["loaded_count"] == 2
    await live.app.state.oui.save_config({"web.search.bypass_embedding_and_retrieval": True})
    said = (await user.client.post(f"{PROCESS}/web/search", json={"queries": ["one"]})).json()
    assert said["collection_names"] == []
    assert [doc["content"] for doc in said["docs"]] == ["about a", "about gone"]

    failed = await user.client.post(f"{PROCESS}/web/search", json={"queries": ["broken"]})
    assert failed.status_code == 400
    assert "answered with an error (400)" in failed.json()["detail"]
    assert (await user.client.post(f"{PROCESS}/web/search", json={"queries": []})).status_code == 400
