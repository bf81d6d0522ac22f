"""Which of a person's tabs hears what of an answer, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

OpenTab = Callable[[], Awaitable[Page]]
# What a tab that shows another chat hears of an answer, in order.
ELSEWHERE = ["chat:list", "chat:active true", "chat:list", "chat:completion done", "chat:active false"]


@pytest.fixture
async def open_tab(live: Live, admin: Actor) -> AsyncIterator[OpenTab]:
    async with AsyncExitStack() as stack:

        async def opened() -> Page:
            return await stack.enter_async_context(open_page(admin.client, admin.token))

        yield opened


async def on_chat(page: Page, chat_id: str, kind: str) -> Any:
    return await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": kind}}, timeout=30)


async def join(page: Page, chat_id: str) -> None:
    assert await on_chat(page, chat_id, "join") is True


async def settled(page: Page) -> None:
    """Whatever was sent to the tab before has arrived."""
    await page.socket.call("user-join", {"auth": {"token": page.token}}, timeout=30)


async def make_chat(page: Page) -> tuple[str, str]:
    """A chat with one turn: its id and that of its answer. The tab joins nothing."""
    body = page.ask("echo", "A chat")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return chat_id, body["id"]


def hears_words(page: Page, answer: str) -> bool:
    return bool(page.data("response:completion", answer))


async def start(page: Page, upstream: Upstream, chat_id: str, parent: str, words: int = 3) -> str:
    """Asks for a gated answer and waits until its tab has heard these words of it. Returns its id."""
    body = page.ask("gated", "Slowly, please", chat_id=chat_id, parent_id=parent)
    await page.post(body)
    upstream.release(words)
    await page.until(lambda p: rebuilt([], p.of(body["id"])) == fixed_text(words))
    return str(body["id"])


async def end(page: Page, upstream: Upstream, chat_id: str) -> None:
    upstream.release(20)
    await page.idle(chat_id)


def is_over(answer: str) -> Callable[[Page], bool]:
    return lambda page: any(data.get("done") for data in page.data("chat:completion", answer))


async def test_a_tab_in_another_chat_hears_only_that_it_is_answered_and_that_it_ended(
    open_tab: OpenTab, upstream: Upstream
) -> None:
    asker, same, elsewhere, nowhere = [await open_tab() for _ in range(4)]
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(elsewhere)
    await join(asker, chat_id)
    await join(same, chat_id)
    await join(elsewhere, other)
    for page in (asker, same, elsewhere, nowhere):
        await settled(page)
        page.events.clear()
    answer = await start(asker, upstream, chat_id, parent)
    await end(asker, upstream, chat_id)
    for page in (same, nowhere):
        await page.idle(chat_id)
        assert rebuilt([], page.of(answer)) == fixed_text()
        assert page.events == asker.events
    await elsewhere.idle(chat_id)
    assert elsewhere.kinds() == ELSEWHERE
    [done] = elsewhere.data("chat:completion", answer)
    assert done["output"][0]["content"][0]["text"] == fixed_text()


@pytest.mark.parametrize("model", ["drop", "error500"])
async def test_a_tab_in_another_chat_hears_that_an_answer_failed(open_tab: OpenTab, model: str) -> None:
    asker, elsewhere = await open_tab(), await open_tab()
    other, _ = await make_chat(elsewhere)
    await join(elsewhere, other)
    await settled(elsewhere)
    elsewhere.events.clear()
    body = asker.ask(model, "Fail, please")
    chat_id = (await asker.post(body))["chat_id"]
    await elsewhere.idle(chat_id)
    assert elsewhere.kinds() == ["chat:list", "chat:active true", "chat:message:error", "chat:active false"]


async def test_a_tab_in_another_chat_hears_of_a_stop_and_of_a_title(open_tab: OpenTab, upstream: Upstream) -> None:
    asker, elsewhere = await open_tab(), await open_tab()
    other, _ = await make_chat(elsewhere)
    await join(elsewhere, other)
    upstream.answer_when("title", '{"title": "Slow words"}')
    body = asker.ask("gated", "Slowly", background_tasks={"title_generation": True})
    chat_id = (await asker.post(body))["chat_id"]
    await elsewhere.until(lambda p: p.data("chat:active", body["id"]) != [])
    assert (await asker.http.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
    await elsewhere.idle(chat_id)
    assert not hears_words(elsewhere, body["id"])
    assert len(elsewhere.data("chat:tasks:cancel", body["id"])) == 2
    assert len(elsewhere.data("chat:title", body["id"])) == 1


async def test_the_asking_tab_hears_its_answer_wherever_it_looks(open_tab: OpenTab, upstream: Upstream) -> None:
    asker = await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(asker, chat_id)
    await on_chat(asker, chat_id, "leave")
    await join(asker, other)
    answer = await start(asker, upstream, chat_id, parent)
    await end(asker, upstream, chat_id)
    assert rebuilt([], asker.of(answer)) == fixed_text()


async def test_a_tab_may_look_at_several_chats(open_tab: OpenTab, upstream: Upstream) -> None:
    asker, both = await open_tab(), await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(both, other)
    await join(both, chat_id)
    await on_chat(both, other, "leave")
    answer = await start(asker, upstream, chat_id, parent)
    await end(asker, upstream, chat_id)
    await both.until(is_over(answer))
    assert rebuilt([], both.of(answer)) == fixed_text()


async def test_a_tab_that_leaves_its_chat_hears_all_again(open_tab: OpenTab, upstream: Upstream) -> None:
    asker, tab = await open_tab(), await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(tab, other)
    answer = await start(asker, upstream, chat_id, parent)
    await settled(tab)
    assert not hears_words(tab, answer)
    await on_chat(tab, other, "leave")
    await end(asker, upstream, chat_id)
    await tab.until(is_over(answer))
    assert hears_words(tab, answer)


async def test_a_page_that_reconnects_hears_all_without_joining(open_tab: OpenTab, upstream: Upstream) -> None:
    asker, elsewhere = await open_tab(), await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(asker, chat_id)
    await join(elsewhere, other)
    answer = await start(asker, upstream, chat_id, parent)
    await asker.socket.disconnect()
    back = await open_tab()
    kept = await back.message(chat_id, answer)
    upstream.release(20)
    await back.until(is_over(answer))
    assert rebuilt(kept["output"], back.of(answer), kept["meta"]["sequence_number"]) == fixed_text()
    assert not hears_words(elsewhere, answer)


@pytest.mark.parametrize("words", [0, 1, 4, 19])
async def test_a_tab_that_opens_the_chat_later_misses_nothing_and_doubles_nothing(
    open_tab: OpenTab, upstream: Upstream, words: int
) -> None:
    """It joins and then fetches: frames between the two are told by their number to be known already."""
    asker, tab = await open_tab(), await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(tab, other)
    answer = await start(asker, upstream, chat_id, parent, words)
    await settled(tab)
    assert not hears_words(tab, answer)
    upstream.release(min(3, 20 - words))  # these arrive while the tab changes over
    await on_chat(tab, other, "leave")
    await join(tab, chat_id)
    kept = await tab.message(chat_id, answer)
    upstream.release(20)
    await tab.until(is_over(answer))
    assert kept["done"] is False
    assert rebuilt(kept["output"], tab.of(answer), kept["meta"]["sequence_number"]) == fixed_text()


async def test_a_sign_in_again_of_the_same_socket_keeps_what_it_looks_at(open_tab: OpenTab, upstream: Upstream) -> None:
    asker, tab = await open_tab(), await open_tab()
    (chat_id, parent), (other, _) = await make_chat(asker), await make_chat(asker)
    await join(tab, other)
    await settled(tab)  # a page says user-join after each connect
    answer = await start(asker, upstream, chat_id, parent)
    await settled(tab)
    assert not hears_words(tab, answer)
    await end(asker, upstream, chat_id)


async def test_another_persons_socket_named_as_the_asker_hears_nothing(
    open_tab: OpenTab, live: Live, user: Actor, upstream: Upstream
) -> None:
    asker = await open_tab()
    async with open_page(user.client, user.token) as stranger:
        body = asker.ask("echo", "A secret", session_id=stranger.sid)
        chat_id = (await asker.post(body))["chat_id"]
        await asker.idle(chat_id)
        await settled(stranger)
        assert stranger.events == []
        assert rebuilt([], asker.of(body["id"])) == "A secret"


async def test_many_tabs_of_one_person_that_each_chat_hear_each_their_own(open_tab: OpenTab) -> None:
    tabs = [await open_tab() for _ in range(12)]
    chats = [(await make_chat(tabs[0])) for _ in tabs]
    for tab, (chat_id, _) in zip(tabs, chats, strict=True):
        await join(tab, chat_id)
    for tab in tabs:
        await settled(tab)
        tab.events.clear()
    bodies = [tab.ask("slow", "Go", chat_id=chat_id, parent_id=parent)
              for tab, (chat_id, parent) in zip(tabs, chats, strict=True)]  # fmt: skip
    await asyncio.gather(*(tab.post(body) for tab, body in zip(tabs, bodies, strict=True)))
    for tab, mine in zip(tabs, bodies, strict=True):
        for body in bodies:
            await tab.until(is_over(body["id"]))
            assert rebuilt([], tab.of(body["id"])) == (fixed_text() if body is mine else "")
