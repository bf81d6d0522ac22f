"""The unmodified official frontend, served by this server, does what people do all day, without one complaint."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.e2e.official.driver import Frontend
from tests.open_webui.skills.test_packages import packed
from tests.support.pictures import picture, pictured
from tests.support.script import Finish, Gate, Text, ToolCall, fixed_text

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("official")]
WHOLE = fixed_text().strip()
FRUIT = "The secret fruit is papaya. It grows on trees."


async def test_it_loads_and_lets_people_out_and_in_again(frontend: Frontend) -> None:
    await expect(frontend.user_menu).to_be_visible()
    await frontend.sign_out()
    frontend.complaints.expect("400 ")
    await frontend.sign_in("not the password")
    await expect(frontend.page.locator("[data-sonner-toast][data-type=error]")).to_be_visible()
    await frontend.sign_in()
    await expect(frontend.composer).to_be_visible()
    await frontend.page.reload()
    await expect(frontend.composer).to_be_visible()


async def test_a_conversation_of_two_turns_is_there_after_a_reload(frontend: Frontend) -> None:
    frontend.upstream.answer_when("What is a quokka?", "A small kangaroo.")
    await frontend.say("Hello there", "echo")
    await frontend.answered("Hello there")
    await frontend.say("What is a quokka?")
    await frontend.answered("A small kangaroo.")
    await frontend.chat_url()
    await frontend.page.reload()
    await frontend.answered("A small kangaroo.")
    await expect(frontend.questions).to_have_count(2)
    assert [r.headers["Authorization"] for r in frontend.upstream.chats[:1]] == ["Bearer sk-upstream"]


async def test_title_tags_and_follow_ups_come_after_the_answer(frontend: Frontend) -> None:
    frontend.upstream.answer_when('"title"', '{"title": "Small kangaroos"}')
    frontend.upstream.answer_when('"tags"', '{"tags": ["Animals"]}')
    frontend.upstream.answer_when('"follow_ups"', '{"follow_ups": ["Where do they live?"]}')
    await frontend.say("Tell me about quokkas", "slow")
    await frontend.answered(WHOLE)
    await frontend.open_sidebar()
    await expect(frontend.listed("Small kangaroos")).to_be_visible()
    await frontend.page.get_by_role("button", name="Where do they live?").click()
    await expect(frontend.questions).to_have_count(2)


async def test_an_answer_is_stopped_and_its_part_stays(frontend: Frontend) -> None:
    await frontend.say("Go on and on", "gated")
    frontend.upstream.release(3)
    await expect(frontend.answer).to_have_text("the quick brown")
    await frontend.stop()
    await frontend.answered("the quick brown")
    asked = next(r for r in frontend.upstream.chats if r.model == "gated" and r.body.get("stream"))
    await frontend.upstream.wait_for_async(lambda _: asked.ended.is_set())
    assert asked.disconnected
    await frontend.page.reload()
    await frontend.answered("the quick brown")


async def test_a_question_is_edited_and_both_branches_stay(frontend: Frontend) -> None:
    await frontend.say("First wording", "echo")
    await frontend.answered("First wording")
    await frontend.edit_question("Second wording")
    await frontend.answered("Second wording")
    await expect(frontend.page.get_by_text("2/2")).to_be_visible()
    await frontend.page.get_by_label("Previous message").first.click()
    await expect(frontend.answer).to_have_text("First wording")


async def test_an_answer_is_written_anew(frontend: Frontend) -> None:
    await frontend.say("Say something", "slow")
    await frontend.answered(WHOLE)
    frontend.upstream.answer_when("Say something", "Something else. ")
    await frontend.page.get_by_role("button", name="Regenerate").click()
    await frontend.page.get_by_text("Try Again").click()
    await frontend.answered("Something else.")
    await expect(frontend.page.get_by_text("2/2")).to_be_visible()
    await frontend.page.reload()
    await frontend.answered("Something else.")


async def test_a_reload_in_mid_answer_misses_and_doubles_nothing(frontend: Frontend) -> None:
    await frontend.say("Slowly, please", "gated")
    frontend.upstream.release(7)
    await expect(frontend.answer).to_have_text("the quick brown fox jumps over the")
    await frontend.chat_url()
    await frontend.page.reload()
    await expect(frontend.answer).to_have_text("the quick brown fox jumps over the")
    frontend.upstream.release(6)
    await expect(frontend.answer).to_have_text(fixed_text(13).strip())
    frontend.upstream.release(7)
    await frontend.answered(WHOLE)


async def test_a_second_tab_watches_an_answer(frontend: Frontend) -> None:
    await frontend.say("Slowly, please", "gated")
    frontend.upstream.release(4)
    await expect(frontend.answer).to_have_text("the quick brown fox")
    other = await frontend.tab(re.sub("^.*(/c/)", r"\1", await frontend.chat_url()))
    await expect(other.answer).to_have_text("the quick brown fox")
    frontend.upstream.release(16)
    await frontend.answered(WHOLE)
    await other.answered(WHOLE)


async def test_a_providers_error_is_shown_and_the_chat_goes_on(frontend: Frontend) -> None:
    await frontend.say("Will it work?", "error500")
    await expect(frontend.page.get_by_text("upstream exploded").first).to_be_visible()
    await frontend.say("And now?", "echo")
    await frontend.answered("And now?")


class TestList:
    """What is done with a chat from the list."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def chat(self, frontend: Frontend) -> AsyncIterator[Frontend]:
        """A chat of the title "About quokkas", alone in the list beside a new one, and gone afterwards."""
        frontend.upstream.answer_when('"title"', '{"title": "About quokkas"}')
        await frontend.say("The marsupial quokka smiles", "slow")
        await frontend.answered(WHOLE)
        await frontend.settled()
        await frontend.open_sidebar()
        await expect(frontend.listed("About quokkas")).to_be_visible()
        yield frontend
        token = await frontend.page.evaluate("localStorage.token")
        await frontend.page.goto("about:blank")
        reply = await frontend.context.request.delete(
            f"{frontend.server.url}/api/v1/chats/", headers={"Authorization": f"Bearer {token}"}
        )
        assert reply.ok

    async def test_rename(self, chat: Frontend) -> None:
        await chat.do("About quokkas", "Rename")
        field = chat.page.locator("[id^=chat-title-input]")
        await field.fill("A new name")
        await field.press("Enter")
        await expect(chat.listed("A new name")).to_be_visible()
        await chat.page.reload()
        await chat.open_sidebar()
        await expect(chat.listed("A new name")).to_be_visible()

    async def test_pin_and_unpin(self, chat: Frontend) -> None:
        await chat.do("About quokkas", "Pin")
        await expect(chat.page.get_by_text("Pinned", exact=True)).to_be_visible()
        await chat.page.reload()
        await chat.open_sidebar()
        await expect(chat.page.get_by_text("Pinned", exact=True)).to_be_visible()
        await chat.do("About quokkas", "Unpin")
        await expect(chat.page.get_by_text("Pinned", exact=True)).to_have_count(0)

    async def test_tag(self, chat: Frontend) -> None:
        await chat.listed("About quokkas").locator("a").first.click()
        await chat.page.locator("#chat-context-menu-button").click()
        field = chat.page.get_by_placeholder("Add a tag...")
        await field.fill("wildlife")
        await field.press("Enter")
        await expect(chat.page.get_by_text("wildlife", exact=True)).to_be_visible()
        await chat.page.reload()
        await chat.page.locator("#chat-context-menu-button").click()
        await expect(chat.page.get_by_text("wildlife", exact=True)).to_be_visible()

    async def test_archive_and_take_it_back(self, chat: Frontend) -> None:
        await chat.do("About quokkas", "Archive")
        await expect(chat.listed("About quokkas")).to_have_count(0)
        await chat.open("/?settings=archived_chats")
        dialog = chat.page.get_by_role("dialog")
        await expect(dialog.get_by_text("About quokkas")).to_be_visible()
        await dialog.get_by_label("Unarchive Chat").click()
        await expect(dialog.get_by_text("About quokkas")).to_have_count(0)
        await chat.page.keyboard.press("Escape")
        await expect(chat.listed("About quokkas")).to_be_visible()

    async def test_share_and_read_the_copy(self, chat: Frontend) -> None:
        await chat.do("About quokkas", "Share")
        await chat.page.get_by_role("button", name="Copy Link").click()
        await expect(chat.page.get_by_text("Copied shared chat URL")).to_be_visible()
        link = await chat.page.evaluate("navigator.clipboard.readText()")
        assert link.startswith(f"{chat.server.url}/s/")
        reader = await chat.tab(link.removeprefix(chat.server.url))
        await expect(reader.answer).to_have_text(WHOLE)

    async def test_search_finds_what_was_said(self, chat: Frontend) -> None:
        await chat.page.locator("#sidebar-search-button").click()
        await chat.page.get_by_placeholder("Search").fill("marsupial")
        await expect(chat.page.get_by_role("dialog").get_by_text("About quokkas").first).to_be_visible()
        await chat.page.get_by_placeholder("Search").fill("zebra")
        await expect(chat.page.get_by_role("dialog").get_by_text("About quokkas")).to_have_count(0)

    async def test_delete(self, chat: Frontend) -> None:
        await chat.do("About quokkas", "Delete")
        await chat.page.get_by_role("button", name="Confirm").click()
        await expect(chat.listed("About quokkas")).to_have_count(0)
        await chat.page.reload()
        await expect(chat.composer).to_be_visible()


