"""Two servers on one PostgreSQL database, one of which is killed while it answers: the other shows, ends and goes on."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import at_page, models_are_there, on_record
from tests.open_webui.chat.page import Page, rebuilt
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.turns import watched_stalls
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True),
]
# From the death of a process until another has marked its answers.
MARKED_SECONDS = 15


@pytest.fixture
async def servers(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> list[Server]:
    made = [
        make_server(DATABASE_URL=database_url, OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream")
        for _ in range(2)
    ]
    for server in made:
        await asyncio.to_thread(server.start)
    return made


async def asked(page: Page, upstream: Upstream, words: int, **fields: Any) -> tuple[str, str]:
    """An answer that waits behind so many words: the ids of chat and answer."""
    body = page.ask("gated", "Hold on", **fields)
    chat_id = (await page.post(body))["chat_id"]
    upstream.release(words)
    await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(words))
    return chat_id, body["id"]


async def test_an_answer_of_a_killed_process_is_marked_by_another(
    servers: list[Server], upstream: Upstream, database_url: str
) -> None:
    first, second = servers
    async with at_page(first, new=True) as here, at_page(second) as there:
        await models_are_there(here, "gated")
        chat_id, answer = await asked(here, upstream, 5)
        assert (await there.http.get(f"/api/tasks/chat/{chat_id}")).json()["task_ids"] != []
        await on_record(database_url, fixed_text(5).split()[-1])
        first.kill()
        killed = time.monotonic()
        # Asked while the process that is gone is still taken for alive: what was stored of it is shown.
        assert (await there.message(chat_id, answer))["content"] == fixed_text(5)
        event = {"type": "status", "data": {"description": "posted meanwhile"}}
        posting = asyncio.create_task(there.http.post(f"/api/v1/chats/{chat_id}/messages/{answer}/event", json=event))
        async with watched_stalls() as stalls:
            await there.until(lambda p: p.data("chat:message:error", answer) != [], timeout=60)
            assert time.monotonic() - killed - stalls.seconds < MARKED_SECONDS
        assert (await posting).status_code == 200, "it waited for the mark"
        kept = await there.message(chat_id, answer)
        assert (kept["content"], kept["done"], kept["meta"]["interrupted"]) == (fixed_text(5), True, True)
        assert kept["statusHistory"] == [event["data"]]
        assert (await there.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
        again = there.ask("fixed", "Go on", chat_id=chat_id, parent_id=answer)
        await there.post(again)
        await there.until(lambda p: any(d.get("done") for d in p.data("chat:completion", again["id"])))
        assert (await there.message(chat_id, again["id"]))["content"] == fixed_text()


async def test_a_reload_at_another_process_misses_nothing_and_doubles_nothing(
    servers: list[Server], upstream: Upstream
) -> None:
    first, second = servers
    async with at_page(first, new=True) as here:
        await models_are_there(here, "gated")
        chat_id, answer = await asked(here, upstream, 2)
        # It goes on while tabs are opened: each joins, fetches, and takes the frames above the number that it fetched.
        for words in (0, 1, 3, 5):
            async with at_page(second) as tab:
                upstream.release(words)
                assert await tab.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}, timeout=30)
                kept = await tab.message(chat_id, answer)
                assert kept["done"] is False
                upstream.release(1)
                said = len(rebuilt([], here.of(answer)).split())
                await here.until(lambda p, n=said: len(rebuilt([], p.of(answer)).split()) > n)
                whole = rebuilt([], here.of(answer))
                number = kept["meta"]["sequence_number"]
                await tab.until(
                    lambda p, n=number, o=kept["output"], w=whole: rebuilt(o, p.of(answer), n).startswith(w)
                )
                assert fixed_text().startswith(rebuilt(kept["output"], tab.of(answer), number))
        async with at_page(second) as tab:
            assert await tab.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}, timeout=30)
            kept = await tab.message(chat_id, answer)
            upstream.release(20)
            await tab.until(lambda p: any(d.get("done") for d in p.data("chat:completion", answer)))
            assert rebuilt(kept["output"], tab.of(answer), kept["meta"]["sequence_number"]) == fixed_text()
            assert (await tab.message(chat_id, answer))["content"] == fixed_text()
