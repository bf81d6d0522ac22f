"""The built-in page with a server that answers late, or not at all: nothing typed is lost, nothing lands elsewhere."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.e2e.test_page_prompts import typed, write
from tests.support.page import Visit, answer, menu, settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


class Held:
    """Requests that wait until they are let go."""

    def __init__(self) -> None:
        self.come = asyncio.Event()
        self.go = asyncio.Event()
        self.count = 0

    async def hold(self, route: Route) -> None:
        self.count += 1
        self.come.set()
        await self.go.wait()
        await route.continue_()


@asynccontextmanager
async def held(page: Page, address: str, times: int | None = None) -> AsyncIterator[Held]:
    """Requests to addresses that this expression finds wait until `go` is set, at the latest at the end."""
    waiting = Held()
    await page.route(re.compile(address), waiting.hold, times=times)
    yield waiting
    waiting.go.set()
    if times is None:
        await page.unroute(re.compile(address), waiting.hold)


@asynccontextmanager
async def failing(visit: Visit, address: str) -> AsyncIterator[None]:
    visit.complaints.expect("503 ")
    pattern = re.compile(address)

    async def fail(route: Route) -> None:
        await route.fulfill(status=503, json={"detail": "The server has no time."})

    await visit.page.route(pattern, fail)
    yield
    await visit.page.unroute(pattern, fail)


async def prompt(visit: Visit, command: str, content: str, **more: Any) -> str:
    body = {"command": command, "name": command.title(), "content": content, "tags": [], **more}
    reply = await visit.context.request.post(f"{visit.server.url}/api/v1/prompts/create", data=body)
    assert reply.ok, await reply.text()
    return str((await reply.json())["id"])


def offered(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Prompts").get_by_role("option")


async def test_who_leaves_a_dialog_types_on_where_they_were(visit: Visit) -> None:
    """Chromium gives the focus back, and no cursor: keys went nowhere."""
    page = visit.page
    await typed(page).fill("Hello")
    await page.keyboard.press("Control+k")
    await expect(page.get_by_label("Search your chats")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.type(" there")
    await expect(typed(page)).to_have_value("Hello there")


async def test_enter_means_the_list_of_what_is_typed(visit: Visit) -> None:
    page = visit.page
    await prompt(visit, "tea", "Boil water.")
    await prompt(visit, "table", "Lay the table.")
    await visit.choose("echo")
    await typed(page).press_sequentially("/t")
    await expect(offered(page)).to_have_count(2)
    async with held(page, "query=tea") as waiting:
        await typed(page).press_sequentially("ea")
        await waiting.come.wait()
        await page.keyboard.press("Enter")
        waiting.go.set()
        await expect(typed(page)).to_have_value("Boil water.")
    # Where nothing fits, the text is sent: that is what the key means there.
    await typed(page).fill("")
    await typed(page).press_sequentially("/t")
    await expect(offered(page)).to_have_count(2)
    async with held(page, "query=to") as waiting:
        await typed(page).press_sequentially("o")
        await waiting.come.wait()
        await page.keyboard.press("Enter")
        waiting.go.set()
        await expect(answer(page)).to_have_text("/to")


async def test_a_form_stays_until_the_server_has_answered(visit: Visit) -> None:
    page = visit.page
    reply = {
        "command": "sea:greet",
        "title": "Greet",
        "name": "greet",
        "arguments": [{"name": "who", "required": True}],
    }
    server = {"id": "sea", "name": "Sea"}

    async def tools(route: Route) -> None:
        await route.fulfill(
            json=[{"id": "server:mcp:sea", "name": "Sea", "user_id": "x", "meta": {}, "is_active": True}]
        )

    async def mcp_prompts(route: Route) -> None:
        await route.fulfill(json={"prompts": [reply | {"server": server}], "resources": []})

    async def greeted(route: Route) -> None:
        await route.fulfill(json={"text": "Good morning, Bob.", "files": []})

    await page.route(re.compile(r"/api/v1/tools/$"), tools)

    async def completed(route: Route) -> None:
        await route.fulfill(json={"values": []})

    await page.route(re.compile("/api/v1/mcp/prompts$"), mcp_prompts)
    # Asked for when who types takes a moment.
    await page.route(re.compile("/api/v1/mcp/complete$"), completed)
    await page.reload()
    await visit.choose("echo")
    await typed(page).press_sequentially("/greet")
    await offered(page).click()
    asks = page.get_by_role("dialog", name="Greet")
    await asks.get_by_label("who").fill("Bob")
    async with failing(visit, "/api/v1/mcp/prompts/get"):
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The server has no time.")).to_be_visible()
        await expect(asks.get_by_label("who")).to_have_value("Bob")
    await page.route(re.compile("/api/v1/mcp/prompts/get"), greeted)
    await asks.get_by_label("who").press("Enter")
    await expect(typed(page)).to_have_value("Good morning, Bob.")


async def test_a_name_stays_where_it_could_not_be_stored(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Hello", "fixed")
    await expect(page.locator(".chat-title").first).to_have_text("Hello")
    await menu(page, "Rename")
    title = page.get_by_role("dialog", name="Rename chat").get_by_label("Title")
    await title.fill("A better name")
    async with failing(visit, r"/api/v1/chats/[^/]+$"):
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The server has no time.")).to_be_visible()
        await expect(title).to_have_value("A better name")
    await title.press("Enter")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator(".chat-title").first).to_have_text("A better name")


async def test_a_question_that_was_edited_in_vain_is_there_again(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Hello", "echo")
    await page.locator(".message[data-role=user]").hover()
    await page.get_by_label("Edit and send again").click()
    edit = page.locator(".edit-box textarea")
    await edit.fill("Something long")
    async with failing(visit, "/api/chat/completions"):
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The server has no time.")).to_be_visible()
        await expect(edit).to_have_value("Something long")
    await edit.press("Enter")
    await expect(answer(page)).to_have_text("Something long")


async def test_a_slow_answer_takes_nobody_away_from_where_they_are(visit: Visit) -> None:
    """Of prompts; tools, functions, skills and knowledge bases are shown by the same rules."""
    page = visit.page
    first = await prompt(visit, "first", "One.")
    await prompt(visit, "second", "Two.")
    await settings(page, "Prompts")
    async with held(page, f"/api/v1/prompts/id/{first}$", times=1) as waiting:
        await page.get_by_role("button", name="/first").click()
        await waiting.come.wait()
        await page.get_by_role("button", name="/second").click()
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("Two.")
        async with page.expect_response(re.compile(f"/prompts/id/{first}$")):
            waiting.go.set()
        await page.get_by_label("What changed").fill("still here")
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("Two.")
    # What is stored late does not bring its form back.
    await page.get_by_label("Prompt", exact=True).fill("Two, again.")
    async with held(page, "/update$", times=1) as waiting:
        await page.get_by_role("button", name="Save", exact=True).click()
        await waiting.come.wait()
        await page.get_by_role("button", name="All prompts").click()
        await expect(page.get_by_label("Find a prompt")).to_be_visible()
        waiting.go.set()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        await expect(page.get_by_label("Find a prompt")).to_be_visible()


async def test_what_is_typed_while_it_is_saved_stays(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Prompts")
    await write(page, "Tea", "Boil water.")
    text = page.get_by_label("Prompt", exact=True)
    await text.fill("Boil milk.")
    async with held(page, "/update$", times=1) as waiting:
        await page.get_by_role("button", name="Save", exact=True).click()
        await waiting.come.wait()
        await text.press_sequentially(" Drink it.")
        waiting.go.set()
        await expect(page.get_by_role("button", name="Compare")).to_have_count(1)
        await expect(text).to_have_value("Boil milk. Drink it.")
    # A form is drawn anew when a version goes: what was typed into it, and not saved, is in it.
    await page.get_by_label("Name", exact=True).fill("Milk tea")
    await page.get_by_label("Use this version at once").uncheck()
    await page.get_by_role("button", name="Remove the version of").first.click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(0)
    await expect(text).to_have_value("Boil milk. Drink it.")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Milk tea")
    await expect(page.get_by_label("Use this version at once")).not_to_be_checked()


async def test_more_is_asked_for_once(visit: Visit) -> None:
    page = visit.page
    for n in range(35):
        await prompt(visit, f"number-{n}", "One of many.")
    await settings(page, "Prompts")
    rows = page.locator(".settings-panel .row")
    await expect(rows).to_have_count(30)
    async with held(page, "/api/v1/prompts/list") as waiting:
        await page.get_by_role("button", name="Show more").dblclick()
        await waiting.come.wait()
        waiting.go.set()
        await expect(rows).to_have_count(35)
        assert waiting.count == 1


async def test_keys_of_one_engine_stay_while_another_is_looked_at(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Documents")
    finds = page.locator("section.block", has=page.get_by_role("heading", name="Finding"))
    await finds.get_by_label("What finds by meaning").select_option("openai")
    await finds.get_by_label("Key").fill("sk-typed")
    await finds.get_by_label("What finds by meaning").select_option("ollama")
    await finds.get_by_label("What finds by meaning").select_option("openai")
    await expect(finds.get_by_label("Key")).to_have_value("sk-typed")
    reads = page.locator("section.block", has=page.get_by_role("heading", name="Reading"))
    await reads.get_by_label("What reads files").select_option("docling")
    await reads.get_by_label("Key").fill("typed, too")
    await reads.get_by_label("What reads files").select_option("tika")
    await reads.get_by_label("What reads files").select_option("docling")
    await expect(reads.get_by_label("Key")).to_have_value("typed, too")


async def test_a_memory_that_is_being_changed_stays_open(visit: Visit) -> None:
    page = visit.page
    for text in ("Likes tea.", "Lives by the sea."):
        reply = await visit.context.request.post(f"{visit.server.url}/api/v1/memories/add", data={"content": text})
        assert reply.ok
    await settings(page, "Memory")
    await page.get_by_role("button", name="Change “Likes tea.”").click()
    editing = page.locator("li.row textarea")
    await editing.fill("Likes green tea.")
    await page.get_by_role("button", name="Delete “Lives by the sea.”").click()
    await expect(page.get_by_text("Lives by the sea.")).to_have_count(0)
    await expect(editing).to_have_value("Likes green tea.")
    await page.locator("li.row").get_by_role("button", name="Save").click()
    await expect(page.locator("li.row").get_by_text("Likes green tea.")).to_be_visible()


async def test_a_question_is_asked_where_it_was_written(visit: Visit) -> None:
    """Whoever goes to another chat before the question is on its way finds it in the first one."""
    page = visit.page
    await visit.chat("One", "echo")
    first = page.url
    await page.get_by_label("New chat", exact=True).or_(page.get_by_role("button", name="New chat")).first.click()
    await visit.chat("Two", "echo")
    second = page.url
    await page.goto(first)
    await expect(answer(page)).to_have_text("One")
    # The person's settings are asked for with the first question.
    async with held(page, "/api/v1/users/user/settings$") as waiting:
        await visit.say("More of one", "echo")
        await waiting.come.wait()
        await page.locator(f'a[href="{second.removeprefix(visit.server.url)}"]').first.click()
        await expect(answer(page)).to_have_text("Two")
        waiting.go.set()
        await expect(page.locator(".message")).to_have_count(2)
    await page.locator(f'a[href="{first.removeprefix(visit.server.url)}"]').first.click()
    await expect(answer(page)).to_have_text("More of one")
    await expect(page.locator(".message")).to_have_count(4)
    await page.goto(second)
    await expect(page.locator(".message")).to_have_count(2)


async def test_two_people_who_are_chosen_quickly_are_both_there(visit: Visit) -> None:
    page = visit.page
    for name in ("Bob", "Bea"):
        person = {"name": name, "email": f"{name}@example.com", "password": "a long enough password", "role": "user"}
        assert (await visit.context.request.post(f"{visit.server.url}/api/v1/auths/add", data=person)).ok
    await prompt(visit, "tea", "Boil water.")
    await settings(page, "Prompts")
    await page.get_by_role("button", name="/tea").click()
    await page.get_by_role("button", name="Share", exact=True).click()
    sharing = page.get_by_role("dialog", name="Share a prompt")
    await sharing.get_by_label("Chosen people and groups").check()
    find = sharing.get_by_label("Find people and groups")
    async with held(page, "/access/update$") as waiting:
        await find.fill("B")
        await sharing.get_by_role("button", name="Bob").click()
        await waiting.come.wait()
        await find.fill("B")
        await sharing.get_by_role("button", name="Bea").click()
        waiting.go.set()
        await expect(sharing.get_by_label("Take Bob off the list")).to_be_visible()
        await expect(sharing.get_by_label("Take Bea off the list")).to_be_visible()


async def test_the_focus_stays_when_a_list_is_drawn_anew(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Connections")
    ollama = page.locator("section.block", has=page.get_by_role("heading", name="Ollama", exact=True))
    await ollama.get_by_role("button", name="Add a connection").click()
    address = ollama.get_by_label("Address").last
    await address.fill("http://localhost:1")
    await address.press("Enter")
    await expect(page.get_by_text("Connections saved.")).to_be_visible()
    await expect(ollama.get_by_label("Address").first).to_be_focused()


async def test_models_may_come_after_the_chat(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Hello", "echo")
    async with held(page, "/api/models$") as waiting:
        await page.reload()
        await expect(answer(page)).to_have_text("Hello")
        await waiting.come.wait()
        await page.get_by_label("Answer again").click()
        waiting.go.set()
        await expect(page.locator("[data-role=assistant] .branches")).to_have_text("2 / 2")
    assert await page.get_by_text("Choose a model first.").count() == 0


async def test_models_that_come_while_one_looks_for_them_are_shown(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Connections")
    openai = page.locator("section.block", has=page.get_by_role("heading", name="OpenAI-compatible"))
    await openai.get_by_label("Prefix of its models").first.fill("lab")
    async with held(page, "/api/models$") as waiting:
        await openai.get_by_role("button", name="Save").click()
        await waiting.come.wait()
        await page.keyboard.press("Escape")
        await page.locator(".model-button").click()
        await page.get_by_role("combobox", name="Find a model").fill("lab.fixed")
        await expect(page.get_by_text("No model of that name.")).to_be_visible()
        waiting.go.set()
        await expect(page.get_by_role("option")).to_have_count(1)
        await expect(page.get_by_role("option")).to_contain_text("lab.fixed")
