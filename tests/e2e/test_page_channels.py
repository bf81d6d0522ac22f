"""Channels in the built-in page: two people who write to each other, also when the server was gone for a while."""

import re
from collections.abc import Callable

import pytest
from playwright.async_api import Locator, Page, expect

from tests.support.page import LOST, Pair
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
        ENABLE_CHANNELS="true",
    ).start()


def field(page: Page) -> Locator:
    return page.get_by_label("Message in this channel")


def said(page: Page, text: str) -> Locator:
    return page.locator(".room").first.locator(".said", has_text=text)


def row(page: Page, name: str) -> Locator:
    return page.locator(".channel-row", has_text=name)


async def write(page: Page, text: str) -> None:
    await field(page).fill(text)
    await field(page).press("Enter")
    await expect(said(page, text.replace("*", ""))).to_be_visible()


async def option(page: Page, text: str, name: str) -> None:
    """An item of the menu of a message."""
    await said(page, text).hover()
    await said(page, text).get_by_label(re.compile("^Options for the message")).click()
    await page.get_by_role("menuitem", name=name, exact=True).click()


async def new_channel(page: Page, kind: str, name: str | None, person: str | None = None) -> None:
    await page.get_by_role("button", name="New channel").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("combobox").select_option(label=kind)
    if name is not None:
        await dialog.get_by_role("textbox", name="Name").fill(name)
    if person is not None:
        await dialog.get_by_label("Find people and groups").fill(person[:3])
        await dialog.get_by_role("button", name=person).click()
    await dialog.get_by_role("button", name="Make it").click()
    await expect(field(page)).to_be_focused()


