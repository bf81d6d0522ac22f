"""Prompts on the built-in page: written, called by `/`, filled in, compared, brought back, shared, and carried in files."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.test_page_tools import answered, shot
from tests.support import browser as browsers
from tests.support.page import BOB, PASSWORD, Visit, answer, settings, sign_in

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
LETTER = (
    'Dear {{USER_NAME}}, write a {{tone | select:options=["dry","warm"]:default="warm"}} letter to {{who | text:required}}'
    " about {{CLIPBOARD}}. {{who}} is {{age | number:min=1:max=150}}."
)


def typed(page: Page) -> Locator:
    return page.get_by_label("Your message")


async def write(page: Page, name: str, content: str, tags: str = "") -> None:
    await page.get_by_role("button", name="Write a prompt").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Prompt", exact=True).fill(content)
    await page.get_by_label("Tags, with commas between them").fill(tags)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()


async def test_a_prompt_is_written_and_used(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Prompts")
    await expect(page.get_by_text("There is no prompt for you yet.")).to_be_visible()
    await write(page, "Love letter", LETTER, "post, private")
    await page.get_by_role("button", name="All prompts").click()
    await write(page, "Tea", "How is tea made?")
    await page.keyboard.press("Escape")
    await page.evaluate("navigator.clipboard.writeText('the sea')")
    await visit.choose("echo")
    # What is typed finds them by command and name; the keyboard chooses.
    await typed(page).press_sequentially("/")
    offered = page.get_by_role("listbox", name="Prompts").get_by_role("option")
    await expect(offered).to_have_count(2)
    await typed(page).press_sequentially("LOVE")
    await expect(offered).to_have_text(["/love-letterLove letter"])
    await expect(typed(page)).to_have_attribute("aria-activedescendant", re.compile("-0$"))
    await shot(page, "prompts-offered")
    await page.keyboard.press("Escape")
    await expect(offered).to_be_hidden()
    await typed(page).fill("")
    # A path is no command, and is sent as it is.
    await typed(page).press_sequentially("/etc/hosts")
    await expect(offered).to_be_hidden()
    await typed(page).fill("Please: ")
    await typed(page).press_sequentially("/let")
    await expect(offered).to_have_count(1)
    await page.keyboard.press("Enter")
    asks = page.get_by_role("dialog", name="Love letter")
    await expect(asks.get_by_label("tone")).to_have_value("warm")
    await expect(asks.get_by_label("tone")).to_be_focused()
    # What is needed is asked for until it is there; whoever goes away keeps what was typed.
    await asks.get_by_role("button", name="Fill in").click()
    await expect(asks).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(asks).to_have_count(0)
    await expect(typed(page)).to_have_value("Please: /let")
    await page.keyboard.type("t")
    await expect(offered).to_have_count(1)
    await page.keyboard.press("Tab")
    await asks.get_by_label("tone").select_option("dry")
    await asks.get_by_label("who (needed)").fill("Bob {{age}} $&")
    await asks.get_by_label("age").fill("7")
    await page.keyboard.press("Enter")
    filled = "Please: Dear Ada Lovelace, write a dry letter to Bob {{age}} $& about the sea. Bob {{age}} $& is 7."
    await expect(typed(page)).to_have_value(filled)
    await expect(typed(page)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("is 7.")
    await answered(page)
    # One without variables asks for nothing.
    await typed(page).press_sequentially("/tea")
    await expect(offered).to_have_count(1)
    await offered.click()
    await expect(typed(page)).to_have_value("How is tea made?")


async def test_the_life_of_a_prompt(visit: Visit, browser: Browser, tmp_path: Path) -> None:
    page = visit.page
    await settings(page, "Prompts")
    await write(page, "Tea", "Boil water.", "drink")
    await page.get_by_label("Prompt", exact=True).fill("Boil milk.")
    await page.get_by_label("What changed").fill("richer")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(1)
    await page.get_by_label("Prompt", exact=True).fill("Boil wine.")
    await page.get_by_label("Use this version at once").uncheck()
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(2)
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("Boil milk.")
    await page.get_by_role("button", name="Compare").last.click()
    await expect(page.locator(".diff")).to_contain_text("+Boil milk.")
    await shot(page, "prompt-compared")
    await page.get_by_role("button", name="Restore the earlier one").click()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("Boil water.")
    await page.get_by_role("button", name="Remove the version of").first.click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(1)
    await shot(page, "prompt")
    # A command is one prompt's.
    visit.complaints.expect("400 ")
    await page.get_by_role("button", name="All prompts").click()
    await page.get_by_role("button", name="Write a prompt").click()
    await page.get_by_label("Name", exact=True).fill("Tea")
    await page.get_by_label("Prompt", exact=True).fill("Other tea.")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Another prompt has this command.")).to_be_visible()
    await page.get_by_role("button", name="All prompts").click()
    # Out and in again.
    async with page.expect_download() as exporting:
        await page.get_by_role("button", name="Export all").click()
    await (await exporting.value).save_as(tmp_path / "prompts.json")
    rows = json.loads((tmp_path / "prompts.json").read_text())
    assert rows == [
        {"command": "tea", "name": "Tea", "content": "Boil water.", "data": {}, "meta": {}, "tags": ["drink"]}
    ]
    chooser = page.get_by_label("A file of prompts")
    more = json.dumps([*rows, {"command": "/ale", "title": "Ale", "content": "Brew."}]).encode()
    for name, content, said in (
        ("more.json", more, "1 of 2 imported. /tea: Another prompt has this command."),
        ("odd.json", b"{}", "There are no prompts in this file."),
    ):
        await chooser.set_input_files({"name": name, "mimeType": "application/json", "buffer": content})
        await expect(page.get_by_text(said)).to_be_visible()
    rows_shown = page.locator(".settings-panel .row")
    await expect(rows_shown).to_have_count(2)
    await page.get_by_label("Find a prompt").fill("ale")
    await expect(rows_shown).to_have_count(1)
    await page.get_by_label("Find a prompt").fill("")
    await page.get_by_label(re.compile("^Tag")).select_option("drink")
    await expect(rows_shown).to_have_count(1)
    await shot(page, "prompts")
    await is_shared_with_bob(visit, browser)
    await page.get_by_role("button", name="Delete this prompt").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(rows_shown).to_have_count(1)


async def is_shared_with_bob(visit: Visit, browser: Browser) -> None:
    """He may use it, unless it is off."""
    page, url = visit.page, visit.server.url
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "user"}
    assert (await visit.context.request.post(f"{url}/api/v1/auths/add", data=person)).ok
    await page.get_by_role("button", name="/tea").click()
    await page.get_by_role("button", name="Share", exact=True).click()
    sharing = page.get_by_role("dialog", name="Share a prompt")
    await sharing.get_by_label("Everybody with an account").check()
    await expect(page.get_by_text("Shared with others.")).to_be_attached()
    await sharing.get_by_label("Close").click()
    # Before he has signed in.
    visit.complaints.expect("401 ")
    context = await browser.new_context(**browsers.phone())
    theirs = await browsers.open_page(context, visit.complaints, url)
    await sign_in(theirs, BOB)
    await typed(theirs).press_sequentially("/te")
    await theirs.get_by_role("option", name="/tea").click()
    await expect(typed(theirs)).to_have_value("Boil water.")
    async with page.expect_response(re.compile("/toggle$")):
        await page.get_by_role("switch", name="Tea is on").uncheck()
    await expect(page.get_by_role("switch", name="Tea is on")).not_to_be_checked()
    await typed(theirs).fill("")
    async with theirs.expect_response(lambda reply: "/api/v1/prompts/list" in reply.url):
        await typed(theirs).press_sequentially("/")
    await expect(theirs.get_by_role("option")).to_have_count(0)
    await context.close()
