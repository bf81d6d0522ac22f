"""The admin's pages about connections and settings, and Ollama's API for its clients."""

from typing import Any

import pytest

from open_webui.connections.specs import build
from tests.support.live import Actor, Live
from tests.support.process import free_port
from tests.support.upstream import Upstream


@pytest.fixture
def connections() -> None:
    """Nothing is fixed by the environment here: the pages write."""


def openai(*urls: str, **changes: Any) -> dict[str, Any]:
    form = {"ENABLE_OPENAI_API": True, "OPENAI_API_BASE_URLS": list(urls), "OPENAI_API_KEYS": ["sk-1"] * len(urls)}
    return form | {"OPENAI_API_CONFIGS": {}} | changes


def ollama(*urls: str, **changes: Any) -> dict[str, Any]:
    return {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": list(urls), "OLLAMA_API_CONFIGS": {}} | changes


async def test_connecting_openai(admin: Actor, upstream: Upstream) -> None:
    upstream.api_key = "sk-1"
    post = admin.client.post
    reply = await post("/openai/verify", json={"url": upstream.openai_url + "/", "key": "sk-1", "config": {}})
    assert reply.json()["object"] == "list"
    reply = await post("/openai/verify", json={"url": upstream.openai_url, "key": "wrong"})
    assert (reply.status_code, "invalid api key" in reply.json()["detail"]) == (400, True)
    reply = await post("/openai/verify", json={"url": f"http://127.0.0.1:{free_port()}/v1", "key": ""})
    assert (reply.status_code, "can't be reached" in reply.json()["detail"]) == (502, True)
    saved = await post("/openai/config/update", json=openai(upstream.openai_url + "/"))
    assert saved.json() == openai(upstream.openai_url)
    assert (await admin.client.get("/openai/config")).json() == saved.json()
    listed = (await admin.client.get("/api/models?refresh=true")).json()["data"]
    assert "echo" in [m["id"] for m in listed]
    assert "echo" in [m["id"] for m in (await admin.client.get("/openai/models/0")).json()["data"]]
    assert "echo" in [m["id"] for m in (await admin.client.get("/openai/models")).json()["data"]]
    assert (await admin.client.get("/openai/models/7")).status_code == 404
    reply = await post("/api/embeddings", json={"model": "echo", "input": ["a"]})
    assert len(reply.json()["data"][0]["embedding"]) == 384
    assert (await post("/api/models/unload", json={"model": "echo"})).status_code == 400
    assert (await post("/openai/models/0/load", json={"model": "echo"})).status_code == 400
    upstream.api_key = "changed"
    assert (await admin.client.get("/openai/models/0")).status_code == 400
    reply = await post("/openai/config/update", json=openai(upstream.openai_url, ENABLE_OPENAI_API=False))
    assert [m["id"] for m in (await admin.client.get("/api/models")).json()["data"]] == ["eliza"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"OPENAI_API_BASE_URLS": ["file:///etc/passwd"]}, 400), ({"OPENAI_API_BASE_URLS": ["nonsense"]}, 400),
     ({"OPENAI_API_BASE_URLS": ["http://a b/"]}, 400), ({"OPENAI_API_BASE_URLS": ["http://x:99999"]}, 400),
     ({"OPENAI_API_KEYS": ["a\r\nb"]}, 400), ({"OPENAI_API_BASE_URLS": "x"}, 422), ({"OPENAI_API_CONFIGS": []}, 422),
     ({"OPENAI_API_BASE_URLS": ["http://x"] * 101}, 422), ({"OPENAI_API_KEYS": None}, 422),
     ({"OPENAI_API_CONFIGS": {"0": {"x": "y" * 300_000}}}, 422)],
)  # fmt: skip
async def test_connections_that_can_not_be(admin: Actor, changes: dict[str, Any], status: int) -> None:
    before = (await admin.client.get("/openai/config")).json()
    reply = await admin.client.post("/openai/config/update", json=openai("http://127.0.0.1:9/v1") | changes)
    assert reply.status_code == status, reply.text
    assert (await admin.client.get("/openai/config")).json() == before


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"auth_type": "session"}, "session is never sent"),
        ({"forward_cookies": True}, "cookies are never sent"), ({"api_type": "responses"}, "Responses API"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_is_not_done_for_a_connection_is_refused_by_name(
    admin: Actor, upstream: Upstream, entry: dict[str, Any], said: str
) -> None:
    before = (await admin.client.get("/openai/config")).json()
    url = upstream.openai_url
    given = openai(url, OPENAI_API_CONFIGS={"0": {"auth_type": "bearer", "forward_cookies": False} | entry})
    reply = await admin.client.post("/openai/config/update", json=given)
    assert (reply.status_code, said in reply.json()["detail"]) == (400, True)
    reply = await admin.client.post("/openai/verify", json={"url": url, "key": "canary", "config": entry})
    assert (reply.status_code, said in reply.json()["detail"]) == (400, True)
    assert (await admin.client.get("/openai/config")).json() == before
    # One that another server had set comes along with an import, and sends nobody's key.
    assert "canary" not in str(build("openai", 0, url, "canary", {"auth_type": "session"}).headers_for(None))


async def test_odd_settings_of_a_connection_do_no_harm(admin: Actor, upstream: Upstream) -> None:
    odd: dict[str, Any] = {"0": {"prefix_id": 5, "tags": "x", "model_ids": {}, "headers": [], "enable": None}, "9": 5}
    reply = await admin.client.post("/openai/config/update", json=openai(upstream.openai_url, OPENAI_API_CONFIGS=odd))
    assert reply.json()["OPENAI_API_CONFIGS"] == odd
    assert "echo" in [m["id"] for m in (await admin.client.get("/api/models?refresh=true")).json()["data"]]


async def test_what_the_environment_fixes_stays(
    monkeypatch: pytest.MonkeyPatch, make_live: Any, upstream: Upstream
) -> None:
    from tests.support import live as people

    monkeypatch.setenv("OPENAI_API_BASE_URLS", upstream.openai_url)
    live = await make_live()
    admin = await people.sign_up(live, "Admin One")
    async with admin.client:
        reply = await admin.client.post("/openai/config/update", json=openai("http://127.0.0.1:9/v1"))
        assert reply.status_code == 400
        assert "openai.api_base_urls (by OPENAI_API_BASE_URLS)" in reply.json()["detail"]
        assert (await admin.client.get("/openai/config")).json()["OPENAI_API_BASE_URLS"] == [upstream.openai_url]


async def test_ollama_for_its_clients(admin: Actor, user: Actor, upstream: Upstream) -> None:
    get, post = admin.client.get, admin.client.post
    assert (await get("/ollama/")).json() == {"status": True}
    saved = await post("/ollama/config/update", json=ollama(upstream.url))
    assert saved.json() == ollama(upstream.url)
    assert (await post("/ollama/verify", json={"url": upstream.url})).json() == {"version": "0.99.0"}
    await get("/api/models?refresh=true")
    assert "echo:latest" in [m["model"] for m in (await get("/ollama/api/tags")).json()["models"]]
    assert (await get("/ollama/api/tags/5")).json() == {"models": []}
    assert "echo:latest" in [m["id"] for m in (await get("/ollama/v1/models")).json()["data"]]
    assert (await get("/ollama/api/version")).json() == {"version": "0.99.0"}
    assert (await get("/ollama/api/version/0")).json() == {"version": "0.99.0"}
    assert (await get("/ollama/api/version/5")).status_code == 404
    for name in ("echo", "echo:latest"):
        assert (await post("/ollama/api/show", json={"model": name})).json()["details"] == {"family": "llama"}
    reply = await post("/ollama/api/embed", json={"model": "echo", "input": "x"})
    assert len(reply.json()["embeddings"][0]) == 384
    reply = await post("/ollama/api/embed/0", json={"model": "echo", "input": "x"})
    assert reply.status_code == 200
    assert (await post("/ollama/v1/embeddings", json={"model": "echo", "input": "x"})).status_code == 200
    assert (await post("/api/models/unload", json={"model": "echo:latest"})).json() == {"status": True}
    assert upstream.received[-1].body == {"model": "echo:latest", "keep_alive": 0}
    # Somebody without a grant sees and reaches none of it.
    assert (await user.client.get("/ollama/api/tags")).json() == {"models": []}
    for path in ("show", "embed", "embed/0", "embeddings", "embeddings/0"):
        reply = await user.client.post(f"/ollama/api/{path}", json={"model": "echo", "input": "x", "prompt": "x"})
        assert (reply.status_code, reply.json()["detail"]) == (400, "Model not found"), path
    for method, path in (
        ("POST", "pull"),
        ("POST", "create"),
        ("DELETE", "delete"),
        ("DELETE", "push"),
        ("POST", "copy"),
    ):
        reply = await user.client.request(method, f"/ollama/api/{path}", json={"model": "m"})
        assert reply.status_code == 401


async def test_ollama_switched_off_or_gone(admin: Actor) -> None:
    get, post = admin.client.get, admin.client.post
    await post("/ollama/config/update", json=ollama(f"http://127.0.0.1:{free_port()}"))
    assert (await get("/ollama/api/tags")).json() == {"models": []}
    assert (await get("/ollama/api/ps")).json() == {"models": []}
    for path in ("/ollama/api/version", "/ollama/api/version/0"):
        reply = await get(path)
        assert (reply.status_code, "reached" in reply.json()["detail"]) == (502, True)
    assert (await post("/ollama/api/show", json={"model": "m"})).status_code == 400
    assert (await post("/ollama/verify", json={"url": f"http://127.0.0.1:{free_port()}"})).status_code == 502
    assert (await post("/ollama/api/pull", json={"model": "m"})).status_code == 502
    await post("/ollama/config/update", json=ollama(ENABLE_OLLAMA_API=False))
    assert (await get("/ollama/api/version")).json() == {"version": False}
    assert (await get("/ollama/api/tags")).status_code == 503


async def test_settings_pages(admin: Actor, user: Actor) -> None:
    get, post = admin.client.get, admin.client.post
    banner = {"id": "b1", "type": "info", "title": "t", "content": "hello", "dismissible": True, "timestamp": 1}
    assert (await post("/api/v1/configs/banners", json={"banners": [banner]})).json() == [banner | {"i18n": None}]
    assert (await user.client.get("/api/v1/configs/banners")).json()[0]["content"] == "hello"
    suggestions = {"suggestions": [{"title": ["a", "b"], "content": "c"}]}
    assert (await post("/api/v1/configs/suggestions", json=suggestions)).json() == suggestions | {"i18n": {}}
    exported = (await get("/api/v1/configs/export")).json()
    assert exported["ui.banners"][0]["id"] == "b1"
    reply = await post("/api/v1/configs/import", json={"config": {"ui": {"default_models": "echo"}, "x": {"y": 1}}})
    assert (reply.json()["ui.default_models"], "x.y" in reply.json()) == ("echo", False)
    reply = await post("/api/v1/configs/import", json={"config": {"ui.enable_signup": "perhaps"}})
    assert reply.status_code == 400
    assert (await get("/api/v1/configs/namespace/task")).json()["task.title.enable"] is True
    for path in ("connections", "code_execution", "subagents", "tool_servers", "terminal_servers", "models"):
        shown = (await get(f"/api/v1/configs/{path}")).json()
        assert (await post(f"/api/v1/configs/{path}", json=shown)).json() == shown, path
    shown = {"visibility": {"a": True, "b": False}}
    assert (await post("/api/v1/configs/interface/visibility", json=shown)).json() == shown
    assert (await post("/api/v1/configs/interface/visibility", json={"visibility": {"a": [1]}})).status_code == 422


async def test_the_page_about_tasks(admin: Actor, user: Actor) -> None:
    shown = (await admin.client.get("/api/v1/tasks/config")).json()
    assert len(shown) == 19
    form = shown | {"TITLE_GENERATION_PROMPT_TEMPLATE": "secret prompt", "ENABLE_TAGS_GENERATION": False}
    form["TASK_MODEL_PARAMS"] = {"key": "secret"}
    assert (await admin.client.post("/api/v1/tasks/config/update", json=form)).json() == form
    seen = await user.client.get("/api/v1/tasks/config")
    assert seen.json()["ENABLE_TAGS_GENERATION"] is False
    assert "secret" not in seen.text
    assert (await admin.client.post("/api/v1/tasks/config/update", json={})).status_code == 422
    cleared = form | {"TASK_MODEL": None, "TASK_MODEL_PARAMS": None}
    reply = (await admin.client.post("/api/v1/tasks/config/update", json=cleared)).json()
    assert (reply["TASK_MODEL"], reply["TASK_MODEL_PARAMS"]) == ("", {"key": "secret"})


async def test_arbitrary_calls_are_not_passed_on(user: Actor, live: Live, upstream: Upstream) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        reply = await user.client.request(method, "/openai/files/secret")
        assert (reply.status_code, type(reply.json()["detail"])) == (403, str)
    assert upstream.received == []
