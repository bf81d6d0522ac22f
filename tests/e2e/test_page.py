"""The built-in page in a real browser, against the real server and a provider that plays its parts."""

import asyncio
import contextlib
import re
import sqlite3

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support.page import EMAIL, LOST, PASSWORD, Visit, answer, menu, running, settings
from tests.support.pictures import picture, pictured
from tests.support.script import fixed_text

# One database is enough here: what differs between them has its own tests, and a browser is slow.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
MARKDOWN = """# A title

See [the manual](https://example.com/manual) and **this**:

```python
def add(a: int, b: int) -> int:

    return a + b
```

| Step | Cost |
| --- | ---: |
| one | 1 |

![spy](https://tracker.invalid/pixel.png) <iframe src="/api/config"></iframe><b style="color:red">bold</b>
<a href="javascript:document.title='owned'">click</a>

Done.
"""


# ---- accounts


async def test_the_first_visitor_becomes_the_admin_and_has_a_conversation(visit: Visit) -> None:
    await visit.chat("What is a quokka?")
    await expect(answer(visit.page)).to_have_text(fixed_text().strip())
    await visit.say("And a second question", "echo")
    await expect(answer(visit.page)).to_have_text("And a second question")
    await visit.page.reload()
    await expect(visit.page.locator(".bubble")).to_have_count(2)
    await expect(answer(visit.page)).to_have_text("And a second question")
    await expect(visit.page.locator(".model-name")).to_have_text("echo")
    await expect(visit.page.locator(".chat-row")).to_have_count(1)


async def test_signing_out_and_in_again_with_a_wrong_password_between(visit: Visit) -> None:
    visit.complaints.expect("401 ", "400 ")
    page = visit.page
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()


async def test_no_token_is_left_where_scripts_can_read_it(visit: Visit) -> None:
    kept = await visit.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "eyJ" not in kept


async def test_a_changed_password_keeps_this_browser_signed_in(visit: Visit) -> None:
    visit.complaints.expect("401 ")
    page = visit.page
    await settings(page, "Account")
    await page.get_by_label("Current password").fill(PASSWORD)
    await page.get_by_label("New password").fill("another long password")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_text("Password changed.")).to_be_visible()
    await page.keyboard.press("Escape")
    await visit.chat("Still here?")


# ---- pictures


async def test_pictures_are_shown_to_their_owner_and_by_a_public_link(visit: Visit, browser: Browser) -> None:
    request = visit.context.request
    made = await (await request.post(f"{visit.server.url}/api/v1/chats/new", data={"chat": pictured()})).json()
    page = await visit.tab(f"/c/{made['id']}")
    pictures = page.locator(".message img")
    await expect(pictures).to_have_count(3)
    for number in range(3):
        await expect(pictures.nth(number)).to_have_js_property("naturalWidth", 36)
    # An edited question keeps its picture, and the model gets it.
    await page.locator(".message[data-role=user]").hover()
    await page.get_by_label("Edit and send again").click()
    await page.get_by_label("Your message").first.fill("And this?")
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble")).to_have_text("And this?")
    await expect(page.get_by_label("Copy answer").last).to_be_attached()
    await expect(page.locator(".message[data-role=user] img")).to_have_count(1)
    answers = [chat.body["messages"] for chat in visit.upstream.chats if chat.body.get("stream")]
    asked = [m for m in answers[0] if m["role"] == "user"]
    assert asked[-1]["content"][1]["image_url"]["url"] == picture(1)
    # Somebody without an account, by the link.
    visit.complaints.expect("401 ")
    share = await (await request.post(f"{visit.server.url}/api/v1/chats/{made['id']}/share")).json()
    anyone = {"access_grants": [{"principal_type": "anyone", "principal_id": "*", "permission": "read"}]}
    path = f"{visit.server.url}/api/v1/chats/shared/{made['id']}/access/update"
    assert (await request.post(path, data=anyone)).ok
    stranger = await browser.new_context()
    shared = await browsers.open_page(stranger, visit.complaints, f"{visit.server.url}/s/{share['share_id']}")
    for picture_shown in await shared.locator(".message img").all():
        await expect(picture_shown).to_have_js_property("naturalWidth", 36)
    await expect(shared.locator(".message[data-role=user] img")).to_have_count(1)
    await stranger.close()