async def test_pictures_of_a_chat_and_of_a_person_are_shown(frontend: Frontend) -> None:
    """What the server made of them (files) is what this frontend asks for, in questions and in answers."""
    made = await frontend.request("POST", "/api/v1/chats/new", {"chat": pictured()})
    profile = {"name": "Ada Lovelace", "profile_image_url": picture(4)}
    await frontend.request("POST", "/api/v1/auths/update/profile", profile)
    await frontend.open(f"/c/{made['id']}")
    pictures = frontend.page.locator("img[src*='/files/']")
    await expect(pictures).to_have_count(3)
    await frontend.page.wait_for_function(
        "() => [...document.querySelectorAll(\"img[src*='/files/']\")].every((i) => i.complete && i.naturalWidth > 0)"
    )
    faces = frontend.page.locator("img[src*='/profile/image']")
    await expect(faces.first).to_have_js_property("naturalWidth", 36)


async def test_an_admin_exports_everybodys_chats_and_reads_what_is_new(frontend: Frontend) -> None:
    page = frontend.page
    await frontend.open("/admin/settings/db")
    exports = page.locator("button", has_text=re.compile(r"^\s*Export\s*$"))
    await expect(exports).to_have_count(3)
    async with page.expect_response("**/api/v1/chats/all/db") as answered:
        await exports.nth(1).click()
    assert (await answered.value).ok
    await page.get_by_text("About", exact=True).click()
    await page.get_by_text("See what's new").click()
    await expect(page.get_by_text("The server listens on 127.0.0.1")).to_be_visible()


