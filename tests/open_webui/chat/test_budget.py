"""A budget as people meet it: a refusal in each API's own form, and an answer's title that is not worth its tokens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.open_webui.chat.page import ALL_TASKS, Page, open_page
from tests.support.live import Actor, Live
from tests.support.purse import USED_UP, Purse
from tests.support.upstream import Upstream

SAY = {"model": "echo", "messages": [{"role": "user", "content": "Tell me of foxes"}]}
OPENAI = {"message": USED_UP, "type": "invalid_request_error", "code": 429}


@pytest.fixture
def purse(live: Live) -> Purse:
    made = Purse()
    live.app.state.oui.gate.budget = made
    return made


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/api/chat/completions", SAY, OPENAI),
        ("/openai/chat/completions", SAY, OPENAI),
        ("/ollama/v1/chat/completions", SAY, OPENAI),
        ("/ollama/api/chat", SAY, USED_UP),
        ("/ollama/api/generate", {"model": "echo", "prompt": "Hi"}, USED_UP),
        ("/api/embeddings", {"model": "echo", "input": "Hi"}, OPENAI),
    ],
)
async def test_a_refusal_is_said_as_its_api_says_it(
    admin: Actor, purse: Purse, upstream: Upstream, path: str, body: dict[str, Any], error: Any, stream: bool
) -> None:
    purse.refuses = lambda _call: True
    asked = len(upstream.chats)
    reply = await admin.client.post(path, json=body | {"stream": stream})
    assert reply.status_code == 429, reply.text
    assert reply.headers["retry-after"] == "3600"
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"detail": USED_UP, "error": error}
    [(principal, call)] = purse.refused
    assert (principal.id, call.user_id, len(upstream.chats)) == (admin.id, admin.id, asked)


async def test_a_page_is_told_in_the_message(page: Page, purse: Purse, upstream: Upstream) -> None:
    purse.refuses = lambda _call: True
    body = page.ask("echo", "Tell me of foxes", background_tasks=ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    stored = await page.message(chat_id, body["id"])
    assert (stored["error"], stored["done"]) == ({"content": USED_UP}, True)
    assert page.data("chat:message:error", body["id"]) == [{"error": {"content": USED_UP}, "done": True}]
    assert upstream.chats == []
    # With tokens again, the chat goes on.
    purse.refuses = lambda _call: False
    page.events.clear()
    again = page.ask("echo", "Tell me of foxes", chat_id=chat_id, parent_id=body["id"])
    await page.post(again)
    await page.idle(chat_id)
    assert "error" not in await page.message(chat_id, again["id"])


async def test_a_title_that_is_refused_harms_nothing(page: Page, purse: Purse, upstream: Upstream) -> None:
    purse.refuses = lambda call: call.kind == "task"
    body = page.ask("echo", "Tell me of foxes", background_tasks=ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    chat = await page.stored(chat_id)
    stored = chat["chat"]["history"]["messages"][body["id"]]
    assert (stored["content"], stored["done"], "error" in stored) == ("Tell me of foxes", True, False)
    assert chat["title"] == "Tell me of foxes"
    assert len(purse.refused) == 3, "title, tags and follow-up questions, each once"
    assert len(upstream.chats) == 1
    [held] = purse.held
    assert (held.call.kind, held.call.chat_id, held.call.message_id) == ("chat", chat_id, body["id"])
    assert [end["completion_tokens"] for end in purse.ends()] == [20]


async def test_a_stream_that_its_client_cuts_is_settled(
    live: Live, admin: Actor, purse: Purse, upstream: Upstream
) -> None:
    async def cut(path: str) -> None:
        async with httpx.AsyncClient(base_url=live.url, headers={"Authorization": f"Bearer {admin.token}"}) as client:
            asking = client.build_request("POST", path, json=SAY | {"model": "stall", "stream": True})
            reply = await client.send(asking, stream=True)
            arriving = reply.aiter_bytes()
            await anext(arriving)
            await reply.aclose()

    await asyncio.gather(*(cut(path) for path in ("/api/chat/completions", "/ollama/api/chat") for _ in range(3)))
    await upstream.wait_for_async(lambda u: len(u.chats) == 6 and all(r.disconnected for r in u.chats))
    async with asyncio.timeout(30):
        while not all(held.ends for held in purse.held):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    assert purse.ends() == [None] * 6


async def test_an_answer_that_is_stopped_is_settled(page: Page, purse: Purse, upstream: Upstream) -> None:
    body = page.ask("stall", "Hello")
    chat_id = (await page.post(body))["chat_id"]
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    await page.http.post(f"/api/tasks/stop/{(await page.http.get(f'/api/tasks/chat/{chat_id}')).json()['task_ids'][0]}")
    await page.idle(chat_id)
    assert purse.ends() == [None]
