"""Notes in the built-in page: one person's, and one that two write at once, also while there is no server."""

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.page import LOST, Pair

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
TYPED = (
    "## Plan\nSome **bold**, *soft* and `code` words.\n- one\n- two\n\n1. first\n2. second\n\n[ ] to do\n[x] done\n\n> said\n\n\n"
    "```python x = 1"
)
STORED = """## Plan

Some **bold**, *soft* and `code` words.

- one
- two

1. first
2. second

- [ ] to do
- [x] done

> said

```python
x = 1
```"""


def text_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text of the note")


def state(page: Page) -> Locator:
    return page.locator(".note-state")


async def option(page: Page, name: str) -> None:
    await page.get_by_label("Options for this note").click()
    await page.get_by_role("menuitem", name=name).click()


async def new_note(page: Page, title: str, text: str) -> str:
    """The id of a note that was made and written in the page."""
    await page.get_by_role("link", name="Notes").click()
    await page.get_by_role("button", name="New note").click()
    await expect(text_of(page)).to_be_focused()
    await page.get_by_label("Title").fill(title)
    await text_of(page).click()
    await page.keyboard.type(text)
    await expect(state(page)).to_have_text("Saved")
    return page.url.rsplit("/", 1)[1]


async def note(pair: Pair, note_id: str) -> Any:
    return await pair.api(pair.ada, f"/notes/{note_id}")


async def test_typed_markdown_becomes_what_it_means(pair: Pair) -> None:
    page = pair.ada
    note_id = await new_note(page, "Ferry", TYPED)
    await expect(page).to_have_title(re.compile("^Ferry"))
    found = await note(pair, note_id)
    assert found["title"] == "Ferry"
    assert found["data"]["content"]["md"].strip() == STORED
    # What stands there is a task that is done by a click, and words that are marked by a button.
    await page.get_by_role("checkbox", name="Done").first.click()
    await text_of(page).get_by_text("Some").dblclick(position={"x": 12, "y": 10})
    await page.get_by_role("button", name="Struck through").click()
    await expect(page.get_by_role("button", name="Struck through")).to_have_attribute("aria-pressed", "true")
    await expect(state(page)).to_have_text("Saved")
    text = (await note(pair, note_id))["data"]["content"]["md"]
    assert ("- [x] to do" in text, "~~Some~~" in text) == (True, True)
    # A version of it, which comes back into the open editor.
    await option(page, "Versions")
    await page.get_by_role("button", name="Compare").last.click()
    await page.get_by_role("button", name="Restore the earlier one").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(text_of(page).locator("s")).to_have_count(0)
    # What was typed a moment before a reload is there after it.
    await text_of(page).click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type(" and y = 2")
    await page.reload()
    await expect(text_of(page)).to_contain_text("and y = 2")
    await _in_the_list(page)


async def _in_the_list(page: Page) -> None:
    await page.get_by_role("link", name="All notes").click()
    await page.get_by_label("Options for Ferry").click()
    await page.get_by_role("menuitem", name="Pin", exact=True).click()
    await expect(page.locator(".note-rows .icon").first).to_be_visible()
    await page.get_by_label("Search your notes").fill("bicycle")
    await expect(page.get_by_text("No note has this.")).to_be_visible()
    await page.get_by_label("Search your notes").fill("ferry")
    await page.get_by_label("Options for Ferry").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No note has this.")).to_be_visible()
    await page.get_by_role("button", name="New chat").first.click()
    await expect(page.get_by_label("Your message")).to_be_focused()


async def to_start_of_line(page: Page) -> None:
    """The editor hears of the browser's caret a moment later; what comes from others in between puts it where it was."""
    frames = "for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame);"
    settled = f"async () => {{ {frames} return getSelection().anchorOffset; }}"
    for _ in range(100):
        await page.keyboard.press("Home")
        if await page.evaluate(settled) == 0:
            return
    raise AssertionError("The caret does not go to the start of its line.")


async def share(page: Page, *, level: str | None = None) -> None:
    """Lets Bob read the open note, or says what he may do with it."""
    await option(page, "Share")
    if level is None:
        await page.get_by_role("radio", name="Chosen people").check()
        await page.get_by_label("Find people and groups").fill("bob")
        await page.get_by_role("button", name="Bob Byte").click()
        await expect(page.get_by_label("What Bob Byte may do")).to_be_visible()
    else:
        await page.get_by_label("What Bob Byte may do").select_option(label=level)
    await page.get_by_role("dialog").get_by_role("button", name="Close").click()


async def test_two_write_at_once_and_nothing_gets_lost(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    note_id = await new_note(ada, "Together", "First line.\nSecond line.")
    await share(ada)
    await bob.get_by_role("link", name="Notes").click()
    await bob.get_by_label("Which notes").select_option(label="Shared with me")
    await bob.get_by_role("link", name=re.compile("^Together")).click()
    await expect(text_of(bob)).to_have_attribute("aria-readonly", "true")
    await expect(bob.get_by_role("toolbar")).to_have_count(0)
    await expect(bob.get_by_label("Title")).not_to_be_editable()
    await ada.keyboard.press("Control+End")
    await text_of(ada).press("End")
    await ada.keyboard.type(" Seen by both.")
    await expect(text_of(bob)).to_contain_text("Second line. Seen by both.")
    # He may write from now on.
    await share(ada, level="May write")
    await bob.reload()
    await text_of(bob).get_by_text("First line.").click()
    await to_start_of_line(bob)
    await bob.keyboard.type("Bob here. ")
    await expect(text_of(ada)).to_contain_text("Bob here. First line.")
    await expect(ada.get_by_role("list", name="Also here")).to_contain_text("Bob Byte")
    await expect(ada.locator(".other-cursor")).to_have_attribute("data-name", "Bob Byte")
    await _without_a_server(pair, note_id)


async def _without_a_server(pair: Pair, note_id: str) -> None:
    """Both write on; one leaves the note, the other one's tab is closed. All of it is stored when the server is back."""
    ada, bob = pair.ada, pair.bob
    pair.complaints.expect(*LOST)
    pair.server.kill()
    await expect(state(ada)).to_contain_text("Not connected")
    await expect(state(bob)).to_contain_text("Not connected")
    await text_of(ada).press("End")
    await ada.keyboard.type(" Ada alone.")
    await text_of(bob).focus()
    await to_start_of_line(bob)
    await bob.keyboard.type("Bob alone. ")
    await ada.get_by_role("button", name="New chat").first.click()
    context = bob.context
    await bob.close()
    pair.server.start()
    await expect(ada.get_by_label("Your message")).to_be_visible()
    again = await context.new_page()
    await again.goto(pair.server.url)
    await expect(again.get_by_label("Your message")).to_be_visible()
    await again.goto(f"{pair.server.url}/notes/{note_id}")
    await expect(text_of(again)).to_contain_text("Ada alone.")
    await expect(text_of(again)).to_contain_text("Bob alone.")
    await expect(state(again)).to_have_text("Saved")
    assert await again.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('note:')).length") == 0
    text = (await note(pair, note_id))["data"]["content"]["md"]
    assert [text.count(words) for words in ("Bob here. ", "Ada alone.", "Bob alone.")] == [1, 1, 1]
