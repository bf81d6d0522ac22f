"""Chats go out of the built-in page as files and come in again, by mouse and by keyboard."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.page import Visit, menu, settings
from tests.support.pictures import png

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def exported(page: Page, kind: str) -> tuple[str, str]:
    """The name and the text of the file that the open chat is saved as."""
    await menu(page, "Export")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name=kind).click()
    download = await downloading.value
    await expect(page.locator("dialog")).to_have_count(0)
    return download.suggested_filename, (await download.path()).read_text()


async def bring_in(page: Page, content: str | list[Any]) -> None:
    """Chooses a file of this content in the settings' tab."""
    text = content if isinstance(content, str) else json.dumps(content)
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Import chats").click()
    chooser = await choosing.value
    await chooser.set_files({"name": "chats.json", "mimeType": "application/json", "buffer": text.encode()})


async def test_a_chat_is_saved_in_three_forms_and_comes_in_again(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Say it", "echo")
    await expect(page.locator(".chat-title")).to_have_text("Say it")
    await menu(page, "Rename")
    await page.get_by_label("Title").fill("Out: and in?")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chat-title")).to_have_text("Out: and in?")
    assert await exported(page, "Markdown") == (
        "Out and in.md",
        "# Out: and in?\n\n## You\n\nSay it\n\n## echo\n\nSay it\n",
    )
    name, text = await exported(page, "Plain text")
    assert (name, text) == ("Out and in.txt", "Out: and in?\n\nYou:\nSay it\n\necho:\nSay it\n")
    name, text = await exported(page, "JSON")
    assert name == "Out and in.json"
    assert json.loads(text)[0]["title"] == "Out: and in?"
    await settings(page, "Your data")
    await bring_in(page, text)
    await expect(page.get_by_text("1 chat imported.")).to_be_visible()
    await expect(page.get_by_role("button", name="Import chats")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator(".chat-title")).to_have_text(["Out: and in?"] * 2)
    # A picture goes along in the file.
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": png(1, 3_000)}
    await page.locator(".composer input[type=file]").set_input_files(picture)
    await visit.chat("And this", "echo")
    _, text = await exported(page, "JSON")
    assert "data:image/png;base64," in text
    assert "/api/v1/files/" not in text


async def test_an_import_says_what_was_repaired_and_what_is_no_export(visit: Visit) -> None:
    page = visit.page
    visit.complaints.expect("422 ")
    broken = {"id": "m", "role": "assistant", "content": "hi", "parentId": None, "statusHistory": ["x"]}
    chat = {"title": "Mended", "history": {"currentId": "m", "messages": {"m": broken}}}
    node = {"id": "q", "parent": None, "message": {"author": {"role": "user"}, "content": {"parts": ["Hello"]}}}
    await settings(page, "Your data")
    await bring_in(page, [{"chat": chat}, {"title": "From elsewhere", "mapping": {"q": node}}, {"nothing": 1}])
    await expect(page.get_by_text("2 chats imported.")).to_be_visible()
    await expect(page.get_by_text("1 entry holds no chat and was left out.")).to_be_visible()
    await expect(page.locator(".report li")).to_have_text(["Mended: 1 message"])
    await bring_in(page, "no JSON")
    await expect(page.get_by_text("This file is no export of chats")).to_be_visible()
    await bring_in(page, [{"title": 5, "chat": {"title": 5, "messages": []}}])
    await expect(page.get_by_text("title should be a text")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.locator(".chat-row a", has_text="From elsewhere").click()
    await expect(page.locator(".bubble")).to_have_text("Hello")


async def test_a_copy_of_a_chat_is_opened(visit: Visit) -> None:
    page = visit.page
    await visit.chat("The original", "echo")
    address = page.url
    await menu(page, "Make a copy")
    await expect(page.locator(".chat-row")).to_have_count(2)
    await expect(page).not_to_have_url(address)
    await expect(page).to_have_url(re.compile("/c/"))
    await expect(page.locator(".bubble")).to_have_text("The original")
    await expect(page.locator(".chat-row[data-current] .chat-title")).to_have_text(re.compile("^Clone of "))


async def test_the_keys_are_listed(visit: Visit) -> None:
    page = visit.page
    await page.keyboard.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Search chats")
    await page.keyboard.press("Escape")
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Keyboard").click()
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
