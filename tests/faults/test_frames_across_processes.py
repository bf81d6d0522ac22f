"""Three server processes on one PostgreSQL: sockets at one, questions at another, pages that come in the middle."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable

import httpx
import pytest

from tests.faults.conftest import at_page, models_are_there
from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.redis import Redis
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
WORDS = 150


def client(server: Server, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30, trust_env=False)


async def answered(page: Page, answer_id: str) -> None:
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", answer_id)), timeout=60)


async def ask_and_look_in(token: str, socket_at: Server, asked_at: Server, late_at: Server) -> None:
    """One turn with its tab, and a page that is opened while it runs. Both have each word once, in its place."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(client(socket_at, token))
        asking = await stack.enter_async_context(client(asked_at, token))
        late_http = await stack.enter_async_context(client(late_at, token))
        page = await stack.enter_async_context(open_page(http, token))
        body = page.ask("slow", "Go on", params={"max_tokens": WORDS})
        reply = await asking.post("/api/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        chat_id = reply.json()["chat_id"]
        # Else each of them would hear all the answers, which are more than clients in Python read on a busy machine.
        join = {"chat_id": chat_id, "data": {"type": "join"}}
        assert await page.socket.call("events:chat", join, timeout=30) is True
        await page.until(lambda p: len(rebuilt([], p.of(body["id"])).split()) > WORDS // 4, timeout=60)

        late = await stack.enter_async_context(open_page(late_http, token))
        assert await late.socket.call("events:chat", join, timeout=30) is True
        fetched = (await late_http.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"][body["id"]]
        await answered(page, body["id"])
        text = fixed_text(WORDS)
        assert rebuilt([], page.of(body["id"])) == text
        if not fetched["done"]:
            await answered(late, body["id"])
            version = fetched["meta"]["sequence_number"]
            assert rebuilt(fetched["output"], late.of(body["id"]), after=version) == text
        numbers = [d["sequence_number"] for d in page.data("response:completion", body["id"]) if "sequence_number" in d]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("carrier", ["postgresql", "redis"])
@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_every_word_comes_once_wherever_socket_and_question_are(
    make_server: Callable[..., Server], database_url: str, upstream: Upstream, redis_server: Redis, carrier: str
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "OPENAI_API_BASE_URLS": upstream.openai_url,
        "OPENAI_API_KEYS": "sk-upstream",
    } | ({"REDIS_URL": redis_server.url} if carrier == "redis" else {})
    servers = [make_server(**environment).start() for _ in range(3)]
    async with at_page(servers[0], new=True) as page:
        for server in servers:
            async with client(server, page.token) as http:
                await models_are_there(Page(http, page.token))
    places = itertools.product(servers, repeat=3)
    await asyncio.gather(*(ask_and_look_in(page.token, *place) for place in itertools.islice(places, 0, None, 4)))