FOREIGN = (
    "/\\\\evil.invalid/x", "/&#92;evil.invalid/x", "//evil.invalid/x", "\\\\\\\\evil.invalid\\\\x", "https://evil.invalid/x",
    "/&#9;/evil.invalid/x", "&#92;&#92;evil.invalid/x",
)  # fmt: skip


async def test_a_picture_of_another_server_is_not_asked_for_until_somebody_clicks(visit: Visit) -> None:
    pictures = "\n".join(f'<img src="{source}" alt="spy">' for source in FOREIGN)
    visit.upstream.answer_when(
        "show me", f"{pictures}\n\n![spy](https://evil.invalid/x) ![spy](//evil.invalid/x)\n\nDone."
    )
    asked: list[str] = []
    visit.context.on("request", lambda request: asked.append(request.url))
    await visit.chat("show me", "echo")
    said = answer(visit.page)
    await expect(said).to_contain_text("Done.")
    files = [{"type": "image", "url": url} for url in ("/\\\\evil.invalid/x", "//evil.invalid/x")]
    message = {"id": "m", "role": "user", "content": "and these", "parentId": None, "files": files}
    chat = {"title": "stored", "history": {"currentId": "m", "messages": {"m": message}}}
    made = await (await visit.context.request.post(f"{visit.server.url}/api/v1/chats/new", data={"chat": chat})).json()
    stored = await visit.tab(f"/c/{made['id']}")
    await expect(stored.locator(".message")).to_contain_text("and these")
    for shown, count in ((said, len(FOREIGN) + 2), (stored.locator(".message"), 2)):
        await expect(shown.locator("img")).to_have_count(0)
        await expect(shown.locator("a.picture-link")).to_have_count(count)
        for link in await shown.locator("a.picture-link").all():
            await expect(link).to_contain_text("(evil.invalid)")
            await expect(link).to_have_attribute("rel", re.compile("noreferrer"))
    assert [url for url in asked if "evil" in url] == []
    policy = (await visit.context.request.get(visit.server.url)).headers["content-security-policy"]
    [sources] = [part for part in policy.split(";") if part.strip().startswith("img-src")]
    assert "http" not in sources


# ---- answers


async def test_markdown_is_rendered_safely_and_code_can_be_copied(visit: Visit) -> None:
    visit.upstream.answer_when("show me", MARKDOWN)
    await visit.chat("show me", "echo")
    said = answer(visit.page)
    await expect(said.get_by_role("heading", name="A title")).to_be_visible()
    link = said.get_by_role("link", name="the manual")
    await expect(link).to_have_attribute("target", "_blank")
    await expect(link).to_have_attribute("rel", re.compile("noopener"))
    await expect(said.locator(".hljs-keyword").first).to_be_visible()
    assert await said.locator("img, iframe, script, [style], [onerror], a[href^='javascript']").count() == 0
    await said.get_by_label("Copy code").click()
    await expect(visit.page.locator("#announcer")).to_contain_text("Copied")
    copied = await visit.page.evaluate("navigator.clipboard.readText()")
    assert copied == "def add(a: int, b: int) -> int:\n\n    return a + b"


async def test_a_stop_by_key_keeps_what_was_said(visit: Visit) -> None:
    await visit.say("Go on", "gated")
    visit.upstream.release(3)
    await expect(answer(visit.page)).to_have_text("the quick brown")
    await visit.page.keyboard.press("Escape")
    await expect(running(visit.page)).to_have_count(0)
    await visit.page.reload()
    await expect(answer(visit.page)).to_have_text("the quick brown")


async def test_a_reload_in_the_middle_loses_and_doubles_nothing(visit: Visit) -> None:
    await visit.say("Go on", "gated")
    visit.upstream.release(5)
    await expect(answer(visit.page)).to_have_text(fixed_text(5).strip())
    for words in (9, 14):
        await visit.page.reload()
        await expect(answer(visit.page)).to_have_text(re.compile("^" + fixed_text(words - 5).strip()[:20]))
        visit.upstream.release(words - len((await answer(visit.page).inner_text()).split()))
        await expect(answer(visit.page)).to_have_text(fixed_text(words).strip())
    visit.upstream.release(6)
    await expect(running(visit.page)).to_have_count(0)
    await expect(answer(visit.page)).to_have_text(fixed_text().strip())


