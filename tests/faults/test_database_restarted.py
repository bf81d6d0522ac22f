"""PostgreSQL is restarted, or throws everybody out, under load: 503 and Retry-After, no hang, and nothing is lost."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.faults.conftest import at_page, models_are_there
from tests.faults.test_database_gone import Own, own_postgres  # noqa: F401 - a fixture
from tests.open_webui.chat.page import Page
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
PAGES, CLIENTS, WORDS = 8, 4, 20


class Load:
    """People at a page who ask, and API clients, one after the other each. What was acknowledged is noted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.acknowledged: list[tuple[str, str, str, str]] = []
        self.statuses: Counter[int] = Counter()
        self.over = False
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    def note(self, reply: httpx.Response) -> bool:
        """Whether it was taken. Whatever else there is must be 503 and say when to come again."""
        self.statuses[reply.status_code] += 1
        self._changed.set()
        if reply.status_code == 200:
            return True
        assert (reply.status_code, "Retry-After" in reply.headers) == (503, True), (reply.status_code, reply.text)
        return False

    async def until(self, status: int, count: int) -> None:
        async with asyncio.timeout(40):
            while self.statuses[status] < count:
                self._changed.clear()
                await self._changed.wait()

    async def ask(self) -> None:
        while not self.over:
            text = f"Question {next(self._numbers)}"
            body = self.page.ask("slow", text, max_tokens=WORDS)
            reply = await self.page.http.post("/api/chat/completions", json=body)
            if self.note(reply):
                self.acknowledged.append((reply.json()["chat_id"], body["user_message"]["id"], body["id"], text))
            await asyncio.sleep(0.05)

    async def call(self) -> None:
        body = {"model": "slow", "stream": True, "max_tokens": WORDS, "messages": [{"role": "user", "content": "Hi"}]}
        while not self.over:
            async with self.page.http.stream("POST", "/api/chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    await reply.aread()
                elif self.note(reply):
                    lines = [line async for line in reply.aiter_lines() if line]
                    # An answer that runs asks the database nothing more.
                    assert lines[-1] == "data: [DONE]"
                    continue
            self.note(reply)
            await asyncio.sleep(0.05)


async def look(load: Load) -> None:
    """Lists, too, are answered at once: with what is stored, or 503."""
    while not load.over:
        load.note(await load.page.http.get("/api/v1/chats/?page=1"))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["fast", "immediate", "thrown out"])
async def test_under_load(
    own_postgres: Own,  # noqa: F811
    make_server: Callable[..., Server],
    upstream: Upstream,
    how: str,
) -> None:
    await own_postgres.server.execute("CREATE DATABASE oui")
    # What was committed outlives a crash of PostgreSQL.
    await own_postgres.server.execute("ALTER ROLE postgres SET synchronous_commit = on")
    server = make_server(
        DATABASE_URL=own_postgres.server.url("oui"), OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk"
    ).start()
    async with at_page(server, new=True) as page:
        await models_are_there(page, "slow")
        load = Load(page)
        async with asyncio.TaskGroup() as tasks:
            for work in (*[load.ask] * PAGES, *[load.call] * CLIENTS):
                tasks.create_task(work())
            tasks.create_task(look(load))
            await load.until(200, 40)
            if how == "thrown out":
                for _ in range(5):
                    await own_postgres.server.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'oui'"
                    )
                    await load.until(200, load.statuses[200] + 10)
            else:
                own_postgres.halt(immediate=how == "immediate")
                await load.until(503, load.statuses[503] + 20)
                ready = await page.http.get("/ready")
                assert (ready.status_code, "Retry-After" in ready.headers) == (503, True)
                await own_postgres.again()
            await load.until(200, load.statuses[200] + 40)
            load.over = True
        assert set(load.statuses) <= {200, 503}
        answers = {answer for _, _, answer, _ in load.acknowledged}
        await page.until(lambda p: answers <= ended(p), timeout=60)
        for chat_id, question, answer, text in load.acknowledged:
            messages = (await page.stored(chat_id))["chat"]["history"]["messages"]
            assert messages[question]["content"] == text
            assert (messages[answer]["content"], messages[answer]["done"]) == (fixed_text(WORDS), True)
            assert not messages[answer].get("error")
    assert server.stop() == 0
    assert "unexpected error" not in server.log


def ended(page: Page) -> set[str]:
    return {
        event["message_id"]
        for event in page.events
        if event["data"]["type"] == "chat:completion" and event["data"]["data"].get("done")
    }