async def when_read(frontend: Frontend, file_id: str) -> str:
    """A file's status once the server has read it."""
    reply = await frontend.context.request.get(
        f"{frontend.server.url}/api/v1/files/{file_id}/process/status?stream=true"
    )
    return str(json.loads((await reply.text()).split("data: ")[-1])["status"])


async def test_a_file_is_attached_and_asked_about(frontend: Frontend, tmp_path: Path) -> None:
    file = tmp_path / "papaya.txt"
    file.write_text(FRUIT)
    page = frontend.page
    await frontend.open()
    await frontend.choose("fixed")
    async with (
        page.expect_response(lambda r: "/api/v1/files/?process=true" in r.url) as uploaded,
        page.expect_response(lambda r: "/process/status" in r.url) as status,
    ):
        await page.locator("input[type=file]").first.set_input_files(file)
    made = await (await uploaded.value).json()
    assert made["data"] == {"status": "pending"}
    assert "stream=true" in (await status.value).url
    assert await when_read(frontend, made["id"]) == "completed"
    await expect(page.get_by_text("papaya.txt").first).to_be_visible()
    await frontend.say("Which fruit is secret?")
    answer = page.locator("#response-content-container").last
    await expect(answer).to_contain_text(WHOLE)
    # Below the answer stands what it rests on, and opens.
    await answer.get_by_role("button", name="Toggle 1 source").click()
    await answer.get_by_role("button", name="papaya.txt").click()
    await expect(page.get_by_text(FRUIT).first).to_be_visible()
    await page.keyboard.press("Escape")
    shown = await frontend.request("GET", f"/api/v1/files/{made['id']}", None)
    assert shown["data"]["content"] == FRUIT
    # The chip opens what is in the file.
    await page.get_by_text("papaya.txt").first.click()
    await expect(page.get_by_text(FRUIT).first).to_be_visible()
    await page.keyboard.press("Escape")