async def test_two_people_talk(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    await new_channel(ada, "A channel that is open to all", "harbour")
    await write(ada, "Hello **all**")
    await expect(said(ada, "Hello all").locator("strong").last).to_have_text("all")
    # He has not read it, until he opens it.
    await expect(row(bob, "harbour").locator(".badge")).to_have_text("1")
    await row(bob, "harbour").get_by_role("link").click()
    await expect(said(bob, "Hello all")).to_be_visible()
    await expect(row(bob, "harbour").locator(".badge")).to_have_count(0)
    await expect(bob).to_have_title(re.compile("^harbour"))
    # A name is offered, and stored as a mention; the other one sees that somebody types.
    await field(bob).press_sequentially("@Ad")
    await expect(bob.get_by_role("listbox", name="People and models").get_by_role("option").first).to_be_visible()
    await expect(ada.locator(".typing").first).to_have_text("Bob Byte is typing…")
    await bob.keyboard.press("Enter")
    await bob.keyboard.type("when does it sail?")
    await bob.keyboard.press("Enter")
    await expect(said(ada, "when does it sail?").locator("strong").last).to_have_text("@Ada Lovelace")
    await expect(ada.locator(".typing").first).to_have_text("")
    await _reactions_and_edits(ada, bob)
    await _a_thread(ada, bob)
    await _gone_for_a_while(pair)


async def _reactions_and_edits(ada: Page, bob: Page) -> None:
    await said(ada, "when does it sail?").hover()
    await said(ada, "when does it sail?").get_by_label("React to Bob Byte").click()
    await ada.get_by_role("menuitemcheckbox", name="heart").click()
    chip = said(bob, "when does it sail?").locator(".reaction")
    await expect(chip).to_have_attribute("aria-pressed", "false")
    await chip.click()
    await expect(said(ada, "when does it sail?").locator(".reaction")).to_contain_text("2")
    await said(ada, "when does it sail?").locator(".reaction").click()
    await expect(chip).to_contain_text("1")
    # One changes what one wrote; the mention in it stays one.
    await option(bob, "when does it sail?", "Edit")
    await bob.get_by_label("Change the message").fill("@Ada Lovelace when does it go?")
    await bob.get_by_label("Change the message").press("Enter")
    await expect(said(ada, "when does it go?").locator("strong").last).to_have_text("@Ada Lovelace")
    await option(ada, "when does it go?", "Quote")
    await write(ada, "Soon")
    await expect(said(bob, "Soon").locator(".quoted")).to_contain_text("Bob Byte: @Ada Lovelace when")
    await option(ada, "Soon", "Delete")
    await ada.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(said(bob, "Soon")).to_have_count(0)
    # With it goes the second place in which her page shows his words.
    await expect(said(ada, "Soon")).to_have_count(0)


async def _a_thread(ada: Page, bob: Page) -> None:
    await option(ada, "when does it go?", "Answer in a thread")
    answer = ada.get_by_label("Your answer")
    await expect(answer).to_be_focused()
    times = {"name": "times.txt", "mimeType": "text/plain", "buffer": b"At noon."}
    await ada.locator(".thread-panel input[type=file]").set_input_files(times)
    await answer.fill("See these")
    await answer.press("Enter")
    await bob.get_by_role("button", name="1 answer").click()
    thread = bob.locator(".thread-panel")
    await expect(thread.get_by_role("link", name="times.txt")).to_be_visible()
    address = await thread.get_by_role("link", name="times.txt").get_attribute("href")
    reply = await bob.context.request.get(f"{bob.url.split('/channels')[0]}{address}")
    assert await reply.body() == b"At noon."
    await bob.get_by_label("Your answer").fill("Thanks")
    await bob.get_by_label("Your answer").press("Enter")
    await expect(ada.locator(".thread-panel")).to_contain_text("Thanks")
    await expect(ada.get_by_role("button", name="2 answers")).to_be_visible()
    # It is in the thread alone.
    await expect(said(ada, "Thanks")).to_have_count(0)
    await ada.keyboard.press("Escape")
    await expect(ada.locator(".thread-panel")).to_be_hidden()


async def _gone_for_a_while(pair: Pair) -> None:
    """What could not be sent is in the field again, also after a reload; what was said meanwhile is shown."""
    ada, bob = pair.ada, pair.bob
    pair.complaints.expect(*LOST)
    channel = ada.url.rsplit("/", 1)[1]
    pair.server.kill()
    await field(ada).fill("Are you there?")
    await field(ada).press("Enter")
    await expect(ada.get_by_text("The server cannot be reached.")).to_be_visible()
    await expect(field(ada)).to_have_value("Are you there?")
    pair.server.start()
    assert await pair.api(bob, f"/channels/{channel}/messages/post", content="Back again")
    await expect(said(ada, "Back again")).to_be_visible()
    await ada.reload()
    await expect(field(ada)).to_have_value("Are you there?")
    await field(ada).press("Enter")
    await expect(said(bob, "Are you there?")).to_be_visible()
    await expect(field(ada)).to_have_value("")


async def test_conversations_and_groups(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    # Open channels are the administrators'.
    await bob.get_by_role("button", name="New channel").click()
    await expect(bob.get_by_role("dialog").get_by_role("combobox").locator("option")).to_have_count(2)
    await bob.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await new_channel(bob, "A conversation with chosen people", None, "Ada Lovelace")
    await write(bob, "Between us")
    await expect(row(ada, "Bob Byte").locator(".badge")).to_have_text("1")
    await row(ada, "Bob Byte").get_by_role("link").click()
    await expect(said(ada, "Between us")).to_be_visible()
    await new_channel(ada, "A group with a name", "crew", "Bob Byte")
    await write(ada, "Welcome")
    await option(ada, "Welcome", "Pin")
    await ada.get_by_label("Options for this channel").click()
    await ada.get_by_role("menuitem", name="Pinned messages").click()
    await expect(ada.get_by_role("dialog")).to_contain_text("Welcome")
    await ada.get_by_role("dialog").get_by_role("button", name="Close").click()
    await row(bob, "crew").get_by_role("link").click()
    await expect(said(bob, "Welcome")).to_be_visible()
    # He is put out, and is told so.
    pair.complaints.expect("404 ")
    await ada.get_by_role("button", name="People: 2").click()
    await ada.get_by_role("button", name="Put Bob Byte out").click()
    await expect(row(bob, "crew")).to_have_count(0)
    await expect(bob.get_by_label("Your message")).to_be_visible()
    await ada.get_by_role("dialog").get_by_role("button", name="Close").click()
    await ada.get_by_label("Options for this channel").click()
    await ada.get_by_role("menuitem", name="Delete the channel").click()
    await ada.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(row(ada, "crew")).to_have_count(0)
    # Who may only read is not offered a field.
    open_to_all = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    made = await pair.api(ada, "/channels/create", name="news", access_grants=open_to_all)
    await bob.goto(f"{pair.server.url}/channels/{made['id']}")
    await expect(bob.get_by_text("You may read this channel, not write in it.")).to_be_visible()
    await expect(field(bob)).to_have_count(0)
