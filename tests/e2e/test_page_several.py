"""Several models answer one question side by side on the built-in page, on a wide screen and on a phone."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support.page import Visit, running
from tests.support.script import fixed_text

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def ask_others(page: Page, *models: str) -> None:
    await page.get_by_label("Ask other models, too").click()
    for model in models:
        await page.get_by_role("combobox", name="Find a model").fill(model)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("option", name=re.compile(f"^{model}")).first).to_have_attribute(
            "aria-selected", "true"
        )
    await page.keyboard.press("Escape")


async def test_two_models_answer_and_the_chat_goes_on_with_one(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    await ask_others(page, "fixed")
    await expect(page.locator(".model-name")).to_have_text("echo + fixed")
    await visit.say("Say something")
    columns = page.locator(".column-row > .message")
    await expect(columns).to_have_count(2)
    await expect(columns.first.locator(".prose")).to_have_text("Say something")
    await expect(columns.last.locator(".prose")).to_have_text(fixed_text().strip())
    await expect(running(page)).to_have_count(0)
    # They stay side by side after a reload, and one of them is asked again alone.
    await page.reload()
    await expect(columns).to_have_count(2)
    await expect(columns.last.locator(".message-from")).to_have_text("fixed")
    await columns.last.get_by_label("Answer again").click()
    await expect(columns.last.locator(".branches")).to_have_text("2 / 2")
    await expect(columns.first.locator(".branches")).to_have_count(0)
    await expect(running(page)).to_have_count(0)
    assert [each.body["model"] for each in visit.upstream.chats if each.body.get("stream")][-1] == "fixed"
    # On with one.
    go_on = columns.first.get_by_role("button", name="Go on with this")
    await go_on.focus()
    await page.keyboard.press("Enter")
    await expect(columns.first.get_by_role("button", name="Go on with this")).to_have_attribute("aria-pressed", "true")
    await expect(page.locator(".model-name")).to_have_text("echo")
    await visit.say("And now?")
    await expect(page.locator(".message").last.locator(".prose")).to_have_text("And now?")
    await expect(columns).to_have_count(0)
    await expect(running(page)).to_have_count(0)
    asked = next(each.body for each in visit.upstream.chats if each.body["messages"][-1]["content"] == "And now?")
    assert [message["content"] for message in asked["messages"]] == ["Say something", "Say something", "And now?"]


async def test_answers_are_merged_and_the_merger_is_kept(visit: Visit) -> None:
    page = visit.page
    visit.upstream.answer_when("Several models answered", "The best of **both**.")
    await visit.choose("echo")
    await ask_others(page, "fixed")
    await visit.say("Say something")
    await page.get_by_role("button", name="Merge the answers").click()
    merged = page.get_by_role("article", name="Merged answer")
    await expect(merged.locator(".prose")).to_have_text("The best of both.")
    await page.reload()
    await expect(merged.locator(".prose")).to_have_text("The best of both.")
    await expect(page.locator(".column-row > .message")).to_have_count(2)


async def test_one_stop_ends_all_answers(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    await ask_others(page, "gated")
    await visit.say("Go on")
    visit.upstream.release(3)
    await expect(page.locator(".column-row > .message").last.locator(".prose")).to_have_text("the quick brown")
    await expect(page.get_by_label("Stop the answer (Esc)")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(running(page)).to_have_count(0)
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


async def test_on_a_phone_one_answer_is_shown_at_a_time(visit: Visit, browser: Browser) -> None:
    await visit.choose("echo")
    await ask_others(visit.page, "fixed")
    await visit.say("Say something")
    await expect(visit.page.locator(".column-row > .message")).to_have_count(2)
    await expect(running(visit.page)).to_have_count(0)
    context = await browser.new_context(**browsers.phone(), storage_state=await visit.context.storage_state())
    page = await browsers.open_page(context, visit.complaints, visit.page.url)
    shown = page.locator(".column-row > .message").locator("visible=true")
    await expect(shown).to_have_count(1)
    await expect(shown.locator(".prose")).to_have_text("Say something")
    await page.get_by_role("group", name="Answers").get_by_role("button", name="fixed").tap()
    await expect(shown.locator(".prose")).to_have_text(fixed_text().strip())
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