async def test_a_file_is_put_into_a_knowledge_base(frontend: Frontend, tmp_path: Path) -> None:
    file = tmp_path / "emu.txt"
    file.write_text("Emus run at fifty kilometres an hour.")
    page = frontend.page
    base = await frontend.request("POST", "/api/v1/knowledge/create", {"name": "Birds", "description": "that run"})
    await frontend.open("/workspace/knowledge")
    # It asks for this once it listens to what is put into it.
    async with page.expect_response(lambda r: r.url.endswith("/files/pending")):
        await page.get_by_text("Birds").first.click()
    await frontend.complaints.silence()
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/files/?")) as uploaded:
        await page.locator("#files-input").set_input_files(file)
    await expect(page.get_by_text("emu.txt").first).to_be_visible()
    assert await when_read(frontend, (await (await uploaded.value).json())["id"]) == "completed"
    # What it asks for next ends before its page is left.
    await frontend.complaints.silence()
    kept = await frontend.request("GET", f"/api/v1/knowledge/{base['id']}/files", None)
    assert [(f["filename"], f["meta"]["data"]["knowledge_id"]) for f in kept["items"]] == [("emu.txt", base["id"])]


async def test_a_skill_is_imported_changed_and_brought_back(frontend: Frontend) -> None:
    page = frontend.page
    archive = packed(
        ("bread/SKILL.md", "---\nname: bread\ndescription: Bakes it\n---\n# Bake"), ("bread/rye.md", "Rye")
    )
    await frontend.open("/workspace/skills")
    chooser = page.locator("input[type=file][accept*='.skill']")
    await expect(chooser).to_be_attached()
    await chooser.set_input_files({"name": "bread.zip", "mimeType": "application/zip", "buffer": archive})
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/skills/import")):
        await page.get_by_role("button", name="Import selected").click()
    await expect(page.get_by_text("Saved").first).to_be_visible()
    await frontend.open("/workspace/skills/edit?id=bread")
    await expect(page.get_by_text("rye.md").first).to_be_visible()
    first = (await frontend.request("GET", "/api/v1/skills/id/bread", None))["version_id"]
    await expect(page.locator(".cm-content").first).to_contain_text("# Bake")
    await page.locator(".cm-content").first.click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type(" well")
    async with page.expect_response(lambda r: r.url.endswith("/id/bread/update")) as saved:
        await page.get_by_role("button", name="Save", exact=True).first.click()
    made = await (await saved.value).json()
    assert made["content"].endswith("# Bake well")
    assert (made["version_id"] != first, len(made["data"]["files"])) == (True, 2)
    await frontend.complaints.silence()
    back = {"version_id": first, "expected_version_id": made["version_id"]}
    await frontend.request("POST", "/api/v1/skills/id/bread/update/version", back)
    await frontend.open("/workspace/skills/edit?id=bread")
    await expect(page.locator(".cm-content").first).to_contain_text("# Bake")
    await frontend.complaints.silence()
    await frontend.request("DELETE", "/api/v1/skills/id/bread/delete", None)


async def test_a_prompt_is_made_called_changed_and_brought_back(frontend: Frontend) -> None:
    page = frontend.page
    await frontend.open("/workspace/prompts/create")
    form = page.locator("form", has=page.locator("textarea"))
    await form.locator("input[required]").first.fill("Quokka facts")
    await form.locator("textarea").fill("Tell me about {{topic}}.")
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/prompts/create")) as creating:
        await form.locator("button[type=submit]").click()
    made = await (await creating.value).json()
    assert made["content"] == "Tell me about {{topic}}."
    await frontend.complaints.silence()
    # Its command in a message asks for the variable.
    await frontend.open()
    await frontend.choose("echo")
    await frontend.composer.click()
    await page.keyboard.type(f"/{made['command']}")
    await expect(page.locator(".selected-command-option-button")).to_contain_text("Quokka facts")
    await page.keyboard.press("Enter")
    asks = page.get_by_role("dialog")
    await asks.locator("input, textarea").first.fill("quokkas")
    await asks.get_by_role("button", name="Save").click()
    await expect(frontend.composer).to_have_text("Tell me about quokkas.")
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Delete")
    # A new version, and the first one again.
    form_of = {"command": made["command"], "name": made["name"], "content": "Another text", "commit_message": "two"}
    one = f"/api/v1/prompts/id/{made['id']}"
    await frontend.request("POST", f"{one}/update", form_of)
    async with page.expect_response(lambda r: "/history?page=0" in r.url):
        await frontend.open(f"/workspace/prompts/{made['id']}")
    await page.get_by_role("button", name="History").click()
    await expect(page.get_by_text("two", exact=True).first).to_be_visible()
    await frontend.complaints.silence()
    back = await frontend.request("POST", f"{one}/update/version", {"version_id": made["version_id"]})
    assert back["content"] == "Tell me about {{topic}}."
    await frontend.settled()
    await frontend.request("DELETE", f"{one}/delete", None)


