"""Ways to lead a chat on the built-in page: without keeping it, and with a prompt and parameters of one's own."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.page import LOST, Visit, answer, running, settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
SWITCH = "Temporary chat"


async def chats(page: Page) -> int:
    kept = await page.evaluate("fetch('/api/v1/chats/').then((reply) => reply.json())")
    return len(kept)


def question(visit: Visit, text: str) -> dict[str, Any]:
    """The body of the request to the model that ends with this text."""
    return next(each.body for each in visit.upstream.chats if each.body["messages"][-1]["content"] == text)


async def test_nothing_is_kept_of_a_temporary_chat(visit: Visit) -> None:
    page = visit.page
    switch = page.get_by_role("button", name=SWITCH)
    await switch.focus()
    await page.keyboard.press("Enter")
    await expect(switch).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_text("nothing of it is stored")).to_be_visible()
    await visit.say("First words", "echo")
    await expect(answer(page)).to_have_text("First words")
    await expect(switch).to_be_disabled()
    await expect(running(page)).to_have_count(0)
    await visit.say("Second words")
    await expect(answer(page)).to_have_text("Second words")
    await expect(running(page)).to_have_count(0)
    asked = question(visit, "Second words")["messages"]
    assert [message["content"] for message in asked] == ["First words", "First words", "Second words"]
    # Edited, answered anew and deleted, all of it here.
    await page.get_by_label("Answer again").last.click()
    await expect(page.locator("[data-role=assistant] .branches")).to_have_text("2 / 2")
    await expect(running(page)).to_have_count(0)
    await page.locator(".message[data-role=user]").last.hover()
    await page.get_by_label("Edit and send again").last.click()
    await page.locator(".edit-box textarea").fill("Third words")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_have_text("Third words")
    await expect(running(page)).to_have_count(0)
    await page.get_by_label("Delete message").last.click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.locator(".message")).to_have_count(3)
    assert await page.get_by_label("Continue this answer").count() == 0
    assert await chats(page) == 0
    assert page.url == visit.server.url + "/"
    await page.keyboard.press("Control+Shift+O")
    await expect(page.locator(".message")).to_have_count(0)
    await expect(switch).to_have_attribute("aria-pressed", "false")
    await visit.chat("To be kept", "echo")
    await expect(switch).to_be_hidden()
    assert await chats(page) == 1


async def test_a_temporary_answer_is_stopped(visit: Visit) -> None:
    page = visit.page
    await page.get_by_role("button", name=SWITCH).click()
    await visit.say("Go on", "gated")
    visit.upstream.release(3)
    await expect(answer(page)).to_have_text("the quick brown")
    await page.keyboard.press("Escape")
    await expect(running(page)).to_have_count(0)
    await expect(answer(page)).to_have_text("the quick brown")


async def test_a_lost_temporary_answer_says_so(visit: Visit) -> None:
    visit.complaints.expect(*LOST)
    page = visit.page
    await page.get_by_role("button", name=SWITCH).click()
    await visit.say("Go on", "gated")
    visit.upstream.release(3)
    await expect(answer(page)).to_have_text("the quick brown")
    visit.server.kill()
    visit.server.start()
    lost = page.locator(".problem", has_text="The connection was lost while this was being written")
    await expect(lost).to_be_visible(timeout=60_000)
    await expect(answer(page)).to_have_text("the quick brown")


async def test_a_chat_has_its_own_prompt_and_parameters_over_the_persons(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Answers")
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_label("Temperature").fill("0.5")
    await page.get_by_label("Seed").fill("7")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Saved for all your chats.")).to_be_visible()
    await page.keyboard.press("Escape")
    # Of a chat that is not there yet.
    opener = page.get_by_role("button", name="Prompt and parameters")
    await opener.click()
    form = page.get_by_role("dialog", name="Prompt and parameters")
    await expect(form.get_by_label("Temperature")).to_have_attribute("placeholder", "0.5")
    await form.get_by_label("Temperature").fill("0")
    await form.get_by_label("Stop at").fill("END, \\n\\n")
    await page.keyboard.press("Enter")
    await expect(form).to_have_count(0)
    await visit.chat("Hello", "echo")
    body = question(visit, "Hello")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["seed"], body["stop"]) == (0, 7, ["END", "\n\n"])
    # They are the chat's, also after a reload, and go with a reset.
    await page.reload()
    await expect(answer(page)).to_have_text("Hello")
    await expect(opener).to_have_attribute("data-set", "")
    await opener.click()
    await expect(form.get_by_label("Temperature")).to_have_value("0")
    await form.get_by_label("System prompt").fill("Be long.")
    await form.get_by_role("button", name="Save", exact=True).click()
    await expect(form).to_have_count(0)
    await visit.chat("Again", "echo")
    asked = question(visit, "Again")
    assert asked["messages"][0] == {"role": "system", "content": "Be long."}
    await opener.click()
    await form.get_by_role("button", name="Reset").click()
    await form.get_by_role("button", name="Save", exact=True).click()
    await expect(form).to_have_count(0)
    await expect(opener).not_to_have_attribute("data-set", "")


async def test_a_value_that_can_not_be_is_refused_where_it_stands(visit: Visit) -> None:
    page = visit.page
    await page.get_by_role("button", name="Prompt and parameters").click()
    form = page.get_by_role("dialog", name="Prompt and parameters")
    await form.get_by_label("Longest answer").fill("many")
    await page.keyboard.press("Enter")
    await expect(form.get_by_role("alert")).to_have_text(re.compile("“Longest answer” should be a number from 1"))
    await expect(form.get_by_label("Longest answer")).to_be_focused()
    await form.get_by_label("Longest answer").fill("100")
    await page.keyboard.press("Enter")
    await expect(form).to_have_count(0)
