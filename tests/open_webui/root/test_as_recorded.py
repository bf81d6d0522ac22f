"""Details in which replies are as they were recorded of Open WebUI: what is there, and with which status it is refused."""

from typing import Any

import httpx
import pytest

from tests.support.live import Actor
from tests.support.upstream import Upstream

CHATS = "/api/v1/chats"
FOLDERS = "/api/v1/folders/"
SAY = [{"role": "user", "content": "hi"}]


async def ok(reply: Any) -> Any:
    answered: httpx.Response = await reply
    assert answered.status_code == 200, answered.text
    return answered.json()


async def new_chat(actor: Actor) -> str:
    history = {
        "currentId": "u1",
        "messages": {"u1": {"id": "u1", "parentId": None, "childrenIds": [], "role": "user", "content": "q"}},
    }
    made = await ok(
        actor.client.post(f"{CHATS}/new", json={"chat": {"title": "T", "models": ["m"], "history": history}})
    )
    return str(made["id"])


@pytest.mark.parametrize(
    "path", ["/api/chat/completions", "/openai/chat/completions", "/ollama/api/chat", "/api/chat/completed"]
)
async def test_a_request_without_a_body(admin: Actor, path: str) -> None:
    reply = await admin.client.post(path)
    assert reply.status_code == 422
    assert reply.json()["detail"][0] | {"msg": ""} == {"type": "missing", "loc": ["body"], "msg": "", "input": None}
    # What is no JSON, or no object, is another mistake.
    for body in (b"{", b"[]", b"nonsense"):
        assert (await admin.client.post(path, content=body)).status_code == 400


async def test_an_unknown_model_is_not_found_where_openais_clients_ask(admin: Actor, user: Actor) -> None:
    body = {"model": "nope", "messages": SAY}
    for actor in (admin, user):
        reply = await actor.client.post("/openai/chat/completions", json=body)
        assert (reply.status_code, reply.json()["detail"]) == (404, "Model not found")
        assert reply.json()["error"]["message"] == "Model not found"
        assert (await actor.client.post("/api/chat/completions", json=body)).status_code == 400
    # What is wrong with the request itself stays that.
    assert (await admin.client.post("/openai/chat/completions", json={"messages": SAY})).status_code == 400


async def test_an_answer_that_is_told_to_be_over_is_named(admin: Actor) -> None:
    body = {"model": "m", "messages": SAY, "id": "a1"}
    assert await ok(admin.client.post("/api/chat/completed", json=body)) == body
    for bad in ({}, {"id": ""}, {"id": None}):
        assert (await admin.client.post("/api/chat/completed", json=bad)).status_code == 400


async def test_a_chat_that_has_had_tags_shows_that_it_has_none(user: Actor) -> None:
    chat = await new_chat(user)
    assert "tags" not in (await ok(user.client.get(f"{CHATS}/{chat}")))["meta"]
    await ok(user.client.post(f"{CHATS}/{chat}/tags", json={"name": "Blue"}))
    assert (await ok(user.client.get(f"{CHATS}/{chat}")))["meta"]["tags"] == ["blue"]
    await ok(user.client.request("DELETE", f"{CHATS}/{chat}/tags", json={"name": "Blue"}))
    assert (await ok(user.client.get(f"{CHATS}/{chat}")))["meta"]["tags"] == []
    for copied in (
        user.client.post(f"{CHATS}/{chat}/clone", json={}),
        user.client.post(f"{CHATS}/{chat}/fork", json={"message_id": "u1"}),
    ):
        assert (await ok(copied))["meta"]["tags"] == []


async def test_folders_that_are_shared_show_what_is_set_of_them_but_their_prompt(admin: Actor, user: Actor) -> None:
    made = await ok(admin.client.post(FOLDERS, json={"name": "F", "data": {"system_prompt": "canary", "files": []}}))
    for permission, prompts in (("read", 0), ("write", 1)):
        grant = {"principal_type": "user", "principal_id": user.id, "permission": permission}
        await ok(admin.client.post(f"{FOLDERS}{made['id']}/access/update", json={"access_grants": [grant]}))
        reply = await user.client.get(f"{FOLDERS}shared")
        [shown] = reply.json()
        assert (shown["permission"], shown["items"], shown["data"]["files"]) == (permission, None, [])
        assert reply.text.count("canary") == prompts


async def test_the_manifest_takes_what_is_shared_with_it(client: httpx.AsyncClient) -> None:
    manifest = await ok(client.get("/manifest.json"))
    assert manifest["share_target"] == {"action": "/", "method": "GET", "params": {"text": "shared"}}


async def test_ollama_says_where_a_model_is_and_that_a_change_is_done(
    admin: Actor, user: Actor, upstream: Upstream
) -> None:
    form = {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": [upstream.url], "OLLAMA_API_CONFIGS": {}}
    await ok(admin.client.post("/ollama/config/update", json=form))
    models = (await ok(admin.client.get("/api/models?refresh=true")))["data"]
    assert next(m for m in models if m["id"] == "echo:latest")["ollama"]["urls"] == [0]
    for place in ("", "/0"):
        copied = {"source": "echo:latest", "destination": "echo2"}
        assert await ok(admin.client.post(f"/ollama/api/copy{place}", json=copied)) is True
        assert upstream.received[-1].body == copied
        assert await ok(admin.client.request("DELETE", f"/ollama/api/delete{place}", json={"model": "echo2"})) is True
        assert (upstream.received[-1].path, upstream.received[-1].body) == ("/api/delete", {"model": "echo2"})
    assert (await admin.client.post("/ollama/api/copy/5", json=copied)).status_code == 404
    assert (await admin.client.post("/ollama/api/copy", json={"source": "x"})).status_code == 422
    assert (await user.client.post("/ollama/api/copy", json=copied)).status_code == 401
