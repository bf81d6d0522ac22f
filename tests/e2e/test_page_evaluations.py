"""Ratings and figures on the built-in page: an answer is rated, and seen on the leaderboard; use is drawn and told."""

import httpx
import pytest
from playwright.async_api import expect

from tests.e2e.test_page_several import ask_others
from tests.e2e.test_page_tools import shot
from tests.support.page import Visit, running, settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_an_answer_is_rated_and_seen_on_the_leaderboard(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    await ask_others(page, "fixed")
    await visit.say("Say something")
    columns = page.locator(".column-row > .message")
    await expect(columns).to_have_count(2)
    await expect(running(page)).to_have_count(0)
    good, bad = (columns.first.get_by_role("button", name=f"{word} answer") for word in ("Good", "Bad"))
    await expect(good).to_have_attribute("aria-pressed", "false")
    # It is kept at once, and a reason may follow.
    await good.click()
    await expect(page.get_by_role("heading", name="What was good about it?")).to_be_visible()
    await page.get_by_text("Well explained").click()
    await page.get_by_label("In your own words").fill("Short and right")
    await shot(page, "rating")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(good).to_have_attribute("aria-pressed", "true")
    await expect(good).to_be_focused()
    await page.reload()
    await expect(good).to_have_attribute("aria-pressed", "true")
    # Another opinion takes its place; the same again takes it back.
    await bad.click()
    await page.get_by_role("button", name="Without a reason").click()
    await expect(bad).to_have_attribute("aria-pressed", "true")
    await bad.click()
    await expect(bad).to_have_attribute("aria-pressed", "false")
    await expect(good).to_have_attribute("aria-pressed", "false")
    await good.click()
    await page.get_by_role("button", name="Without a reason").click()
    await settings(page, "Ratings")
    board = page.get_by_role("group", name="Leaderboard").get_by_role("row")
    await expect(board).to_have_count(3)
    await expect(board.nth(1)).to_contain_text("echo1016")
    await expect(board.nth(2)).to_contain_text("fixed984")
    await expect(page.locator("svg.chart circle")).to_have_count(2)
    await shot(page, "leaderboard")
    await page.get_by_label("About a topic").fill("zebras")
    await expect(page.get_by_text("No ratings about this.")).to_be_visible()
    await page.get_by_label("About a topic").fill("")
    # The arena's switch puts a model of its own into the list.
    await page.get_by_role("switch", name="Offer arena models").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.get_by_role("button", name="Delete the rating of echo").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("Nobody has rated an answer yet.")).to_be_visible()


async def test_behind_an_arena_a_model_is_rated_that_nobody_named(visit: Visit) -> None:
    page = visit.page
    cookies = {c["name"]: c["value"] for c in await visit.context.cookies()}
    arena = {"id": "blind", "name": "Blind", "meta": {"description": "d", "model_ids": ["echo"]}}
    form = {"ENABLE_EVALUATION_ARENA_MODELS": True, "EVALUATION_ARENA_MODELS": [arena]}
    async with httpx.AsyncClient(
        base_url=visit.server.url, headers={"Authorization": f"Bearer {cookies['token']}"}
    ) as http:
        assert (await http.post("/api/v1/evaluations/config", json=form)).status_code == 200
        await page.reload()
        await visit.chat("Who are you?", "Blind")
        await page.get_by_role("button", name="Good answer").last.click()
        await page.get_by_role("button", name="Without a reason").click()
        (item,) = (await http.get("/api/v1/evaluations/feedbacks/list")).json()["items"]
    assert (item["meta"]["arena"], item["meta"]["model_id"], item["data"]["model_id"]) == (True, "blind", "echo")


async def test_use_is_drawn_and_told(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Hello", "echo")
    await settings(page, "Usage")
    await expect(page.locator("svg.chart rect")).to_have_count(1)
    models = page.get_by_role("group", name="Models").get_by_role("row")
    await expect(models.nth(1)).to_contain_text("echo1")
    await expect(page.get_by_role("group", name="People").get_by_role("row").nth(1)).to_contain_text("Ada Lovelace")
    await page.get_by_text("As a table").click()
    await expect(page.get_by_role("group", name="Answers over time").get_by_role("row")).to_have_count(2)
    await page.get_by_label("What").select_option("Tokens")
    await expect(page.get_by_role("heading", name="Tokens over time")).to_be_visible()
    await page.locator(".settings-panel select").first.select_option("Last day")
    await expect(page.get_by_role("group", name="People").get_by_role("row").nth(1)).to_contain_text("Ada Lovelace")
    await shot(page, "usage")
