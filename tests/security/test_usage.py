"""What calls cost is on record: each kind of call, also one that was stopped or failed, and longer than its user."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from open_webui.chat.side import TOKENS
from open_webui.services import activity
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live, used
from tests.support.upstream import Upstream

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}
CHAT = "/api/chat/completions"
COUNTED = (7, 20)


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


def tokens(row: Any) -> tuple[int | None, int | None]:
    return row.prompt_tokens, row.completion_tokens


async def test_a_page_that_asks_for_no_counts(live: Live, page: Page, admin: Actor) -> None:
    body = page.ask("fixed", "Hi", background_tasks={"title_generation": True})
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    found = {row.kind: row for row in await used(live, 2)}
    assert {kind: tokens(row) for kind, row in found.items()} == {"chat": COUNTED, "task": (7, TOKENS)}
    assert (found["chat"].chat_id, found["chat"].message_id) == (chat_id, body["id"])
    assert {row.user_id for row in found.values()} == {admin.id}


async def test_a_page_whose_answer_is_stopped_or_fails(live: Live, page: Page, upstream: Upstream) -> None:
    chat_id = (await page.post(page.ask("stall", "Hi")))["chat_id"]
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    await page.until(lambda p: any(e["data"]["type"] == "response:completion" for e in p.events))
    await page.http.post(f"/api/tasks/chat/{chat_id}/stop")
    for model in ("drop", "error500", "empty"):
        await page.idle((await page.post(page.ask(model, "Hi")))["chat_id"])
    found = [(row.model_id, row.kind, row.status) for row in await used(live, 4)]
    assert sorted(found) == [
        ("drop", "chat", 502), ("empty", "chat", 502), ("error500", "chat", 500), ("stall", "chat", 499),
    ]  # fmt: skip


async def test_api_clients(live: Live, admin: Actor, upstream: Upstream) -> None:
    post = admin.client.post
    streamed = await post(CHAT, json=ASK | {"model": "echo", "stream": True})
    assert b'"choices":[]' not in streamed.content
    await post(CHAT, json=ASK | {"model": "echo"})
    await post("/ollama/api/chat", json=ASK | {"model": "echo"})
    await post("/ollama/api/chat", json=ASK | {"model": "echo", "stream": False})
    await post("/ollama/api/generate", json={"model": "echo", "prompt": "hello there"})
    assert (await post(CHAT, json=ASK | {"model": "error429", "stream": True})).status_code == 429
    assert (await post(CHAT, json=ASK | {"model": "error500"})).status_code == 500
    assert b"cut off" in (await post(CHAT, json=ASK | {"model": "drop", "stream": True})).content
    found = await used(live, 8)
    assert {row.kind for row in found} == {"api"}
    assert [tokens(row) for row in found] == [COUNTED] * 5 + [(None, None)] * 3
    assert [row.status for row in found[5:]] == [429, 500, 502]


@pytest.mark.parametrize("path", [CHAT, "/ollama/api/chat"])
async def test_an_api_client_that_goes_away(live: Live, admin: Actor, upstream: Upstream, path: str) -> None:
    async with admin.client.stream("POST", path, json=ASK | {"model": "stall", "stream": True}) as reply:
        async for _ in reply.aiter_raw():
            break
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
    (row,) = await used(live, 1)
    assert (row.kind, row.status) == ("api", 499)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_api_client_that_goes_away_before_the_answer_begins(
    live: Live, admin: Actor, upstream: Upstream, stream: bool
) -> None:
    await admin.client.get("/api/models")
    upstream.silent = True
    asked = asyncio.create_task(admin.client.post(CHAT, json=ASK | {"model": "echo", "stream": stream}))
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
    (row,) = await used(live, 1)
    assert (row.kind, row.status) == ("api", 499)


async def test_embeddings(live: Live, admin: Actor) -> None:
    post = admin.client.post
    for path in ("/api/embeddings", "/openai/embeddings", "/api/v1/embeddings"):
        assert (await post(path, json={"model": "echo", "input": "a"})).status_code == 200
    assert (await post("/api/embeddings", json={"model": "unknown", "input": "a"})).status_code == 400
    found = await used(live, 3)
    assert [(row.kind, row.status, *tokens(row)) for row in found] == [("embedding", 200, 1, None)] * 3


async def test_ollamas_servers(live: Live, admin: Actor, upstream: Upstream) -> None:
    """Embeddings are counted under the model's name; operations cost nothing and are no calls of a model."""
    post = admin.client.post
    servers = {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": [upstream.url], "OLLAMA_API_CONFIGS": {}}
    await live.app.state.oui.save_config({"openai.enable": False})
    await post("/ollama/config/update", json=servers)
    await admin.client.get("/api/models?refresh=true")
    for path in ("embed", "embed/0", "embeddings"):
        assert (await post(f"/ollama/api/{path}", json={"model": "echo", "input": "x", "prompt": "x"})).is_success
    assert (await post("/ollama/v1/embeddings", json={"model": "echo", "input": "x"})).is_success
    assert (await post("/ollama/api/show", json={"model": "echo"})).is_success
    assert (await post("/api/models/unload", json={"model": "echo:latest"})).is_success
    assert (await admin.client.get("/ollama/api/version")).is_success
    found = await used(live, 4)
    assert [(row.kind, row.model_id, row.connection, row.status) for row in found] == [
        ("embedding", "echo:latest", "ollama:0", 200)
    ] * 4
    assert [row.prompt_tokens for row in found] == [1, 1, None, 1]


async def test_a_caller_who_may_not_use_a_model_costs_nothing(live: Live, admin: Actor, user: Actor) -> None:
    for path in (CHAT, "/api/embeddings", "/ollama/api/chat", "/ollama/api/embed", "/ollama/api/show"):
        reply = await user.client.post(path, json=ASK | {"model": "echo", "input": "a"})
        assert reply.status_code in {400, 404, 503}, reply.text
    await admin.client.post("/api/embeddings", json={"model": "echo", "input": "a"})
    (row,) = await used(live, 1)
    assert row.user_id == admin.id


async def test_what_was_used_outlives_its_user(live: Live, admin: Actor, user: Actor) -> None:
    state = live.app.state.oui
    await admin.client.post(
        "/api/v1/models/create",
        json={"id": "echo", "base_model_id": None, "name": "echo", "meta": {}, "params": {},
              "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]},
    )  # fmt: skip
    await user.client.post(CHAT, json=ASK | {"model": "echo"})
    await used(live, 1)
    # Somebody whose account goes while his answer is written is counted, too.
    streamed = asyncio.create_task(user.client.post(CHAT, json=ASK | {"model": "echo", "stream": True}))
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    await asyncio.gather(streamed, return_exceptions=True)
    first, *_ = await used(live, 2)
    assert (first.user_id, tokens(first)) == (user.id, COUNTED)
    report = await activity.report(state.database, user.id, activity.period(7, None, None))
    assert report["totals"]["output_tokens"] >= 20
