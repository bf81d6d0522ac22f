"""What a person keeps with the account on the built-in page: a picture, and a key for programs."""

import re
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import EMAIL, PASSWORD, settings, sign_up
from tests.support.pictures import png
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@pytest_asyncio.fixture(loop_scope="session")
async def page(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> AsyncIterator[Page]:
    """The settings of the first account, at a server with API keys."""
    server = make_server(DATABASE_URL=database_url, ENABLE_API_KEYS="true").start()
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    # That there is no key yet is asked, and said with this status.
    complaints.expect("404 ")
    await settings(page, "Account")
    yield page
    await context.close()


async def refused(page: Page, key: str) -> int:
    """The status of a request of a program with this key."""
    address = page.url.split("/c/")[0].rstrip("/")
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{address}/api/models", headers={"Authorization": f"Bearer {key}"})).status_code


async def test_a_key_is_made_shown_once_replaced_and_deleted(page: Page) -> None:
    await expect(page.get_by_text("You have no key.")).to_be_visible()
    await page.get_by_role("button", name="Make a key", exact=True).click()
    field = page.get_by_label("Your new API key")
    await expect(field).to_be_focused()
    first = await field.input_value()
    await page.get_by_label("Copy the key").click()
    await expect(page.locator("#announcer")).to_contain_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == first
    assert await refused(page, first) == 200
    await page.get_by_role("button", name="Done", exact=True).click()
    await page.get_by_role("tab", name="General").click()
    await page.get_by_role("tab", name="Account").click()
    await expect(page.get_by_text("You have a key.")).to_be_visible()
    assert await page.get_by_text(first).count() == 0
    await page.get_by_role("button", name="Make a new key").click()
    await page.get_by_role("dialog", name="Make a new key?").get_by_role("button", name="Make a new key").click()
    second = await field.input_value()
    assert await refused(page, first) == 401
    assert await refused(page, second) == 200
    await page.get_by_role("button", name="Done", exact=True).click()
    await page.get_by_role("button", name="Delete the key").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("You have no key.")).to_be_visible()
    assert await refused(page, second) == 401


async def test_a_budget_of_keys(page: Page, complaints: Complaints) -> None:
    complaints.expect("409 ")
    await page.get_by_role("tab", name="Keys").click()
    await page.get_by_text("A new budget").click()
    await page.get_by_label("Name of the budget").fill("Small")
    await page.get_by_label("Requests a day").fill("5")
    await page.get_by_role("button", name="Make the budget").click()
    budget = page.locator(".settings-panel .row", has_text="Small")
    await expect(budget).to_contain_text("0 of 5 requests today")
    await page.get_by_label("Name", exact=True).fill("Build server")
    await page.get_by_role("combobox", name="Budget", exact=True).select_option("Small")
    await page.get_by_role("button", name="Make the key").click()
    key = page.locator(".settings-panel .row", has_text="Build server")
    await expect(key).to_contain_text("budget Small: 0 of 5 requests today")
    # It can't go while a key is in it.
    await page.get_by_label("Remove the budget Small").click()
    await expect(page.get_by_role("alert").filter(has_text="Keys or accounts are in this budget")).to_be_visible()
    await page.get_by_label("Revoke Build server").click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await page.get_by_label("Remove the budget Small").click()
    await expect(page.get_by_text("No budgets.")).to_be_visible()


async def test_keys_with_limits_and_sessions(page: Page) -> None:
    await page.get_by_role("tab", name="Keys").click()
    await page.get_by_label("Name", exact=True).fill("Build server")
    await page.get_by_text("Only for some things").click()
    await page.get_by_label("notes", exact=True).check()
    await page.get_by_role("button", name="Make the key").click()
    field = page.get_by_label("The new key")
    first = await field.input_value()
    assert await refused(page, first) == 403
    await expect(page.locator(".settings-panel .row")).to_contain_text("for notes")
    await page.get_by_label("New secret for Build server").click()
    await page.get_by_role("button", name="Make it", exact=True).click()
    await expect(field).not_to_have_value(first)
    assert await refused(page, first) == 401
    await page.get_by_label("Revoke Build server").click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await expect(page.get_by_text("None yet.")).to_be_visible()
    await page.get_by_role("tab", name="Sessions").click()
    rows = page.locator(".settings-panel .row")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("(this one)")
    async with httpx.AsyncClient(trust_env=False, base_url=page.url.split("/c/")[0].rstrip("/")) as client:
        form = {"email": EMAIL, "password": PASSWORD}
        token = (await client.post("/api/v1/auths/signin", json=form)).json()["token"]
        client.cookies.clear()
        signed = {"Authorization": f"Bearer {token}"}
        assert (await client.get("/api/models", headers=signed)).status_code == 200
        await page.get_by_role("button", name="Sign out everywhere else").click()
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page.get_by_text("You are signed in here alone.")).to_be_visible()
        assert (await client.get("/api/models", headers=signed)).status_code == 401
    await expect(rows).to_have_count(1)


async def test_a_picture_is_chosen_and_taken_away(page: Page) -> None:
    portrait = page.get_by_role("img", name="Your picture")
    plain = await portrait.get_attribute("src")
    for content, kind in ((b"no picture", "text/plain"), (png(size=40_000), "image/png")):
        async with page.expect_file_chooser() as choosing:
            await page.get_by_role("button", name="Choose a picture").click()
        await (await choosing.value).set_files({"name": "me.png", "mimeType": kind, "buffer": content})
        if kind == "text/plain":
            await expect(page.get_by_role("alert")).to_have_text("me.png is no picture that this browser can read.")
            await expect(portrait).to_have_attribute("src", str(plain))
    await expect(portrait).to_have_attribute("src", re.compile("^data:image/png"))
    await page.get_by_label("Name", exact=True).fill("Ada King")
    await page.get_by_role("button", name="Save profile").click()
    await expect(page.get_by_text("Profile saved.")).to_be_visible()
    await expect(page.locator(".account-name")).to_have_text("Ada King")
    await page.get_by_role("tab", name="General").click()
    await page.get_by_role("tab", name="Account").click()
    await expect(portrait).to_have_js_property("naturalWidth", 256)
    await page.get_by_role("button", name="No picture").click()
    await page.get_by_role("button", name="Save profile").click()
    await page.get_by_role("tab", name="General").click()
    await page.get_by_role("tab", name="Account").click()
    await expect(portrait).not_to_have_js_property("naturalWidth", 256)
