"""Three server processes on one database: whatever a person's requests and sockets reach, nothing is lost or doubled."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.faults.fleet import Fleet, make_fleet
from tests.open_webui.chat.page import Page, rebuilt
from tests.support.redis import Redis
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.turns import watched_stalls
from tests.support.upstream import Upstream

MakeServer = Callable[..., Server]
pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True),
]
# So long processes are killed: OUI_KILL_SECONDS=60 is what is promised.
KILL_SECONDS = int(os.environ.get("OUI_KILL_SECONDS", "10"))
# So long Redis is away.
AWAY_SECONDS = 20
# An answer of a dead process is marked by another one within so many seconds.
MARKED_SECONDS = 15


@pytest.fixture(params=["redis", "listen"])
async def fleet(
    request: pytest.FixtureRequest, make_server: MakeServer, database_url: str, upstream: Upstream
) -> Fleet:
    environment = {
        "DATABASE_URL": database_url, "OPENAI_API_BASE_URLS": upstream.openai_url, "OPENAI_API_KEYS": "sk-upstream",
    }  # fmt: skip
    if request.param == "redis":
        environment["REDIS_URL"] = request.getfixturevalue("redis_server").url
        environment["REDIS_KEY_PREFIX"] = database_url.rpartition("/")[2]
    made = make_fleet(make_server, 3, seed=20_261_128, **environment)
    await made.start()
    await made.models_are_there()
    return made


def numbers(page: Page, message_id: str) -> list[int]:
    """The sequence numbers of an answer's deltas, in the order in which they came."""
    return [data["sequence_number"] for data in page.data("response:completion", message_id) if "type" in data]


def is_over(page: Page, message_id: str) -> bool:
    return any(data.get("done") for data in page.data("chat:completion", message_id))


def check_heard(page: Page, message_id: str, text: str) -> None:
    """Every frame of an answer in order and once, and with them all of it."""
    seen = numbers(page, message_id)
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen))
    assert rebuilt([], page.of(message_id)) == text
    over = [event for event in page.of(message_id) if event["data"]["type"] == "chat:completion"]
    assert [bool(event["data"]["data"].get("done")) for event in over][-1]
    assert sum(bool(event["data"]["data"].get("done")) for event in over) == 1


@pytest.mark.parametrize(
    ("fleet", "chats"), [("listen", 12), pytest.param("redis", 60, marks=pytest.mark.slow)], indirect=["fleet"]
)
async def test_frames_come_in_order_and_once(fleet: Fleet, chats: int) -> None:
    words = 60

    async def chat() -> None:
        async with fleet.page() as page:
            body = page.ask("slow", "Tell me", max_tokens=words)
            reply = await fleet.request("POST", "/api/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            chat_id = reply.json()["chat_id"]
            # As a page does, which then hears no more of the others.
            assert await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}) is True
            await page.until(lambda p: is_over(p, body["id"]), timeout=60)
            check_heard(page, body["id"], fixed_text(words))
            kept = await fleet.message(chat_id, body["id"])
            assert (kept["content"], kept["done"]) == (fixed_text(words), True)

    await asyncio.gather(*(chat() for _ in range(chats)))


async def test_a_reload_on_another_process_misses_and_doubles_nothing(fleet: Fleet, upstream: Upstream) -> None:
    asked, shown, fetched = fleet.servers
    async with fleet.page(asked) as first:
        body = first.ask("gated", "Hold on")
        chat_id = (await first.post(body))["chat_id"]
        upstream.release(5)
        await first.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
    async with fleet.page(shown) as page:
        assert await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}) is True
        releasing = asyncio.create_task(release_slowly(upstream, 15))
        kept = await fleet.message(chat_id, body["id"], at=fetched)
        await releasing
        await page.until(lambda p: is_over(p, body["id"]))
        assert kept["done"] is False
        assert fixed_text().startswith(kept["content"])
        assert len(kept["content"].split()) >= 5
        after = kept["meta"]["sequence_number"]
        assert rebuilt(kept["output"], page.of(body["id"]), after) == fixed_text()
        seen = numbers(page, body["id"])
        assert seen == sorted(set(seen))


async def release_slowly(upstream: Upstream, count: int) -> None:
    for _ in range(count):
        upstream.release(1)
        await asyncio.sleep(0.01)


