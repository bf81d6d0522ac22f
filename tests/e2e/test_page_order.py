"""Tags and folders put the chats of the built-in page in order: by menu, by keyboard and by dragging."""

import pytest
from playwright.async_api import Page, expect

from tests.support.page import Visit, menu

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def chats(visit: Visit, *titles: str) -> None:
    """Chats of these titles, each with one question; the list shows them."""
    for title in titles:
        message = {"id": "m", "role": "user", "content": f"About {title}", "parentId": None}
        chat = {"title": title, "history": {"currentId": "m", "messages": {"m": message}}}
        assert (await visit.context.request.post(f"{visit.server.url}/api/v1/chats/new", data={"chat": chat})).ok
    await visit.page.reload()
    await expect(visit.page.locator(".chat-row")).to_have_count(len(titles))


async def option(page: Page, opener: str, item: str) -> None:
    await page.get_by_label(opener, exact=True).focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("menuitem", name=item, exact=True).click()


async def make_folder(page: Page, name: str) -> None:
    await option(page, "Folders and tags", "New folder")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()


async def test_tags_are_given_taken_and_filter_the_list(visit: Visit) -> None:
    page = visit.page
    await chats(visit, "First", "Second")
    await option(page, "Folders and tags", "Chats with a tag")
    await expect(page.get_by_text("No chat has a tag yet")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.get_by_role("link", name="First").click()
    await menu(page, "Tags")
    await expect(page.get_by_label("New tag")).to_be_focused()
    for name in ("Deep Sea", "work"):
        await page.keyboard.type(name)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    await page.get_by_label("Remove work").click()
    await expect(page.locator(".chip")).to_have_count(1)
    await page.keyboard.press("Escape")
    await option(page, "Folders and tags", "Chats with a tag")
    await expect(page.get_by_role("button", name="Deep Sea", exact=True)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".chat-title")).to_have_text(["First"])
    await page.get_by_label("Show all chats").click()
    await expect(page.locator(".chat-title")).to_have_count(2)


async def test_a_tag_that_can_not_be_is_refused_with_a_sentence(visit: Visit) -> None:
    visit.complaints.expect("400 ")
    page = visit.page
    await chats(visit, "First")
    await page.get_by_role("link", name="First").click()
    await menu(page, "Tags")
    await expect(page.get_by_label("New tag")).to_be_focused()
    await page.keyboard.type("None")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("A tag can't be named so.")
    await expect(page.get_by_label("New tag")).to_have_value("None")


async def test_folders_are_made_filled_renamed_and_emptied(visit: Visit) -> None:
    page = visit.page
    visit.complaints.expect("400 ")
    await chats(visit, "First", "Second", "Third")
    await make_folder(page, "Work")
    await option(page, "Folders and tags", "New folder")
    await page.get_by_label("Name", exact=True).fill("Work")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("There is a folder with this name here already.")
    # The name stays there to be changed.
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Work")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    # By menu.
    await page.get_by_role("link", name="First").click()
    await menu(page, "Move to a folder")
    await expect(page.get_by_role("button", name="Work", exact=True).last).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".chat-list .chat-row")).to_have_count(2)
    folder = page.locator(".folder")
    await folder.get_by_role("button", name="Work", exact=True).press("Enter")
    await expect(folder.locator(".chat-title")).to_have_text(["Work", "First"])
    # By dragging, in and out.
    await page.get_by_role("link", name="Second").drag_to(folder.locator(".folder-head"))
    await expect(folder.locator(".chat-row")).to_have_count(2)
    await folder.get_by_role("link", name="First").drag_to(page.get_by_role("link", name="Third"))
    await expect(folder.locator(".chat-row")).to_have_count(1)
    await expect(page.locator(".chat-list .chat-row")).to_have_count(2)
    # Open stays open.
    await page.reload()
    await expect(folder.locator(".chat-row")).to_have_count(1)
    await folder.get_by_role("button", name="Work", exact=True).click()
    await expect(folder.locator(".chat-row")).to_have_count(0)
    await page.reload()
    await expect(folder.get_by_role("button", name="Work", exact=True)).to_have_attribute("aria-expanded", "false")
    await option(page, "Options for the folder Work", "Rename")
    await page.get_by_label("Name", exact=True).fill("Leisure")
    await page.keyboard.press("Enter")
    await option(page, "Options for the folder Leisure", "New folder inside")
    await page.get_by_label("Name", exact=True).fill("Inner")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Leisure", exact=True).click()
    await expect(page.get_by_role("button", name="Inner", exact=True)).to_be_visible()
    await option(page, "Options for the folder Leisure", "Delete")
    await page.get_by_role("button", name="Keep the chats").click()
    await expect(folder).to_have_count(0)
    await expect(page.locator(".chat-list .chat-row")).to_have_count(3)


async def test_a_list_that_changes_meanwhile_ends_no_drag(visit: Visit) -> None:
    page = visit.page
    await chats(visit, "First", "Second")
    await make_folder(page, "Work")
    first = page.get_by_role("link", name="First")
    await first.hover()
    await page.mouse.down()
    head = page.locator(".folder-head")
    await head.hover()
    await expect(head).to_have_attribute("data-over", "")
    chat_id = (await first.get_attribute("href") or "").removeprefix("/c/")
    # The list that is waited for is none that was asked for before.
    await visit.complaints.silence()
    async with page.expect_response(lambda reply: "/api/v1/chats/?page=1" in reply.url) as listed:
        renamed = {"chat": {"title": "Renamed"}}
        assert (await visit.context.request.post(f"{visit.server.url}/api/v1/chats/{chat_id}", data=renamed)).ok
    assert (await (await listed.value).body()).count(b"Renamed") == 1
    # What the list is drawn with has come; it is drawn once the row has been dropped.
    await page.evaluate("new Promise(requestAnimationFrame)")
    await expect(page.get_by_role("link", name="Renamed")).to_have_count(0)
    await page.mouse.up()
    await expect(page.locator(".chat-list .chat-title")).to_have_text(["Second"])


async def test_a_folder_is_deleted_with_the_chat_that_is_open(visit: Visit) -> None:
    page = visit.page
    await chats(visit, "First", "Second")
    await page.get_by_role("link", name="First").click()
    await menu(page, "Move to a folder")
    await page.get_by_role("button", name="New folder").click()
    await page.get_by_label("Name", exact=True).fill("Old")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Moved to Old.")).to_be_visible()
    await option(page, "Options for the folder Old", "Delete")
    await page.get_by_role("button", name="Delete the chats").click()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    await expect(page.locator(".chat-title")).to_have_text(["Second"])
