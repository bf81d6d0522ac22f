"""Skills on the built-in page: imported, written, compared, brought back, switched on for a chat, and deleted."""

import pytest
from playwright.async_api import expect

from tests.e2e.test_page_tools import CALLED, answered, shot, switch_on
from tests.open_webui.skills.test_packages import TEXT, packed
from tests.support.page import Visit, answer, settings
from tests.support.script import Finish, Text, ToolCall

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_the_life_of_a_skill(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Skills")
    # What is in a file is shown before it is taken in; the same file again is a copy, or takes the place of the first.
    archive = packed(("bread/SKILL.md", TEXT), ("bread/rye.md", "Rye"))
    file = {"name": "bread.zip", "mimeType": "application/zip", "buffer": archive}
    chooser = page.locator(".settings-panel input[type=file]")
    await chooser.set_input_files(file)
    await expect(page.get_by_text("Bakes it · 2 files")).to_be_visible()
    await shot(page, "skill-import")
    await page.get_by_role("button", name="Import", exact=True).click()
    await expect(page.get_by_text("1 of 1 imported.")).to_be_visible()
    visit.complaints.expect("400 ")
    await chooser.set_input_files({"name": "odd.zip", "mimeType": "application/zip", "buffer": b"PK"})
    await expect(page.get_by_text("is no ZIP archive")).to_be_visible()
    await chooser.set_input_files(file)
    await expect(page.get_by_label("What to do with bread")).to_have_value("replace")
    await page.get_by_role("button", name="All skills").click()
    await shot(page, "skills")
    # One that is written.
    await page.get_by_role("button", name="Write a skill").click()
    await page.get_by_label("Name", exact=True).fill("Good tea")
    await expect(page.get_by_label("Id", exact=True)).to_have_value("good-tea")
    await page.get_by_label("When it is used").fill("Making tea")
    await page.get_by_label("Instructions").fill("# Tea\n\nBoil water.")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    await page.locator(".settings-panel input[type=file]").set_input_files(
        {"name": "leaf.txt", "mimeType": "text/plain", "buffer": b"Green"}
    )
    await expect(page.get_by_role("button", name="Remove leaf.txt")).to_be_visible()
    await page.get_by_label("Instructions").fill("# Tea\n\nBoil milk.")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(2)
    await page.get_by_role("button", name="Compare").last.click()
    await expect(page.locator(".diff")).to_contain_text("+Boil milk.")
    await expect(page.locator(".diff")).to_contain_text("leaf.txt (added)")
    await shot(page, "skill-compared")
    await page.get_by_role("button", name="Restore the earlier one").click()
    await expect(page.get_by_role("button", name="Remove leaf.txt")).to_have_count(0)
    await expect(page.get_by_label("Instructions")).to_have_value("# Tea\n\nBoil water.")
    await shot(page, "skill")
    await page.get_by_role("button", name="Delete this skill").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("Good tea")).to_have_count(0)
    await page.keyboard.press("Escape")
    # In a chat.
    await switch_on(page, "bread")
    visit.upstream.rounds = [
        [ToolCall("view_skill", ('{"id": "bread"}',), "c1"), CALLED],
        [Text("Baked."), Finish("stop")],
    ]
    await visit.say("How do I bake?", "rounds")
    await expect(answer(page)).to_have_text("Baked.")
    await answered(page)
    asked = [str(chat.body["messages"][0]["content"]) for chat in visit.upstream.chats]
    assert any("<id>bread</id>" in text for text in asked)


async def test_what_goes_wrong_with_skills_is_said_and_can_be_tried_again(visit: Visit) -> None:
    page, request = visit.page, visit.context.request
    url = f"{visit.server.url}/api/v1/skills"
    for n in range(32):
        form = {"id": f"s{n:02}", "name": f"Skill {n:02}", "description": "d" * 3_000, "content": "# x"}
        assert (await request.post(f"{url}/create", data=form)).ok
    await settings(page, "Skills")
    rows = page.locator(".settings-panel li.row")
    await expect(rows).to_have_count(30)
    # A page of the list that could not be had is asked for again, and not passed over.
    visit.complaints.expect("ERR_FAILED")
    await page.route("**/skills/list?page=2", lambda route: route.abort(), times=1)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator(".toast[data-kind=error]")).to_be_visible()
    await page.get_by_role("button", name="Show more").click()
    await expect(rows).to_have_count(32)
    # A description that is longer than a line can be kept, and files that are too large are told before they are read.
    await page.get_by_text("Skill 00").click()
    await page.get_by_label("Instructions").fill("# y")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(1)
    await page.locator(".settings-panel input[type=file]").set_input_files(
        {"name": "large.bin", "mimeType": "application/octet-stream", "buffer": bytes(11 * 2**20)}
    )
    await expect(page.get_by_text("The files of a skill may have 10 MB together.")).to_be_visible()
    # Earlier versions than those of the first page are there, too.
    for n in range(32):
        form = {"id": "s01", "name": "Skill 01", "content": f"# {n}"}
        assert (await request.post(f"{url}/id/s01/update", data=form)).ok
    await page.get_by_role("button", name="All skills").click()
    await page.get_by_text("Skill 01").click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(29)
    await page.get_by_role("button", name="Show earlier ones").click()
    await expect(page.get_by_role("button", name="Compare")).to_have_count(32)
    await expect(page.get_by_role("button", name="Show earlier ones")).to_be_hidden()
