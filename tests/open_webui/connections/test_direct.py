"""A person's own provider: only their own page is asked, and what it passes on is an answer like any other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.connections import direct
from open_webui.connections.direct import Lines
from open_webui.socket import channels
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live

ITEM = {"id": "mine.talker", "name": "Talker", "direct": True, "urlIdx": "0", "openai": {"id": "talker"}}
CONFIG = "/api/v1/configs/connections"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
Handler = Callable[["Browser", dict[str, Any]], Awaitable[Any]]


def chunk(text: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": more.pop("finish", None)}
    return "data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


class Browser:
    """A page that asks its person's own provider, as `does` says."""

    def __init__(self, page: Page, does: Handler) -> None:
        self.page = page
        self.asked: list[dict[str, Any]] = []
        self._does = does
        self._tasks: set[asyncio.Task[None]] = set()
        page.socket.on("events", self._heard)

    async def _heard(self, event: dict[str, Any]) -> Any:
        await self.page._note(event)
        if event["data"]["type"] != "request:chat:completion":
            return None
        self.asked.append(event["data"]["data"])
        return await self._does(self, event["data"]["data"])

    def send(self, channel: str, *pieces: Any) -> None:
        """Sends pieces of a stream, soon."""

        async def sending() -> None:
            for piece in pieces:
                await self.page.socket.emit(channel, piece)

        task = asyncio.create_task(sending())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def streams(*pieces: Any) -> Handler:
    """Begins, and passes these on."""

    async def does(browser: Browser, asked: dict[str, Any]) -> Any:
        browser.send(asked["channel"], *pieces)
        return {"status": True}

    return does


def answers(value: Any) -> Handler:
    async def does(browser: Browser, asked: dict[str, Any]) -> Any:
        browser.send(asked["channel"], {"done": True})
        return value

    return does


HELLO = (chunk("Hel"), chunk("lo."), chunk(finish="stop"), chunk(usage=USAGE), "data: [DONE]", {"done": True})


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]]) -> Live:
    return await make_live()


@pytest.fixture
async def page(live: Live, admin: Actor, user: Actor) -> AsyncIterator[Page]:
    await switch(admin, on=True)
    async with open_page(user.client, user.token) as opened:
        yield opened


async def switch(admin: Actor, *, on: bool) -> None:
    form = {"ENABLE_DIRECT_CONNECTIONS": on, "ENABLE_BASE_MODELS_CACHE": True}
    reply = await admin.client.post(CONFIG, json=form)
    assert (reply.status_code, reply.json()["ENABLE_DIRECT_CONNECTIONS"]) == (200, on)


async def said(page: Page, does: Handler, **fields: Any) -> tuple[Browser, dict[str, Any]]:
    """What a browser that does this was asked, and the message that came of it."""
    browser = Browser(page, does)
    body = page.ask(ITEM["id"], "Hello?", model_item=ITEM, **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id, 30)
    return browser, await page.message(chat_id, body["id"])


async def test_a_page_asks_and_the_answer_is_one_like_any_other(page: Page, user: Actor) -> None:
    browser, message = await said(page, streams(*HELLO), params={"temperature": 0.5})
    assert (message["content"], message["done"], message.get("error")) == ("Hello.", True, None)
    assert message["usage"]["total_tokens"] == 5
    (asked,) = browser.asked
    assert asked.keys() == {"session_id", "channel", "form_data", "model"}
    assert (asked["session_id"], asked["model"]) == (page.sid, ITEM)
    assert asked["channel"].split(":")[:2] == [user.id, page.sid]
    assert asked["channel"].count(":") == 2
    form = asked["form_data"]
    assert (form["model"], form["stream"], form["temperature"]) == (ITEM["id"], True, 0.5)
    assert form["messages"][-1] == {"role": "user", "content": "Hello?"}
    assert "tools" in form


@pytest.mark.parametrize(
    "pieces",
    [
        # Lines that a read had cut in two, and one in three.
        (*(part for line in HELLO[:-1] for part in (line[:9], line[9:])), {"done": True}),
        ("da", HELLO[0][2:20], HELLO[0][20:], *HELLO[1:]),
        # Chunks as objects, comments between them, no terminator.
        (": hello", *(json.loads(line[6:]) for line in HELLO[:4]), {"done": True}),
        ("event: message", "id: 7", *HELLO),
    ],
)
async def test_however_its_lines_come(page: Page, pieces: tuple[Any, ...]) -> None:
    _, message = await said(page, streams(*pieces))
    assert (message["content"], message.get("error")) == ("Hello.", None)