async def test_an_answer_of_an_arena_is_rated_and_on_the_leaderboard(frontend: Frontend) -> None:
    page = frontend.page
    arena = {
        "id": "blind",
        "name": "blind",
        "meta": {"description": "d", "model_ids": ["echo"], "access_control": None},
    }
    form = {"ENABLE_EVALUATION_ARENA_MODELS": True, "EVALUATION_ARENA_MODELS": [arena]}
    await frontend.request("POST", "/api/v1/evaluations/config", form)
    await frontend.settled()
    await frontend.say("Rate me", "blind")
    await frontend.answered("Rate me")
    kept = page.expect_response(lambda r: "/api/v1/chats/" in r.url and "feedbackId" in (r.request.post_data or ""))
    async with kept, page.expect_response(lambda r: r.url.endswith("/api/v1/evaluations/feedback")) as rated:
        await page.get_by_label("Good Response").last.click()
    made = await (await rated.value).json()
    assert (made["data"]["rating"], made["data"]["model_id"], made["meta"]["arena"]) == (1, "echo", True)
    chat = await frontend.request("GET", f"/api/v1/chats/{made['meta']['chat_id']}", None)
    message = chat["chat"]["history"]["messages"][made["meta"]["message_id"]]
    assert (message["annotation"]["rating"], message["feedbackId"]) == (1, made["id"])
    compared = {"rating": 1, "model_id": "echo", "sibling_model_ids": ["fixed"]}
    await frontend.request("POST", "/api/v1/evaluations/feedback", {"type": "rating", "data": compared})
    await frontend.open("/admin/evaluations/leaderboard")
    await expect(page.get_by_text("1016").first).to_be_visible()
    await frontend.complaints.silence()
    await frontend.open("/admin/evaluations/feedback")
    await expect(page.get_by_text("echo").first).to_be_visible()
    await frontend.complaints.silence()
    await frontend.request("DELETE", "/api/v1/evaluations/feedbacks/all", None)
    await frontend.request("POST", "/api/v1/evaluations/config", form | {"ENABLE_EVALUATION_ARENA_MODELS": False})


async def test_an_admin_sees_what_people_used(frontend: Frontend) -> None:
    await frontend.say("Count me", "echo")
    await frontend.answered("Count me")
    async with frontend.page.expect_response(lambda r: "/api/v1/analytics/users" in r.url) as asked:
        await frontend.open("/?settings=admin:analytics")
    reply = await asked.value
    assert reply.ok
    assert (await reply.json())["users"][0]["count"] >= 1
    await expect(frontend.page.get_by_role("dialog").get_by_text("echo").first).to_be_visible()
    await frontend.complaints.silence()
    await frontend.page.keyboard.press("Escape")


