"""What the built-in page tells by itself: reminders of calendars, and the places where somebody wants to be told."""

import time
from collections.abc import Callable

import pytest
from playwright.async_api import Page, expect

from tests.support.page import Pair, settings
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@pytest.fixture
def server(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> Server:
    return make_server(
        DATABASE_URL=database_url,
        OPENAI_API_BASE_URLS=upstream.openai_url,
        OPENAI_API_KEYS="sk-upstream",
        ENABLE_USER_WEBHOOKS="true",
    ).start()


async def test_reminders_and_places(pair: Pair) -> None:
    page = pair.ada
    [calendar, *_] = await pair.api(page, "/calendars/")
    begin = time.time_ns() + 300 * 10**9
    event = {"calendar_id": calendar["id"], "title": "Ferry", "location": "Pier 3", "start_at": begin, "all_day": False}
    await pair.api(page, "/calendars/events/create", **event, end_at=begin + 60 * 10**9)
    reminder = page.get_by_role("alert")
    await expect(reminder).to_contain_text("Ferry begins in 5 minutes")
    await expect(reminder).to_contain_text("Pier 3")
    await page.get_by_label("Close the reminder of Ferry").click()
    await expect(reminder).to_have_count(0)
    # It is hers alone.
    await expect(pair.bob.get_by_role("alert")).to_have_count(0)
    await _places(page)


async def _places(page: Page) -> None:
    await settings(page, "Notifications")
    await page.get_by_label("Kind of place").select_option(label="This page, in all your tabs")
    await page.get_by_label("Name").fill("here")
    await page.get_by_role("button", name="Add a place").click()
    place = page.locator(".target", has_text="here")
    await expect(place).to_contain_text("used where none is named")
    await expect(place.get_by_role("switch", name="Chat finished")).to_be_checked()
    await place.get_by_role("switch", name="Chat finished").click()
    await place.get_by_label("When here is told").select_option(label="Always")
    await page.get_by_label("Options for here").click()
    await page.get_by_role("menuitem", name="Send a test").click()
    await expect(page.get_by_text("If you can read this, notifications reach you here.")).to_be_visible()
    # After a look at another tab it is as it was left.
    await page.get_by_role("tab", name="Account", exact=True).click()
    await page.get_by_role("tab", name="Notifications", exact=True).click()
    await expect(place.get_by_role("switch", name="Chat finished")).not_to_be_checked()
    await expect(place.get_by_role("switch", name="Calendar reminder")).to_be_checked()
    await expect(place.get_by_label("When here is told")).to_have_value("always")
    await page.get_by_label("Options for here").click()
    await page.get_by_role("menuitem", name="Remove").click()
    await page.get_by_role("button", name="Remove", exact=True).click()
    await expect(page.get_by_text("Nowhere yet.")).to_be_visible()
