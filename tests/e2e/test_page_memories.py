"""Memory on the built-in page: kept, searched, changed and deleted in the settings, told in an answer, and switched off."""

import pytest
from playwright.async_api import expect

from tests.support.page import Visit, settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


def told_to(visit: Visit, question: str) -> bool:
    """Whether the model was told of the cat with a question."""
    asked = [chat.body["messages"] for chat in visit.upstream.chats if chat.body["messages"][-1]["content"] == question]
    assert asked, question
    return "Has a cat named Tim" in str(asked[0])


async def test_the_life_of_a_memory(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Memory")
    panel = page.locator(".settings-panel")
    await expect(panel.get_by_text("Nothing yet.")).to_be_visible()
    for text in ("Likes green tea", "Has a cat named Tom"):
        await panel.get_by_label("What is to be remembered").fill(text)
        await panel.get_by_role("button", name="Add", exact=True).click()
        await expect(panel.locator("li.row", has_text=text)).to_be_visible()
    # It is found by parts of words, changed and left as it was.
    await panel.get_by_label("Search memories").fill("cat")
    await expect(panel.locator("li.row")).to_have_count(1)
    await panel.get_by_label("Search memories").fill("dinghy")
    await expect(panel.get_by_text("None has these words.")).to_be_visible()
    await panel.get_by_label("Search memories").fill("")
    await expect(panel.locator("li.row")).to_have_count(2)
    await panel.get_by_label("Change “Has a cat named Tom”").click()
    row = panel.locator("li.row", has=page.get_by_role("button", name="Save", exact=True))
    await row.get_by_label("What is to be remembered").fill("Has a cat named Tim")
    await row.get_by_label("When models are told").select_option("user")
    await row.get_by_role("button", name="Save", exact=True).click()
    changed = panel.locator("li.row", has_text="Has a cat named Tim")
    await expect(changed).to_contain_text("With every question")
    visit.complaints.expect("400 ")
    await panel.get_by_label("What is to be remembered").first.fill(" ")
    await panel.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_text("A memory needs a text.")).to_be_visible()
    async with page.expect_download() as downloading:
        await panel.get_by_role("button", name="Export").click()
    assert (await downloading.value).suggested_filename == "memories.json"
    await page.keyboard.press("Escape")
    # Models are told, and the answer says so; after a reload, too.
    await visit.chat("What do you know of me?")
    assert told_to(visit, "What do you know of me?")
    await expect(page.get_by_text("2 memories were used")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("2 memories were used")).to_be_visible()
    # Where one doesn't want it, they are not.
    await settings(page, "Memory")
    async with page.expect_response("**/user/settings/update"):
        await panel.get_by_role("switch", name="Use memories in my answers").click()
    await page.keyboard.press("Escape")
    await visit.chat("And now?")
    await expect(page.get_by_label("Copy answer")).to_have_count(2)
    assert not told_to(visit, "And now?")
    await page.reload()
    await settings(page, "Memory")
    await expect(panel.get_by_role("switch", name="Use memories in my answers")).not_to_be_checked()
    await panel.get_by_label("Delete “Likes green tea”").click()
    await expect(panel.locator("li.row")).to_have_count(1)
    await panel.get_by_role("button", name="Delete all").click()
    await page.get_by_role("dialog", name="Delete all memories?").get_by_role("button", name="Delete all").click()
    await expect(panel.get_by_text("Nothing yet.")).to_be_visible()
