"""People in an administrator's settings: let in, given a new password, by keyboard too; and all their chats exported."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, settings, sign_in, sign_up
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@dataclass(frozen=True)
class Office:
    """An administrator's page; Bob has an account, and waits."""

    page: Page
    server: Server
    browser: Browser
    complaints: Complaints

    async def bob(self, password: str = PASSWORD) -> Page:
        """Bob's browser, after he tried to sign in."""
        self.complaints.expect("401 ", "400 ")
        page = await browsers.open_page(await self.browser.new_context(), self.complaints, self.server.url)
        await sign_in(page, BOB, password)
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def office(
    browser: Browser, make_server: Callable[..., Server], database_url: str, upstream: Upstream, complaints: Complaints
) -> AsyncIterator[Office]:
    server = make_server(DATABASE_URL=database_url, OPENAI_API_BASE_URLS=upstream.openai_url).start()
    context = await browser.new_context()
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "pending"}
    assert (await context.request.post(f"{server.url}/api/v1/auths/add", data=person)).ok
    yield Office(page, server, browser, complaints)
    for each in browser.contexts:
        await each.close()


async def test_who_waits_comes_first_and_is_let_in_by_keyboard(office: Office) -> None:
    page = office.page
    await settings(page, "People")
    await expect(page.get_by_text("2 people, 1 waiting to be let in")).to_be_visible()
    await expect(page.locator(".rows .row").first).to_contain_text("Bob")
    await page.get_by_role("button", name="Let Bob in").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Bob is now user.")).to_be_visible()
    await expect(page.get_by_label("Role of Bob")).to_be_focused()
    await expect(page.get_by_label("Role of Bob")).to_have_value("user")
    await expect(page.get_by_text("2 people", exact=True)).to_be_visible()
    # Nothing is open to Bob yet, and the page says whose turn it is.
    bob = await office.bob()
    await expect(bob.get_by_role("heading", name="No model yet")).to_be_visible()
    await expect(bob.get_by_text("An administrator has to connect a model, or let you use one")).to_be_visible()


async def test_a_new_password_signs_somebody_out_and_lets_them_in_again(office: Office) -> None:
    page = office.page
    bob = await office.bob()
    await expect(bob.get_by_role("heading", name="Almost there")).to_be_visible()
    await settings(page, "People")
    await page.get_by_role("button", name="New password for Bob").click()
    dialog = page.get_by_role("dialog", name="New password")
    await expect(dialog.get_by_label("New password")).to_be_focused()
    await page.keyboard.type("quite another password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Bob has a new password.")).to_be_visible()
    await expect(dialog).to_have_count(0)
    await bob.reload()
    await sign_in(bob, BOB)
    await expect(bob.get_by_role("alert")).to_be_visible()
    await sign_in(bob, BOB, "quite another password")
    await expect(bob.get_by_role("heading", name="Almost there")).to_be_visible()
    # One's own is changed with the old one, under Account.
    await expect(page.get_by_role("button", name="New password for Ada Lovelace")).to_be_disabled()


async def test_a_refused_change_is_said_in_words_and_taken_back(office: Office) -> None:
    page = office.page
    office.complaints.expect("404 ", "400 ", "401 ")
    await settings(page, "People")
    await expect(page.get_by_label("Role of Bob")).to_have_value("pending")
    gone = await page.evaluate("fetch('/api/v1/users/').then((reply) => reply.json())")
    [bob] = [user["id"] for user in gone["users"] if user["email"] == BOB]
    assert (await page.context.request.delete(f"{office.server.url}/api/v1/users/{bob}")).ok
    await page.get_by_label("Role of Bob").select_option("admin")
    await expect(page.get_by_role("alert")).to_contain_text(".")
    await expect(page.get_by_label("Role of Bob")).to_have_value("pending")


async def test_an_admin_exports_everybodys_chats_where_that_is_allowed(office: Office, tmp_path: Path) -> None:
    page = office.page
    await settings(page, "People")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export everybody’s chats").click()
    download = await started.value
    assert download.suggested_filename == "all-chats.json"
    await download.save_as(tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text()) == []


async def test_what_was_done_is_found_and_checked(office: Office) -> None:
    page = office.page
    await settings(page, "Audit record")
    made = page.get_by_role("listitem").filter(has_text=f"{EMAIL}: create user")
    await expect(made).to_contain_text("127.0.0.1")
    await made.locator("summary").click()
    await expect(made).to_contain_text(BOB)
    await page.get_by_label("Action").fill("sign-up")
    await page.get_by_role("button", name="Find", exact=True).click()
    await expect(made).to_have_count(0)
    await expect(page.get_by_role("listitem").filter(has_text=f"{EMAIL}: sign-up")).to_have_count(1)
    href = await page.get_by_role("link", name="Export these as lines of JSON").get_attribute("href")
    assert href == "/api/v1/audit/export?action=sign-up"
    await page.get_by_role("button", name="Check the record").click()
    await expect(page.get_by_text("The record is whole")).to_be_visible()