async def test_words_put_off_while_the_browser_is_busy_are_shown_without_new_ones(visit: Visit) -> None:
    shown = await visit.page.evaluate(
        """async () => {
            const { LiveMarkdown } = await import('/static/page/js/markdown.js');
            const live = new LiveMarkdown(document.createElement('div'));
            live.update('the ', false);
            live.cost = 1e9;
            const during = [live.update('the quick', false), live.update('the quick', false)];
            live.cost = 0;
            return [...during, live.update('the quick', false), live.element.textContent.trim()];
        }"""
    )
    assert shown == [False, False, True, "the quick"]


async def test_a_second_tab_sees_everything_live(visit: Visit) -> None:
    other = await visit.tab()
    await visit.say("Go on", "gated")
    await other.locator(".chat-row a").first.click()
    visit.upstream.release(4)
    await expect(answer(other)).to_have_text(fixed_text(4).strip())
    await other.keyboard.press("Escape")
    await expect(running(visit.page)).to_have_count(0)
    await visit.page.get_by_label("Answer again").click()
    visit.upstream.release(2)
    await expect(answer(other)).to_have_text(fixed_text(2).strip())
    await expect(other.locator(".branches")).to_have_text("2 / 2")
    visit.upstream.release(30)
    await expect(running(other)).to_have_count(0)


