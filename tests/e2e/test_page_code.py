"""Code on the built-in page: switched on for a question, shown folded with what came of it, and set up by an admin."""

import json

import pytest
from playwright.async_api import expect

from tests.e2e.test_page_tools import CALLED, answered, shot
from tests.support.page import Visit, settings
from tests.support.script import Finish, Text, ToolCall

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
DRAWS = """from PIL import Image
print('drawing')
Image.effect_noise((90, 60), 50).save('noise.png')
open('a.csv', 'w').write('1')"""


async def test_code_is_run_and_shown_and_an_admin_chooses_by_what(visit: Visit) -> None:
    page = visit.page
    call = [ToolCall("execute_code", (json.dumps({"code": DRAWS}),), "c1"), CALLED]
    visit.upstream.rounds = [call, [Text("There it is."), Finish("stop")]]
    run = page.get_by_role("button", name="Let the model run code")
    await run.click()
    await expect(run).to_have_attribute("aria-pressed", "true")
    await visit.say("Draw", "rounds")
    await answered(page)
    line = page.locator(".call").last
    await line.get_by_text("Ran Python").click()
    await expect(line.locator("pre").first).to_contain_text("print('drawing')\nImage")
    await expect(line.locator("pre").nth(1)).to_have_text("drawing\n1")
    await expect(line.get_by_role("img")).to_be_visible()
    await expect(page.get_by_role("list", name="Attached files")).to_contain_text("a.csv")
    await shot(page, "ran")
    await settings(page, "Code")
    form = page.locator("form", has=page.get_by_label("What runs it")).first
    await form.get_by_label("What runs it").select_option("jupyter")
    await form.get_by_label("What it asks for").select_option("token")
    await expect(form.get_by_role("textbox", name="Token")).to_be_visible()
    await expect(form.get_by_role("textbox", name="Password")).to_be_hidden()
    await shot(page, "code-settings")
    await form.get_by_label("What runs it").select_option("pyodide")
    await form.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Settings saved.")).to_be_visible()
    await page.keyboard.press("Escape")
    visit.upstream.rounds = [call, [Text("So be it."), Finish("stop")]]
    await visit.say("Again")
    await answered(page)
    await page.locator(".call").last.get_by_text("Ran Python").click()
    await expect(page.locator(".call").last).to_contain_text("This page has no Python.")