async def test_a_stop_reaches_an_answer_anywhere(fleet: Fleet, upstream: Upstream) -> None:
    asked, shown, stopped = fleet.servers
    async with fleet.page(shown) as page:
        body = page.ask("gated", "Hold on")
        reply = await fleet.request("POST", "/api/chat/completions", at=asked, json=body)
        chat_id = reply.json()["chat_id"]
        upstream.release(5)
        await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(5))
        assert (await fleet.get(f"/api/tasks/chat/{chat_id}", at=stopped))["task_ids"] == reply.json()["task_ids"]
        assert [chat["active"] for chat in await fleet.get("/api/v1/chats/?page=1", at=stopped)] == [True]
        again = await fleet.request("POST", "/api/chat/completions", at=stopped, json=body | {"chat_id": chat_id})
        assert again.status_code == 409, again.text
        over = await fleet.request("POST", f"/api/tasks/chat/{chat_id}/stop", at=stopped)
        assert over.status_code == 200, over.text
        kept = await fleet.message(chat_id, body["id"], at=stopped)
        assert (kept["content"], kept["done"]) == (fixed_text(5), True)
        await page.until(lambda p: "chat:tasks:cancel" in p.kinds())


async def changed_everywhere(fleet: Fleet, look: Callable[[Server], Any]) -> None:
    """Waits until each server says that something holds: for 2 seconds at most in which the machine goes on."""
    began = time.monotonic()
    async with watched_stalls() as stalls:
        for server in fleet.servers:
            while not await look(server):
                assert time.monotonic() - began - stalls.seconds < 2
                await asyncio.sleep(0.02)


async def test_what_is_changed_on_one_acts_on_all(fleet: Fleet) -> None:
    one = fleet.servers[0]
    form = {"name": "Ben", "email": "ben@example.com", "password": "correct horse battery", "role": "pending"}
    ben = (await fleet.request("POST", "/api/v1/auths/add", at=one, json=form)).json()
    bens = {"Authorization": f"Bearer {ben['token']}"}

    async def may_ask(server: Server) -> bool:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client:
            return (await client.get("/api/v1/chats/?page=1", headers=bens)).status_code == 200

    assert not any([await may_ask(server) for server in fleet.servers])
    role = {"role": "user", "name": "Ben", "email": "ben@example.com", "profile_image_url": "/user.png"}
    reply = await fleet.request("POST", f"/api/v1/users/{ben['id']}/update", at=one, json=role)
    assert reply.status_code == 200, reply.text
    await changed_everywhere(fleet, may_ask)
    config = await fleet.get("/api/v1/auths/admin/config", at=one)
    reply = await fleet.request("POST", "/api/v1/auths/admin/config", at=one, json=config | {"ENABLE_API_KEYS": True})
    assert reply.status_code == 200, reply.text

    async def has_keys(server: Server) -> bool:
        return bool((await fleet.get("/api/config", at=server))["features"]["enable_api_keys"])

    await changed_everywhere(fleet, has_keys)
    model = {"id": "mine", "base_model_id": "fixed", "name": "Mine", "params": {}, "meta": {}, "access_grants": []}
    reply = await fleet.request("POST", "/api/v1/models/create", at=one, json=model)
    assert reply.status_code == 200, reply.text

    async def has_model(server: Server) -> bool:
        return any(entry["id"] == "mine" for entry in (await fleet.get("/api/models", at=server))["data"])

    await changed_everywhere(fleet, has_model)