async def until_on_record(database_url: str, word: str) -> None:
    """Waits until this word of a running answer is in the database."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
                if any(word in data for (data,) in database.execute("SELECT data FROM generation_part")):
                    return
            await asyncio.sleep(0.1)


async def test_after_a_crash_the_page_comes_back_by_itself_and_the_answer_can_go_on(
    visit: Visit, database_url: str
) -> None:
    visit.complaints.expect(*LOST)
    await visit.say("Go on", "gated")
    visit.upstream.release(6)
    await expect(answer(visit.page)).to_have_text(fixed_text(6).strip())
    # The record is written once a second, or later on a slow machine.
    await until_on_record(database_url, fixed_text(6).split()[-1])
    visit.server.kill()
    visit.server.start()
    await expect(visit.page.get_by_text("This answer was interrupted")).to_be_visible(timeout=60_000)
    await expect(answer(visit.page)).to_have_text(fixed_text(6).strip())
    await visit.page.get_by_role("button", name="Continue", exact=True).click()
    visit.upstream.release(30)
    # Before the answer goes on nothing runs either: the mark goes first.
    await expect(visit.page.get_by_text("This answer was interrupted")).to_have_count(0)
    await expect(running(visit.page)).to_have_count(0)
    text = await visit.page.locator(".message[data-role=assistant] .flow").inner_text()
    assert text.startswith(fixed_text(6))
    assert len(text) > len(fixed_text(10))


async def test_thoughts_are_folded_away_and_can_be_read(visit: Visit) -> None:
    await visit.chat("Think", "reasoning")
    thought = visit.page.locator("details.thought")
    await expect(thought.locator(".thought-text")).to_be_hidden()
    await thought.locator("summary").click()
    await expect(thought.locator(".thought-text")).to_have_text("First I think.")
    await expect(answer(visit.page)).to_have_text(fixed_text().strip())


@pytest.mark.parametrize("model", ["error500", "error401", "drop"])
async def test_a_failed_answer_says_why_and_can_be_tried_again(visit: Visit, model: str) -> None:
    await visit.say("Fail please", model)
    problem = visit.page.locator(".problem")
    await expect(problem.get_by_text("The answer failed")).to_be_visible()
    assert len(await problem.locator("p").inner_text()) > 5
    await visit.choose("fixed")
    await problem.get_by_role("button", name="Try again").click()
    await expect(answer(visit.page)).to_have_text(fixed_text().strip())
    await expect(visit.page.locator(".branches")).to_have_text("2 / 2")


# ---- the tree


async def test_editing_answering_again_and_walking_between_versions(visit: Visit) -> None:
    page = visit.page
    await visit.chat("First wording", "echo")
    await page.get_by_label("Answer again").click()
    await expect(page.locator("[data-role=assistant] .branches")).to_have_text("2 / 2")
    await expect(running(page)).to_have_count(0)
    await page.locator(".message[data-role=user]").hover()
    await page.get_by_label("Edit and send again").click()
    await page.locator(".edit-box textarea").fill("Second wording")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_have_text("Second wording")
    await expect(running(page)).to_have_count(0)
    await page.locator("[data-role=user]").get_by_label("Previous version").click()
    await expect(page.locator(".bubble")).to_have_text("First wording")
    await expect(page.locator("[data-role=assistant] .branches")).to_have_text("2 / 2")
    await page.reload()
    await expect(page.locator(".bubble")).to_have_text("First wording")


async def test_deleting_a_message(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Keep this")
    await page.get_by_label("Delete message").last.click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.locator(".message[data-role=assistant]")).to_have_count(0)
    await page.reload()
    await expect(page.locator(".bubble")).to_have_text("Keep this")
    await expect(page.locator(".message[data-role=assistant]")).to_have_count(0)


# ---- the list of chats


async def test_rename_pin_archive_restore_and_delete(visit: Visit) -> None:
    page = visit.page
    await visit.chat("Something to keep")
    await expect(page.locator(".chat-title")).to_have_text("Something to keep")
    await menu(page, "Rename")
    await page.get_by_label("Title").fill("My renamed chat")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chat-title")).to_have_text("My renamed chat")
    await menu(page, "Pin")
    await expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    await menu(page, "Unpin")
    await expect(page.get_by_role("heading", name="Pinned")).to_have_count(0)
    await menu(page, "Archive")
    await expect(page.locator(".chat-row")).to_have_count(0)
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Archived chats").click()
    await page.get_by_label("Restore My renamed chat").click()
    await page.keyboard.press("Escape")
    await expect(page.locator(".chat-row")).to_have_count(1)
    await page.locator(".chat-row a").click()
    await menu(page, "Delete")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.locator(".chat-row")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()


async def test_search_finds_what_was_said_by_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    await visit.chat("The numbat eats termites", "echo")
    await page.keyboard.press("Control+Shift+O")
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    await page.keyboard.press("Control+k")
    await page.keyboard.type("numbat")
    await expect(page.locator(".search-row")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble")).to_have_text("The numbat eats termites")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("zzzzzz")
    await expect(page.get_by_text("Nothing found")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_have_count(0)


async def test_an_unknown_chat_and_an_unknown_share_are_said_to_be_so(visit: Visit) -> None:
    visit.complaints.expect("401 ", "404 ")
    page = await visit.tab("/c/no-such-chat")
    await expect(page.get_by_text("This chat can’t be opened")).to_be_visible()
    await page.get_by_role("button", name="Start a new chat").click()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    page = await visit.tab("/s/no-such-share")
    await expect(page.get_by_text("This chat is not available")).to_be_visible()


# ---- settings and looks


async def test_the_chosen_theme_stays(visit: Visit) -> None:
    page = visit.page
    colour = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(colour)
    await page.locator(".account").click()
    await page.get_by_role("menuitemradio", name="Dark").click()
    dark = await page.evaluate(colour)
    assert dark != light
    await page.reload()
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    assert await page.evaluate(colour) == dark


async def test_on_a_phone_everything_fits_and_can_be_touched(visit: Visit, browser: Browser) -> None:
    context = await browser.new_context(**browsers.phone(), storage_state=await visit.context.storage_state())
    page = await browsers.open_page(context, visit.complaints, visit.server.url)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    await expect(page.locator("#sidebar")).to_be_hidden()
    await page.get_by_label("Your message").fill("Hello from a phone")
    await page.get_by_role("button", name="Send").tap()
    await expect(page).to_have_url(re.compile("/c/"))
    await expect(running(page)).to_have_count(0)
    await page.get_by_label("Show the chat list").tap()
    await expect(page.locator(".chat-row")).to_have_count(1)
    sizes = await page.evaluate(
        "[...document.querySelectorAll('button, .chat-row > a, textarea')].filter((each) => each.checkVisibility())"
        ".map((each) => [each.ariaLabel || each.textContent, each.offsetHeight])"
    )
    assert [name for name, height in sizes if height < 40] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.locator(".scrim").tap(position={"x": 380, "y": 400})
    await expect(page.locator("#sidebar")).to_be_hidden()
    await context.close()


async def test_by_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    skip = page.get_by_role("link", name="Skip to the chat")
    await skip.focus()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.keyboard.press("Shift+Escape")
    await expect(page.get_by_label("Your message")).to_be_focused()
    await page.keyboard.type("One line")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("and another")
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble")).to_have_text("One line\nand another", use_inner_text=True)
    await expect(running(page)).to_have_count(0)
    more = page.locator(".topbar").get_by_label("Options for this chat")
    await more.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("menuitem", name="Pin")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(more).to_be_focused()