async def test_a_whole_answer(page: Page) -> None:
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}
    browser, message = await said(page, answers(whole), stream=False)
    assert (message["content"], browser.asked[0]["form_data"]["stream"]) == ("Hello.", False)


@pytest.mark.parametrize(
    ("does", "content", "error"),
    [
        (answers({"error": {"message": "No such key."}}), "", "No such key."),
        (answers({"detail": "Not now."}), "", "Not now."),
        (answers({}), "", direct.REFUSED),
        (answers(None), "", direct.REFUSED),
        (answers([1]), "", direct.REFUSED),
        (answers({"choices": 7}), "", "could not be understood"),
        (streams(chunk("Hel"), {"done": True}), "Hel", "cut off"),
        (streams({"done": True}), "", "cut off"),
        (streams(chunk("Hel"), 'data: {"error": {"message": "Overloaded."}}', {"done": True}), "Hel", "Overloaded."),
        (streams("no line at all", 7, None, [1], True, {"done": True}), "", "cut off"),
    ],
)
async def test_what_goes_wrong_is_told(page: Page, does: Handler, content: str, error: str) -> None:
    _, message = await said(page, does)
    assert (message["content"], message["done"]) == (content, True)
    assert error in message["error"]["content"]


async def test_a_page_that_goes_ends_the_answer(page: Page, user: Actor) -> None:
    async def does(browser: Browser, asked: dict[str, Any]) -> Any:
        browser.send(asked["channel"], chunk("Hel"))
        return {"status": True}

    async with open_page(user.client, user.token) as other:
        browser = Browser(other, does)
        body = other.ask(ITEM["id"], "Hello?", model_item=ITEM)
        chat_id = (await other.post(body))["chat_id"]
        await page.until(lambda p: p.data("response:completion", body["id"]) != [], 30)
        await other.until(lambda p: "response.output_text.delta" in str(p.events), 30)
        assert len(browser.asked) == 1
    await page.idle(chat_id, 30)
    message = await page.message(chat_id, body["id"])
    assert (message["content"], message["error"]["content"]) == ("Hel", direct.GONE)


async def test_only_the_persons_own_page_is_asked(page: Page, admin: Actor) -> None:
    async with open_page(admin.client, admin.token) as theirs:
        stranger = Browser(theirs, streams(*HELLO))
        for session_id in (theirs.sid, "gone", "a.b"):
            body = page.ask(ITEM["id"], "Hello?", model_item=ITEM, session_id=session_id)
            chat_id = (await page.post(body))["chat_id"]
            await page.idle(chat_id, 30)
            message = await page.message(chat_id, body["id"])
            assert message["error"]["content"] == direct.GONE
        assert stranger.asked == []


async def test_nobody_else_can_send_it(page: Page, user: Actor, admin: Actor) -> None:
    forged = chunk("forged")
    begun = asyncio.Event()
    names: list[str] = []

    async def does(browser: Browser, asked: dict[str, Any]) -> Any:
        names.append(asked["channel"])
        begun.set()
        return {"status": True}

    browser = Browser(page, does)
    body = page.ask(ITEM["id"], "Hello?", model_item=ITEM)
    chat_id = (await page.post(body))["chat_id"]
    async with asyncio.timeout(30):
        await begun.wait()
    # Another tab of the same person, and somebody else, who know the name.
    for actor in (user, admin):
        async with open_page(actor.client, actor.token) as other:
            for piece in (forged, {"done": True}):
                await other.socket.emit(names[0], piece)
            # Its answer says that what came before was handled.
            await other.socket.call("user-join", {"auth": {"token": actor.token}}, timeout=10)
    # Names that nobody was asked for.
    for name in (f"{user.id}:{page.sid}:other", f"{admin.id}:{page.sid}:x", "a:b:c", "::", f"{names[0]}x"):
        assert await page.socket.call(name, forged, timeout=10) in (None, "", [])
    browser.send(names[0], *HELLO)
    await page.idle(chat_id, 30)
    assert (await page.message(chat_id, body["id"]))["content"] == "Hello."
    # It is over: the same name means nothing any more.
    await page.socket.emit(names[0], forged)
    await page.socket.call("user-join", {"auth": {"token": user.token}}, timeout=10)
    assert (await page.message(chat_id, body["id"]))["content"] == "Hello."


