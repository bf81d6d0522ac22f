"""The unmodified official frontend's other pages: people and groups, settings, notes, folders, calendars, channels, models."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.official.driver import PASSWORD, Frontend, asked_for, typed

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("official")]
# Pages that are saved, and those that are only opened.
SAVED = (
    "General", "Authentication", "Interface", "Connections", "Sub-agents", "Documents", "Web Search", "Code Execution",
    "Evaluations",
)  # fmt: skip
# What the frontend adds where nothing stood: both say what holds without them.
FILLED_IN = {"chat.context_compaction.token_cap", "openai.api_configs"}


def note(page: Page) -> Any:
    return page.locator(".ProseMirror")


async def allow(frontend: Frontend, name: str) -> None:
    """Switches on a setting of the page about authentication."""
    path = "/api/v1/auths/admin/config"
    await frontend.request("POST", path, {**await frontend.request("GET", path, None), name: True})


async def test_a_person_is_added_found_put_on_hold_and_deleted(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    await frontend.open("/admin/users")
    await page.get_by_role("button", name="Add User").click()
    await dialog.get_by_label("Name").fill("Grace Hopper")
    await dialog.get_by_placeholder("Enter Your Email").fill("grace@example.com")
    await dialog.locator("input[type=password]").fill(PASSWORD)
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("grace@example.com")).to_be_visible()
    await page.get_by_role("textbox", name="Search").fill("grace")
    await expect(page.get_by_text("ada@example.com")).to_have_count(0)
    row = page.get_by_role("row", name="Grace Hopper")
    await row.get_by_role("button", name="Chats").click()
    await expect(dialog.get_by_text("Grace Hopper").first).to_be_visible()
    await frontend.complaints.silence()
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="Edit User").click()
    await dialog.get_by_label("Role").select_option("pending")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row.get_by_role("button", name="Change User Role")).to_have_text("pending")
    await row.get_by_role("button", name="Delete User").click()
    await page.get_by_role("button", name="Confirm").click()
    await expect(row).to_have_count(0)
    await frontend.complaints.silence()


async def test_who_waits_to_be_let_in_is_told_so_and_comes_back_to_the_address(frontend: Frontend) -> None:
    """Who has no token is sent to sign in, and then to where they wanted."""
    made = {"name": "Pen Ding", "email": "pen@example.com", "password": PASSWORD, "role": "pending"}
    account = await frontend.request("POST", "/api/v1/auths/add", made)
    browser = frontend.context.browser
    assert browser is not None
    async with await browser.new_context() as context:
        page = await context.new_page()
        frontend.complaints.listen(page)
        await page.goto(f"{frontend.server.url}/workspace")
        await expect(page).to_have_url(re.compile(r"/auth\?redirect=%2Fworkspace"))
        await page.get_by_label("Email").fill("pen@example.com")
        await page.locator("#password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name="Check Again")).to_be_visible()
        update = {"name": "Pen Ding", "email": "pen@example.com", "role": "user", "profile_image_url": ""}
        await frontend.request("POST", f"/api/v1/users/{account['id']}/update", update)
        await page.get_by_role("button", name="Check Again").click()
        await page.goto(frontend.server.url)
        await expect(page.locator("#chat-input")).to_be_visible()
        await frontend.complaints.silence()
    await frontend.request("DELETE", f"/api/v1/users/{account['id']}", None)


async def test_a_group_is_made_and_its_rights_and_everybodys_are_set(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    before = await frontend.request("GET", "/api/v1/users/default/permissions", None)
    await frontend.open("/admin/users/groups")
    await page.get_by_role("button", name="New Group").click()
    await dialog.get_by_placeholder("Group Name").fill("Readers")
    await dialog.get_by_role("button", name="Permissions").click()
    await dialog.get_by_role("switch", name="Models Access").click()
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/groups/create")) as creating:
        await dialog.get_by_role("button", name="Save").click()
    made = await (await creating.value).json()
    assert made["permissions"]["workspace"]["models"] is True
    await expect(page.get_by_role("group", name="Readers")).to_be_visible()
    await page.get_by_text("Default permissions").click()
    await dialog.get_by_role("switch", name="Prompts Access").click()
    async with page.expect_response(lambda r: r.url.endswith("/users/default/permissions")):
        await dialog.get_by_role("button", name="Save").click()
    after = await frontend.request("GET", "/api/v1/users/default/permissions", None)
    assert after == before | {"workspace": before["workspace"] | {"prompts": True}}
    await frontend.complaints.silence()
    await frontend.request("POST", "/api/v1/users/default/permissions", before)
    await frontend.request("DELETE", f"/api/v1/groups/id/{made['id']}/delete", None)


async def open_tab(frontend: Frontend, whose: str, index: int) -> str:
    """Opens a page of the settings. Gives its name."""
    tab = frontend.page.get_by_role("dialog").get_by_role("tablist", name=whose).get_by_role("tab").nth(index)
    await tab.click()
    await expect(tab).to_have_attribute("aria-selected", "true")
    await frontend.complaints.silence()
    return (await tab.inner_text()).strip()


async def test_every_page_of_a_persons_settings_opens(frontend: Frontend) -> None:
    await frontend.open("/?settings=general")
    tabs = frontend.page.get_by_role("tablist", name="Personal").get_by_role("tab")
    await expect(tabs).to_have_count(11)
    for index in range(11):
        await open_tab(frontend, "Personal", index)


async def test_an_admins_settings_open_and_are_saved_as_they_are(frontend: Frontend) -> None:
    """What a form shows is what it stores: saving a page that nobody changed changes nothing."""
    before = await frontend.request("GET", "/api/v1/configs/export", None)
    await frontend.open("/?settings=admin:general")
    tabs = frontend.page.get_by_role("tablist", name="Admin").get_by_role("tab")
    await expect(tabs).to_have_count(16)
    saved = []
    for index in range(16):
        name = await open_tab(frontend, "Admin", index)
        if name in SAVED:
            await frontend.page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).first.click()
            await frontend.complaints.silence()
            saved.append(name)
    assert saved == list(SAVED)
    after = await frontend.request("GET", "/api/v1/configs/export", None)
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} <= FILLED_IN


async def test_a_connection_is_checked_and_saved(frontend: Frontend) -> None:
    page = frontend.page
    await frontend.open("/?settings=admin:connections")
    await page.get_by_role("button", name="Configure").first.click()
    dialog = page.get_by_role("dialog").last
    async with page.expect_response(lambda r: r.url.endswith("/openai/verify")) as checked:
        await dialog.get_by_role("button", name="Verify Connection").click()
    assert (await checked.value).ok
    async with page.expect_response(lambda r: r.url.endswith("/openai/config/update")) as saved:
        await dialog.get_by_role("button", name="Save").click()
    assert (await (await saved.value).json())["OPENAI_API_KEYS"] == ["sk-upstream"]
    await frontend.complaints.silence()


async def test_a_folder_keeps_the_chats_that_are_begun_in_it(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    await frontend.settled()
    await frontend.open_sidebar()
    await page.get_by_role("button", name="New Folder").click()
    await dialog.get_by_placeholder("Enter folder name").fill("Marsupials")
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/folders/")) as creating:
        await dialog.get_by_role("button", name="Save").click()
    folder = await (await creating.value).json()
    await page.get_by_role("button", name="Marsupials", exact=True).click()
    await expect(page).to_have_url(re.compile(f"/folders/{folder['id']}"))
    await frontend.complaints.silence()
    await frontend.say("In the folder")
    await frontend.answered("In the folder")
    chat = (await frontend.chat_url()).rsplit("/", 1)[1]
    assert (await frontend.request("GET", f"/api/v1/chats/{chat}", None))["folder_id"] == folder["id"]
    await page.reload()
    await frontend.answered("In the folder")
    await frontend.settled()
    await frontend.request("DELETE", f"/api/v1/folders/{folder['id']}?delete_contents=true", None)


async def test_a_note_is_written_in_two_tabs_and_found(frontend: Frontend) -> None:
    page = frontend.page
    await frontend.open("/notes")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page).to_have_url(re.compile("/notes/[0-9a-f-]{36}"))
    await frontend.complaints.silence()
    await page.get_by_placeholder("Title").fill("About wombats")
    await typed(page, note(page), "They smile.")
    note_id = page.url.rsplit("/", 1)[1]
    other = (await frontend.tab(f"/notes/{note_id}")).page
    await expect(note(other)).to_contain_text("They smile.")
    await note(other).click()
    await other.keyboard.press("Control+End")
    await other.keyboard.type(" Always.")
    await expect(note(page)).to_contain_text("They smile. Always.")
    await frontend.complaints.silence()
    await frontend.open("/notes")
    await page.get_by_placeholder("Search Notes").fill("wombats")
    await expect(page.get_by_role("link", name="About wombats")).to_be_visible()
    await frontend.complaints.silence()
    kept = await frontend.request("GET", f"/api/v1/notes/{note_id}", None)
    assert kept["data"]["content"]["md"].strip() == "They smile. Always."
    await frontend.request("DELETE", f"/api/v1/notes/{note_id}/delete", None)


async def test_an_event_and_an_automation_are_made(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    await frontend.open("/calendar")
    await page.get_by_role("button", name="Create").click()
    await dialog.get_by_placeholder("Event title").fill("Feeding")
    await dialog.get_by_role("button", name="Create").click()
    await expect(page.get_by_text("Feeding").first).to_be_visible()
    await frontend.complaints.silence()
    await frontend.open("/automations")
    await page.get_by_role("button", name="Create", exact=True).first.click()
    await dialog.get_by_role("button", name="Select model").click()
    await page.get_by_role("button", name="echo echo").click()

    async def create() -> None:
        await dialog.get_by_placeholder("Automation title").fill("Morning")
        await dialog.get_by_placeholder("Enter prompt here.").fill("Good morning")
        await dialog.get_by_role("button", name="Create", exact=True).click()

    made = await (await asked_for(page, "/api/v1/automations/create", create)).json()
    await page.get_by_role("button", name="Run now").click()
    await frontend.upstream.wait_for_async(
        lambda upstream: any(chat.body["messages"][-1]["content"] == "Good morning" for chat in upstream.chats)
    )
    await expect(page.get_by_text("No runs yet")).to_have_count(0)
    await frontend.complaints.silence()
    await frontend.request("DELETE", f"/api/v1/automations/{made['id']}/delete", None)


async def test_a_key_is_made(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    frontend.complaints.expect("404 ")  # so the server says that there is none yet
    await allow(frontend, "ENABLE_API_KEYS")
    await frontend.open("/?settings=account")
    await dialog.get_by_role("button", name="Secrets").click()
    async with page.expect_response(lambda r: r.url.endswith("/auths/api_key") and r.request.method == "POST") as made:
        await dialog.get_by_role("button", name="Create new secret key").click()
    key = (await (await made.value).json())["api_key"]
    listed = await frontend.context.request.get(
        f"{frontend.server.url}/api/models", headers={"Authorization": f"Bearer {key}", "Cookie": ""}
    )
    assert listed.ok
    await frontend.complaints.silence()


async def test_a_temporary_chat_and_the_playground_leave_nothing(frontend: Frontend) -> None:
    page = frontend.page
    before = await frontend.request("GET", "/api/v1/chats/?page=1", None)
    await frontend.open("/?models=echo")
    await page.get_by_role("button", name="Temporary Chat").click()
    await expect(page).to_have_url(re.compile("temporary-chat=true"))
    for text in ("A secret question", "And another"):
        await frontend.say(text)
        await frontend.answered(text)
    await frontend.complaints.silence()
    await frontend.open("/playground")
    await page.get_by_label("Model").select_option("echo")
    await page.get_by_placeholder("Enter a user message here").fill("Hello playground")
    await page.get_by_role("button", name="Run").click()
    await expect(page.get_by_placeholder("Enter an assistant message here")).to_have_value("Hello playground")
    await frontend.complaints.silence()
    assert await frontend.request("GET", "/api/v1/chats/?page=1", None) == before


async def test_a_model_is_made_changed_and_asked(frontend: Frontend) -> None:
    page = frontend.page
    await frontend.open("/workspace/models/create")
    await page.get_by_placeholder("Model Name").fill("Tutor")
    await page.get_by_role("button", name="Select a base model").click()
    await page.get_by_role("option", name="Select echo model").click()
    await page.get_by_label("System Prompt").fill("Teach.")
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/models/create")):
        await page.get_by_role("button", name="Save & Create").click()
    await frontend.complaints.silence()
    await frontend.open("/workspace/models/edit?id=tutor")
    await page.get_by_role("button", name="System Prompt").click()
    await page.get_by_role("textbox", name="System Prompt").fill("Teach well.")
    async with page.expect_response(lambda r: "/api/v1/models/model/update" in r.url):
        await page.get_by_role("button", name="Save & Update").click()
    await frontend.complaints.silence()
    await frontend.say("Teach me", "Tutor")
    await frontend.answered("Teach me")
    asked = [r.body["messages"] for r in frontend.upstream.chats if r.body["messages"][-1]["content"] == "Teach me"]
    assert asked[-1][0] == {"role": "system", "content": "Teach well."}
    await frontend.settled()
    await frontend.request("POST", "/api/v1/models/model/delete", {"id": "tutor"})


async def test_two_tabs_talk_in_a_channel(frontend: Frontend) -> None:
    page, dialog = frontend.page, frontend.page.get_by_role("dialog")
    await allow(frontend, "ENABLE_CHANNELS")
    await frontend.settled()
    await frontend.open_sidebar()
    await page.get_by_role("button", name=re.compile("Create Channel|New Channel")).first.click()
    await dialog.get_by_placeholder("new-channel").fill("zoo")
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/channels/create")) as creating:
        await dialog.get_by_role("button", name="Create").click()
    channel = (await (await creating.value).json())["id"]
    await frontend.complaints.silence()
    await frontend.open(f"/channels/{channel}")
    other = (await frontend.tab(f"/channels/{channel}")).page
    for here, there, text in ((page, other, "Hello zoo"), (other, page, "Hello back")):
        await typed(here, note(here).first, text)
        await here.keyboard.press("Enter")
        await expect(there.get_by_text(text)).to_be_visible()
    await frontend.complaints.silence()
    stored = await frontend.request("GET", f"/api/v1/channels/{channel}/messages?skip=0&limit=50", None)
    assert [message["content"] for message in stored] == ["Hello back", "Hello zoo"]
    await frontend.settled()
    await frontend.request("DELETE", f"/api/v1/channels/{channel}/delete", None)
