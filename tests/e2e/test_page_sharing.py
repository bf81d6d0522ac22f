"""Sharing a chat in the built-in page: two people and a stranger, each in a browser of their own."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, answer, sign_in, sign_up
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
MESSAGES = {
    "q": {"id": "q", "role": "user", "content": "What?", "parentId": None, "childrenIds": ["a"]},
    "a": {"id": "a", "role": "assistant", "model": "echo", "content": "Shared words", "parentId": "q", "done": True},
}


@dataclass(frozen=True)
class Sharing:
    """An administrator with a chat, a user named Bob, and a browser of his where nobody is signed in."""

    page: Page
    bob: BrowserContext
    server: Server
    complaints: Complaints
    chat: str

    async def open(self, address: str) -> Page:
        return await browsers.open_page(self.bob, self.complaints, address)

    async def dialog(self, page: Page) -> None:
        await page.locator(".topbar").get_by_label("Options for this chat").click()
        await page.get_by_role("menuitem", name="Share").click()

    async def choose(self, audience: str) -> str:
        """Lets others read the chat; the link of it."""
        await self.page.get_by_role("radio", name=audience).check()
        return await self.page.get_by_label("Link", exact=True).input_value()


@pytest_asyncio.fixture(loop_scope="session")
async def sharing(
    browser: Browser, server: Server, upstream: Upstream, complaints: Complaints
) -> AsyncIterator[Sharing]:
    complaints.expect("401 ")
    ada = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await browsers.open_page(ada, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "user"}
    assert (await ada.request.post(f"{server.url}/api/v1/auths/add", data=person)).ok
    chat = {"chat": {"title": "A chat", "history": {"currentId": "a", "messages": MESSAGES}}}
    made = await (await ada.request.post(f"{server.url}/api/v1/chats/new", data=chat)).json()
    await page.goto(f"{server.url}/c/{made['id']}")
    bob = await browser.new_context()
    sharing = Sharing(page, bob, server, complaints, made["id"])
    await sharing.dialog(page)
    yield sharing
    await ada.close()
    await bob.close()


async def test_a_stranger_signs_in_at_the_link_and_reads_the_chat(sharing: Sharing) -> None:
    link = await sharing.choose("Everybody with an account")
    await sharing.page.get_by_role("button", name="Copy link").click()
    await expect(sharing.page.locator("#announcer")).to_contain_text("Copied")
    assert await sharing.page.evaluate("navigator.clipboard.readText()") == link
    bob = await sharing.open(link)
    await expect(bob.get_by_text("Sign in to read this chat")).to_be_visible()
    await sign_in(bob, BOB)
    await expect(answer(bob)).to_have_text("Shared words")
    assert bob.url == link
    assert await bob.get_by_label("Your message").count() == 0
    await bob.get_by_role("button", name="Continue this chat").click()
    await expect(bob).to_have_url(re.compile("/c/"))
    await expect(bob.get_by_label("Your message")).to_be_visible()


async def test_anybody_reads_it_by_the_link_and_may_sign_in_there(sharing: Sharing) -> None:
    link = await sharing.choose("Anybody with the link")
    bob = await sharing.open(link)
    await expect(answer(bob)).to_have_text("Shared words")
    await bob.get_by_role("button", name="Sign in").click()
    await sign_in(bob, BOB)
    await expect(bob.get_by_role("button", name="Continue this chat")).to_be_visible()
    assert bob.url == link


async def test_only_the_chosen_read_it_and_others_are_told_so(sharing: Sharing) -> None:
    page = sharing.page
    link = await sharing.choose("Everybody with an account")
    async with page.expect_response(re.compile("/access/update$")):
        await page.get_by_role("radio", name="Only me").check()
    bob = await sharing.open(link)
    await sign_in(bob, BOB)
    await expect(bob.get_by_text("It is not shared with you, or it is no longer shared.")).to_be_visible()
    await page.get_by_role("radio", name="Chosen people and groups").check()
    await page.get_by_label("Find people and groups").fill("bo")
    await page.get_by_role("button", name="Bob").click()
    await expect(page.get_by_label("Take Bob off the list")).to_be_visible()
    await bob.reload()
    await expect(answer(bob)).to_have_text("Shared words")
    # What was chosen is there when the dialog is opened anew, with the person's name.
    await page.keyboard.press("Escape")
    await sharing.dialog(page)
    await expect(page.get_by_role("radio", name="Chosen people and groups")).to_be_checked()
    await page.get_by_label("Take Bob off the list").click()
    await expect(page.get_by_label("Take Bob off the list")).to_have_count(0)
    await bob.reload()
    await expect(bob.get_by_text("It is not shared with you")).to_be_visible()


async def test_the_shared_copy_is_brought_up_to_date_and_its_sharing_ends(sharing: Sharing) -> None:
    page = sharing.page
    link = await sharing.choose("Anybody with the link")
    bob = await sharing.open(link)
    await expect(answer(bob)).to_have_text("Shared words")
    await page.keyboard.press("Escape")
    await page.get_by_label("Your message").fill("More words")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message")).to_have_count(4)
    await expect(page.locator(".message[data-running]")).to_have_count(0)
    await bob.reload()
    await expect(bob.locator(".message")).to_have_count(2)
    await sharing.dialog(page)
    await page.get_by_role("button", name="Update the shared copy").click()
    await expect(page.get_by_text("The link shows the chat as it is now.")).to_be_visible()
    await bob.reload()
    await expect(bob.locator(".message")).to_have_count(4)
    await page.get_by_role("button", name="End sharing").click()
    await page.get_by_role("dialog", name="End sharing?").get_by_role("button", name="End sharing").click()
    await expect(page.get_by_text("The chat is no longer shared.")).to_be_visible()
    await expect(page.get_by_role("radio", name="Only me")).to_be_checked()
    await expect(page.get_by_label("Link", exact=True)).to_have_count(0)
    await bob.reload()
    await expect(bob.get_by_text("Sign in to read this chat")).to_be_visible()


async def test_who_may_not_share_with_all_is_not_offered_it(sharing: Sharing) -> None:
    bob = await sharing.open(sharing.server.url)
    await sign_in(bob, BOB)
    await expect(bob.locator(".account-name")).to_have_text("Bob")
    chat = {"chat": {"title": "Bob's", "history": {"currentId": "a", "messages": MESSAGES}}}
    made = await (await sharing.bob.request.post(f"{sharing.server.url}/api/v1/chats/new", data=chat)).json()
    await bob.goto(f"{sharing.server.url}/c/{made['id']}")
    await sharing.dialog(bob)
    await expect(bob.get_by_role("radio")).to_have_count(2)
    await expect(bob.get_by_role("radio", name="Only me")).to_be_checked()