async def test_a_stop_ends_it_and_what_comes_later_is_nothing(page: Page, user: Actor, live: Live) -> None:
    async def does(browser: Browser, asked: dict[str, Any]) -> Any:
        browser.send(asked["channel"], chunk("Hel"))
        return {"status": True}

    browser = Browser(page, does)
    body = page.ask(ITEM["id"], "Hello?", model_item=ITEM)
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: "response.output_text.delta" in str(p.of(body["id"])), 30)
    assert (await user.client.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
    await page.idle(chat_id, 30)
    held = live.app.state.sockets.emitter.channels
    assert (held._read, held._sent) == ({}, {})
    browser.send(browser.asked[0]["channel"], chunk("late"))
    await page.socket.call("user-join", {"auth": {"token": user.token}}, timeout=10)
    message = await page.message(chat_id, body["id"])
    assert (message["content"], message["done"]) == ("Hel", True)


async def test_a_fast_answer_of_many_pieces_is_taken(page: Page) -> None:
    pieces = [chunk("x")] * 2_000
    _, message = await said(page, streams(*pieces, chunk(finish="stop"), "data: [DONE]", {"done": True}))
    assert (message["content"], message.get("error")) == ("x" * 2_000, None)


async def test_more_than_is_kept_ends_it(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_WAITING", 1_000)
    _, message = await said(page, streams(chunk("x" * 2_000), {"done": True}))
    assert message["error"]["content"] == channels.FULL


async def test_silence_ends_it(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "SILENCE", 0.3)
    _, message = await said(page, streams(chunk("Hel")))
    assert message["error"]["content"] == direct.LATE.format(0.3)
    monkeypatch.setattr(direct, "BEGIN_SECONDS", 0.3)

    async def never(_browser: Browser, _asked: dict[str, Any]) -> Any:
        await asyncio.sleep(5)

    _, message = await said(page, never)
    assert message["error"]["content"] == direct.LATE.format(0.3)


async def test_a_page_asks_so_many_at_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_OF_SOCKET", 0)
    browser, message = await said(page, streams(*HELLO))
    assert (message["error"]["content"], browser.asked) == (channels.MANY, [])


async def test_it_is_refused_where_it_is_off(page: Page, admin: Actor) -> None:
    assert (await page.http.get("/api/config")).json()["features"]["enable_direct_connections"] is True
    await switch(admin, on=False)
    assert (await page.http.get("/api/config")).json()["features"]["enable_direct_connections"] is False
    browser = Browser(page, streams(*HELLO))
    reply = await page.http.post("/api/chat/completions", json=page.ask(ITEM["id"], "Hello?", model_item=ITEM))
    assert (reply.status_code, reply.json()["detail"], browser.asked) == (403, direct.SWITCHED_OFF, [])


@pytest.mark.parametrize(
    ("item", "status"),
    [
        ({"id": "mine.talker"}, 400),
        ({"id": "mine.talker", "direct": "yes"}, 400),
        ({"id": "another", "direct": True}, 400),
        ({"id": "x" * 1_000, "direct": True}, 400),
        ({"id": 7, "direct": True}, 400),
        ({"direct": True}, 400),
        ("mine", 400),
        ({"id": "mine.talker", "direct": True, "more": "x" * 70_000}, 400),
    ],
)
async def test_what_describes_no_model_is_refused(page: Page, item: Any, status: int) -> None:
    browser = Browser(page, streams(*HELLO))
    reply = await page.http.post("/api/chat/completions", json=page.ask(ITEM["id"], "Hello?", model_item=item))
    assert (reply.status_code, browser.asked) == (status, [])


async def test_api_clients_have_no_page(page: Page) -> None:
    body = {"model": ITEM["id"], "messages": [{"role": "user", "content": "Hello?"}], "model_item": ITEM}
    assert (await page.http.post("/api/chat/completions", json=body)).status_code == 400


def test_lines_are_put_together() -> None:
    lines = Lines()
    assert lines.feed(b'data: {"a":') == []
    assert lines.feed(b"1}") == [b'data: {"a":1}\n\n']
    assert lines.feed(b'data: {"a":') == []
    assert lines.feed(b'data: {"b": 2}') == [b'data: {"a":\n\n', b'data: {"b": 2}\n\n']
    assert lines.feed(b"data: [DONE]") == [b"data: [DONE]\n\n"]
    assert lines.feed(b"rest") == []
    assert lines.end() == [b"rest\n\n"]
    assert lines.end() == []
