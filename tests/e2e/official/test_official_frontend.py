"""The unmodified official frontend, served by this server, does what people do all day, without one complaint."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.official.driver import Frontend
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.pictures import picture, pictured
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.upstream import Upstream

# One server and one browser serve all of these: a frontend of this size takes seconds to load for the first time.
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("official")]
WHOLE = fixed_text().strip()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    provider = Upstream().start()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def server(upstream: Upstream, official_frontend: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(
        tmp_path_factory.mktemp("official"),
        {
            "OPENAI_API_BASE_URLS": upstream.openai_url,
            "OPENAI_API_KEYS": "sk-upstream",
            "FRONTEND_BUILD_DIR": str(official_frontend),
        },
    )
    yield made.start()
    made.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed_up(server: Server, upstream: Upstream) -> AsyncIterator[Frontend]:
    """The browser of the first account, which has just been made."""
    async with browsers.launch() as browser:
        context = await browser.new_context(
            viewport={"width": 1280, "height": 850}, permissions=["clipboard-read", "clipboard-write"]
        )
        page, complaints = await context.new_page(), Complaints()
        complaints.listen(page)
        frontend = Frontend(page, context, server, upstream, complaints)
        await frontend.sign_up()
        yield frontend


@pytest_asyncio.fixture(loop_scope="module")
async def frontend(signed_up: Frontend) -> AsyncIterator[Frontend]:
    """The signed-in frontend; every complaint of its pages that the test did not expect fails the test."""
    yield signed_up
    heard, signed_up.complaints.found[:], signed_up.complaints.expected[:] = signed_up.complaints.faults, [], []
    for page in signed_up.context.pages:
        if page is not signed_up.page:
            await page.close()
    assert heard == []


async def test_it_loads_and_lets_people_out_and_in_again(frontend: Frontend) -> None:
    await expect(frontend.page.get_by_label("User menu")).to_be_visible()
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

    @pytest_asyncio.fixture(loop_scope="module")
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
