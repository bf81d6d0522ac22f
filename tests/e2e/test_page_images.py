"""Pictures on the built-in page: set up by an admin, made for a question, shown small, and found again."""

import json
import re

import pytest
from playwright.async_api import expect

from tests.e2e.test_page_tools import CALLED, answered, shot
from tests.support.engines import engines
from tests.support.page import Visit, settings
from tests.support.pictures import png
from tests.support.script import Finish, Text, ToolCall

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_a_picture_is_made_shown_and_found_again(visit: Visit) -> None:
    page = visit.page
    async with engines() as engine:
        engine.pictures = [png(3, 200_000)]
        await settings(page, "Pictures")
        await expect(page.get_by_text("No pictures were made for you yet.")).to_be_visible()
        form = page.locator("form", has=page.get_by_label("A model writes the prompt"))
        await form.get_by_label("Engine").select_option("comfyui")
        await expect(form.get_by_label("Workflow, in API format")).to_be_visible()
        await form.get_by_label("Engine").select_option("openai")
        await form.get_by_label("Switched on").check()
        await form.get_by_label("A model writes the prompt").uncheck()
        await form.get_by_label("Address").and_(form.locator(":visible")).fill(engine.url)
        await shot(page, "pictures-settings")
        await form.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Settings saved.")).to_be_visible()
        await page.reload()
        make = page.get_by_role("button", name="Make a picture")
        await make.click()
        await expect(make).to_have_attribute("aria-pressed", "true")
        call = ToolCall("generate_image", (json.dumps({"prompt": "A cat"}),), "c1")
        visit.upstream.rounds = [[call, CALLED], [Text("There it is."), Finish("stop")]]
        await visit.say("Draw a cat", "rounds")
        await answered(page)
        shown = page.locator(".pictures a img")
        await expect(shown).to_have_attribute("src", re.compile(r"/content\?thumbnail=true$"))
        await settings(page, "Pictures")
        await expect(page.get_by_role("link", name="A cat").get_by_role("img")).to_be_visible()
        await shot(page, "pictures")
        assert engine.bodies("/images/generations")[0]["prompt"] == "A cat"