async def test_a_model_asks_the_person_and_shows_its_steps(frontend: Frontend) -> None:
    called = Finish("tool_calls")
    tasks = '{"tasks": [{"id": "a", "content": "Ask first"}, {"id": "b", "content": "Write it"}]}'
    question = (
        '{"questions": [{"id": "q", "header": "Colour", "question": "Which colour?", "options": [{"label": "Blue"}]}]}'
    )
    frontend.upstream.rounds = [
        [ToolCall("create_tasks", (tasks,), "c1"), called],
        [ToolCall("ask_user", (question,), "c2"), called],
        [ToolCall("ask_user", (question.replace("Which", "And which"),), "c3"), called],
        [Text("Blue "), Gate(), Text("it is."), Finish("stop")],
    ]
    await frontend.say("Paint it", "rounds")
    page = frontend.page
    await expect(page.get_by_text("Which colour?", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Blue").click()
    # The second question is answered by a page that was loaded anew.
    await expect(page.get_by_text("And which colour?", exact=True)).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("And which colour?", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Blue").click()
    # The list is shown while the model works.
    await expect(page.get_by_text("Write it")).to_be_visible()
    frontend.upstream.release()
    await expect(frontend.answer).to_contain_text("Blue it is.")
    last = [r.body["messages"] for r in frontend.upstream.chats if r.model == "rounds" and r.body.get("stream")][-1]
    assert [m["content"] for m in last if m["role"] == "tool"][1:] == [
        '{"status":"answered","answers":{"q":"Blue"}}'
    ] * 2


@pytest.mark.slow
async def test_code_is_run_by_the_server_and_by_the_page(frontend: Frontend) -> None:
    page, upstream = frontend.page, frontend.upstream
    # A block of an answer: the page takes the server's engine for a Jupyter server, and asks the server.
    upstream.answer_when("Show me code", "```python\nprint('made', 6 * 7)\n```")
    await frontend.settled()
    await frontend.say("Show me code", "echo")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.get_by_text("made 42")).to_be_visible()
    # A model's call: the page's own Python runs it.
    path = "/api/v1/configs/code_execution"
    config = await frontend.request("GET", path, None)
    await frontend.request("POST", path, config | {"CODE_INTERPRETER_ENGINE": "pyodide"})

    meta = {"capabilities": {"code_interpreter": True}, "defaultFeatureIds": ["code_interpreter"]}
    model = {"id": "computing", "base_model_id": "rounds", "name": "computing", "meta": meta, "params": {}}
    await frontend.request("POST", "/api/v1/models/create", model)
    await frontend.settled()
    call = ToolCall("execute_code", (json.dumps({"code": "print('seen')\n6 * 7"}),), "c1")
    upstream.rounds = [[call, Finish("tool_calls")], [Text("It is computed."), Finish("stop")]]
    await frontend.say("Compute", "computing")
    await expect(frontend.answer).to_contain_text("It is computed.", timeout=60_000)
    told = [m for chat in upstream.chats for m in chat.body["messages"] if m["role"] == "tool"]
    assert json.loads(told[-1]["content"]) == {"stdout": "seen\n", "result": "42"}
    await frontend.request("POST", path, config)


async def test_a_tool_is_written_set_and_used_in_a_chat(frontend: Frontend) -> None:
    page = frontend.page
    content = (
        "from pydantic import BaseModel\n\n\nclass Tools:\n    class Valves(BaseModel):\n        unit: str = 'miles'\n\n"
        "    def __init__(self):\n        self.valves = self.Valves()\n\n    def distance(self, town: str) -> str:\n"
        '        """How far a town is."""\n        return f"{town}: 7 {self.valves.unit}"\n'
    )
    await frontend.open("/workspace/tools/create")
    await page.get_by_placeholder("Tool Name").fill("Atlas")
    await page.get_by_placeholder("Tool Description").fill("Knows towns")
    await page.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(content)
    await page.get_by_role("button", name="Save & Create").click()
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/tools/create")) as saved:
        await page.get_by_role("button", name="Confirm").click()
    made = await (await saved.value).json()
    assert made["id"] == "atlas"
    await frontend.complaints.silence()
    stored = await frontend.request("GET", "/api/v1/tools/id/atlas", None)
    assert stored["content"].strip() == content.strip()
    await frontend.request("POST", "/api/v1/tools/id/atlas/valves/update", {"unit": "leagues"})
    frontend.upstream.rounds = [
        [ToolCall("distance", ('{"town": "Ulm"}',), "c1"), Finish("tool_calls")],
        [Text("Not far."), Finish("stop")],
    ]
    await frontend.open("/?models=rounds&tool-ids=atlas")
    await expect(page.get_by_label("Selected model: rounds")).to_be_visible()
    await frontend.say("How far is Ulm?")
    await expect(frontend.answer).to_contain_text("View Result from distance")
    await expect(frontend.answer).to_contain_text("Not far.")
    await expect(page.get_by_role("button", name="Regenerate").last).to_be_visible()
    said = [r.body["messages"] for r in frontend.upstream.chats if r.model == "rounds" and r.body.get("stream")][-1]
    assert [m["content"] for m in said if m["role"] == "tool"] == ["Ulm: 7 leagues"]
    await frontend.complaints.silence()
    await frontend.request("DELETE", "/api/v1/tools/id/atlas/delete", None)


SIGNED = """from pydantic import BaseModel


class Filter:
    class Valves(BaseModel):
        word: str = "plain"

    def __init__(self):
        self.valves = self.Valves()
        self.toggle = True

    def inlet(self, body: dict) -> dict:
        body["messages"][-1]["content"] += f" ({self.valves.word})"
        return body
"""
STAMP = """class Action:
    async def action(self, body: dict, __event_emitter__=None):
        await __event_emitter__({"type": "status", "data": {"description": "Stamping it", "done": True}})
        await __event_emitter__({"type": "notification", "data": {"type": "success", "content": "It is stamped."}})
"""


def listed_function(frontend: Frontend, function_id: str) -> Locator:
    """Its row on the page for admins."""
    link = frontend.page.locator(f"a[href='/admin/functions/edit?id={function_id}']")
    return frontend.page.locator("div[role=presentation]").filter(has=link).last


async def write_function(frontend: Frontend, name: str, content: str) -> None:
    """Writes a function on the page for admins, and switches it on for all models there."""
    page = frontend.page
    await frontend.open("/admin/functions/create")
    await page.get_by_placeholder("Function Name").fill(name)
    await page.get_by_placeholder("Function Description").fill(f"The {name} of the tests")
    await page.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(content)
    await page.get_by_role("button", name="Save & Create").click()
    async with page.expect_response(lambda r: r.url.endswith("/api/v1/functions/create")) as saved:
        await page.get_by_role("button", name="Confirm").click()
    made = await (await saved.value).json()
    assert (made["id"], made["is_active"], made["is_global"]) == (name.lower(), False, False)
    await frontend.complaints.silence()
    await frontend.open("/admin/functions")
    row = listed_function(frontend, made["id"])
    async with page.expect_response(lambda r: r.url.endswith(f"/id/{made['id']}/toggle")):
        await row.get_by_role("switch").click()
    await row.get_by_label("Function Menu").click()
    async with page.expect_response(lambda r: r.url.endswith(f"/id/{made['id']}/toggle/global")):
        await page.get_by_role("menu").get_by_role("switch").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("menu")).to_have_count(0)
    await frontend.complaints.silence()


async def test_a_filter_and_an_action_are_written_set_and_used_in_a_chat(frontend: Frontend) -> None:
    page = frontend.page
    await write_function(frontend, "Signed", SIGNED)
    # What can be set of it is set on the page.
    await listed_function(frontend, "signed").get_by_label("Valves").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Default").click()
    await dialog.get_by_role("textbox").fill("kindly")
    async with page.expect_response(lambda r: r.url.endswith("/id/signed/valves/update")):
        await dialog.get_by_role("button", name="Save").click()
    await write_function(frontend, "Stamp", STAMP)
    listed = {one["id"]: one for one in (await frontend.request("GET", "/api/models", None))["data"]}["echo"]
    assert [[one["id"] for one in listed[kind]] for kind in ("filters", "actions")] == [["signed"], ["stamp"]]
    # Without its switch the filter does nothing; with it, the model is asked otherwise.
    await frontend.say("Hello", "echo")
    await frontend.answered("Hello")
    await page.get_by_label("Integrations").click()
    await page.get_by_role("menuitemcheckbox", name="Signed").click()
    await page.keyboard.press("Escape")
    await frontend.say("Hello again")
    await frontend.answered("Hello again (kindly)")
    await page.get_by_role("button", name="Stamp").last.click()
    await expect(page.get_by_text("It is stamped.")).to_be_visible()
    # What it showed is the message's.
    await page.reload()
    await expect(page.get_by_text("Stamping it").first).to_be_visible()
    await frontend.complaints.silence()
    for function_id in ("signed", "stamp"):
        await frontend.request("DELETE", f"/api/v1/functions/id/{function_id}/delete", None)