class Person:
    """Somebody who asks again and again, moves to another server when theirs is gone, and keeps what was acknowledged."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.number = number
        self.acknowledged: list[tuple[str, str, str, Server]] = []
        self.whole = 0
        self.refused: list[tuple[int, str]] = []

    async def go_on(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            try:
                async with self.fleet.page() as page:
                    while not is_over() and not page.gone.is_set():
                        await self.ask(page)
            except (httpx.TransportError, OSError, AssertionError):
                await asyncio.sleep(0.1)
            except Exception as error:
                if type(error).__module__.partition(".")[0] not in {"socketio", "engineio", "aiohttp"}:
                    raise
                await asyncio.sleep(0.1)

    async def ask(self, page: Page) -> None:
        server = self.fleet.any()
        body = page.ask("slow", f"Question of {self.number}", max_tokens=40)
        reply = await self.fleet.request("POST", "/api/chat/completions", at=server, json=body)
        if reply.status_code != 200:
            self.refused.append((reply.status_code, reply.text))
            await asyncio.sleep(0.2)
            return
        chat_id = reply.json()["chat_id"]
        self.acknowledged.append((chat_id, body["user_message"]["id"], body["id"], server))
        # As a page does: else each hears the answers of all, which a client in Python does not read on a busy machine.
        await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}, timeout=30)
        done = asyncio.create_task(page.until(lambda p: is_over(p, body["id"]), timeout=20))
        gone = asyncio.create_task(page.gone.wait())
        try:
            await asyncio.wait({done, gone}, return_when=asyncio.FIRST_COMPLETED)
            if done.done() and done.exception() is None:
                self.whole += 1
        finally:
            done.cancel()
            gone.cancel()
            await asyncio.gather(done, gone, return_exceptions=True)


def is_time(until: float, latest: float, people: list[Person]) -> bool:
    """Whether the load ends: after its time, when more answers than one of each were whole, and at the latest then."""
    now = time.monotonic()
    return now >= latest or (now >= until and sum(person.whole for person in people) > len(people))


async def all_is_there(fleet: Fleet, people: list[Person], in_time: Callable[[], bool]) -> None:
    """Every question that was acknowledged is stored, and its answer ends: whole, or marked as interrupted."""
    for person in people:
        for chat_id, question, answer, _ in person.acknowledged:
            while True:
                messages = (await fleet.get(f"/api/v1/chats/{chat_id}"))["chat"]["history"]["messages"]
                if messages[answer]["done"]:
                    break
                assert in_time(), "an answer of a process that is gone is not marked"
                await asyncio.sleep(0.2)
            assert messages[question]["content"] == f"Question of {person.number}"
            kept = messages[answer]
            assert fixed_text(40).startswith(kept["content"])
            whole = kept["content"] == fixed_text(40) and not kept.get("error")
            assert whole or kept["meta"]["interrupted"] is True, kept


@pytest.mark.parametrize(("fleet", "seconds"), [("listen", 10), ("redis", KILL_SECONDS)], indirect=["fleet"])
async def test_processes_are_killed_at_random_under_load(fleet: Fleet, seconds: int) -> None:
    people = [Person(fleet, number) for number in range(12)]
    until = time.monotonic() + seconds
    # On a slow machine as long as it takes until they have shown that they go on.
    latest = until + 120
    load = [asyncio.create_task(person.go_on(lambda: is_time(until, latest, people))) for person in people]
    while not is_time(until - 1, latest, people):
        await asyncio.sleep(3)
        victim = fleet.dice.choice(fleet.up)
        fleet.down.add(victim)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
        fleet.down.discard(victim)
    killed = time.monotonic()
    await asyncio.gather(*load)
    assert sum(person.whole for person in people) > 12, "they go on"
    refused = [status for person in people for status, _ in person.refused]
    assert set(refused) <= {503}, [text for person in people for _, text in person.refused][:5]
    async with watched_stalls() as stalls:
        await all_is_there(fleet, people, lambda: time.monotonic() - killed - stalls.seconds < MARKED_SECONDS + 5)


@pytest.mark.parametrize("fleet", ["redis"], indirect=True)
async def test_redis_stops_for_a_while(fleet: Fleet, redis_server: Redis) -> None:
    statuses: list[int] = []
    over = asyncio.Event()

    async def ask_by_api() -> None:
        question = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]}
        while not over.is_set():
            reply = await fleet.request("POST", "/api/chat/completions", json=question)
            statuses.append(reply.status_code)
            await asyncio.sleep(0.05)

    async def chat(page: Page) -> None:
        body = page.ask("slow", "Tell me", max_tokens=1_400)  # 28 seconds
        reply = await fleet.request("POST", "/api/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        chat_id = reply.json()["chat_id"]
        # Else it would hear all four answers, which are more than a client in Python reads on a busy machine: it gives up
        # when it has not come to the server's ping in 30 seconds.
        assert await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}) is True
        await page.until(lambda p: is_over(p, body["id"]), timeout=120)
        kept = await fleet.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == (fixed_text(1_400), True)
        check_heard(page, body["id"], fixed_text(1_400))

    asking = asyncio.create_task(ask_by_api())
    async with fleet.page() as one, fleet.page() as two, fleet.page() as three, fleet.page() as four:
        chats = [asyncio.create_task(chat(page)) for page in (one, two, three, four)]
        await asyncio.sleep(2)
        redis_server.stop()
        try:
            await asyncio.sleep(AWAY_SECONDS)
            ready = [await fleet.request("GET", "/ready", at=server) for server in fleet.servers]
            assert {(reply.status_code, reply.json()["bus"]) for reply in ready} == {(200, False)}
        finally:
            redis_server.start()
        await asyncio.gather(*chats)
    over.set()
    await asking
    assert set(statuses) == {200}
