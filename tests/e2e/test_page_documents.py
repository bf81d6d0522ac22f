"""Documents on the built-in page: attached, read, asked about, cited, and kept together in knowledge bases."""

import asyncio
import json
import re

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.support import browser as browsers
from tests.support.documents import pdf
from tests.support.page import BOB, PASSWORD, Visit, answer, running, settings, sign_in

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
FERRY = "# Timetable\n\nThe yellow ferry sails at noon.\n"
BAKERY = "# Bakery\n\nRye bread is baked on Tuesdays.\n"


async def attach(page: Page, *documents: tuple[str, str]) -> None:
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Attach files").click()
    files = [{"name": name, "mimeType": "text/markdown", "buffer": text.encode()} for name, text in documents]
    await (await choosing.value).set_files(files)  # type: ignore[arg-type]


def chip(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Attachments").get_by_role("listitem").filter(has_text=name)


async def answered(page: Page) -> None:
    await expect(page.get_by_label("Copy answer").last).to_be_attached()
    await expect(running(page)).to_have_count(0)


async def test_documents_are_read_and_go_along_with_later_questions(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    await attach(page, ("ferry.md", FERRY), ("bakery.md", BAKERY))
    for name in ("ferry.md", "bakery.md"):
        await expect(chip(page, name)).to_contain_text("Ready")
    await page.get_by_label("Take bakery.md away").click()
    await expect(chip(page, "bakery.md")).to_have_count(0)
    await page.get_by_label("Your message").fill("When does the yellow ferry sail?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("sails at noon")
    await answered(page)
    asked = page.locator(".message[data-role=user]")
    await expect(asked.last.get_by_role("list", name="Attached files")).to_have_text("ferry.md")
    # It goes along with the next question, also after a reload, until it is taken away.
    await page.reload()
    await expect(chip(page, "ferry.md")).to_be_visible()
    await visit.say("And the ferry again?", "echo")
    await expect(page.locator(".message[data-role=assistant]")).to_have_count(2)
    await expect(answer(page)).to_contain_text("sails at noon")
    await answered(page)
    await page.get_by_label("Take ferry.md away").click()
    await expect(chip(page, "ferry.md")).to_have_count(0)
    await page.reload()
    # While the chat is being loaded nothing can be sent.
    await expect(page.locator(".message")).to_have_count(4)
    await visit.say("And the ferry now?", "echo")
    await expect(answer(page)).to_have_text("And the ferry now?")
    await expect(page.get_by_role("list", name="Attachments")).to_be_hidden()


async def test_sending_waits_for_the_upload(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    go_on = asyncio.Event()

    async def slow(route: Route) -> None:
        await go_on.wait()
        await route.continue_()

    await page.route("**/api/v1/files/", slow)
    await attach(page, ("ferry.md", FERRY))
    await expect(chip(page, "ferry.md")).to_contain_text("Uploading")
    await page.get_by_label("Your message").fill("When does the yellow ferry sail?")
    await page.keyboard.press("Enter")
    # The question stands there until the file has arrived.
    await expect(page.get_by_label("Your message")).to_have_value("When does the yellow ferry sail?")
    go_on.set()
    await expect(answer(page)).to_contain_text("sails at noon")


async def test_what_can_not_be_uploaded_or_read_says_why(visit: Visit) -> None:
    page = visit.page
    visit.complaints.expect("413 ")
    refusing = True

    async def refuse(route: Route) -> None:
        if refusing and route.request.method == "POST":
            await route.fulfill(status=413, json={"detail": "A file may have at most 1 MB."})
        else:
            await route.continue_()

    await page.route("**/api/v1/files/", refuse)
    await attach(page, ("ferry.md", FERRY))
    await expect(chip(page, "ferry.md")).to_contain_text("A file may have at most 1 MB.")
    await page.get_by_label("Your message").fill("When?")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text(
        "ferry.md could not be uploaded: A file may have at most 1 MB."
    )
    await expect(page.get_by_label("Your message")).to_have_value("When?")
    refusing = False
    await page.get_by_role("button", name="Try ferry.md again").click()
    await expect(chip(page, "ferry.md")).to_contain_text("Ready")
    await attach(page, ("broken.pdf", "%PDF-1.7\nno document at all"))
    broken = chip(page, "broken.pdf")
    # A process that reads such files is started first.
    await expect(broken.get_by_role("button", name="Try broken.pdf again")).to_be_visible(timeout=60_000)
    await expect(broken.locator("[data-state=failed]")).to_be_visible()
    await page.get_by_label("Your message").press("Enter")
    await expect(page.get_by_role("alert").last).to_have_text(re.compile("broken.pdf can’t be read: ."))
    await page.get_by_label("Take broken.pdf away").click()
    await expect(broken).to_have_count(0)


async def test_what_was_just_chosen_goes_along(visit: Visit) -> None:
    page = visit.page
    await visit.choose("echo")
    held = asyncio.Event()

    async def later(route: Route) -> None:
        await held.wait()
        await route.continue_()

    # The part of the page that takes files comes late.
    await page.route("**/js/views/attach.js", later)
    await attach(page, ("ferry.md", FERRY))
    await attach(page, ("bakery.md", BAKERY))
    await page.get_by_label("Your message").fill("When does the yellow ferry sail?")
    await page.keyboard.press("Enter")
    held.set()
    asked = page.locator(".message[data-role=user]").last
    await expect(asked.get_by_role("list", name="Attached files").get_by_role("listitem")).to_have_text(
        ["ferry.md", "bakery.md"]
    )
    await answered(page)
    await expect(answer(page)).to_contain_text("sails at noon")


async def test_an_answer_cites_passages_that_open_in_their_place(visit: Visit) -> None:
    page = visit.page
    visit.upstream.answer_when("yellow ferry", "It sails at noon [1], `x[1]`, and not [7].")
    await visit.choose("echo")
    filling = "\n\n".join(f"Line {n} of a long timetable." for n in range(400))
    await attach(
        page, ("ferry.md", f"# Ünïts 😀\n\n{filling}\n\n# Boats\n\nThe yellow ferry sails at noon.\n\n{filling}")
    )
    await page.get_by_label("Your message").fill("When does the yellow ferry sail?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("It sails at noon")
    await answered(page)
    cited = page.get_by_role("button", name="Source 1: ferry.md")
    await expect(cited).to_have_count(1)
    await expect(answer(page)).to_have_text("It sails at noon 1, x[1], and not [7].")
    row = page.get_by_role("list", name="Sources")
    await expect(row.locator("[data-cited]")).to_have_text("1ferry.md")
    await cited.click()
    dialog = page.get_by_role("dialog", name="ferry.md")
    text = dialog.get_by_role("region", name="Text of ferry.md")
    await expect(text).to_contain_text("Line 399 of a long timetable.")
    marked = text.locator("mark[data-current]").filter(has_text="The yellow ferry sails at noon.")
    await expect(marked).to_be_in_viewport()
    await expect(dialog.get_by_text("Boats", exact=True)).to_be_visible()
    async with page.expect_download() as downloading:
        await dialog.get_by_role("link", name="Download the file").click()
    assert (await downloading.value).suggested_filename == "ferry.md"
    await page.keyboard.press("Escape")
    await expect(cited).to_be_focused()
    # After a reload the same, from what is stored; and what it rests on stays when the file has gone.
    await page.reload()
    await expect(cited).to_have_count(1)
    files = await (await visit.context.request.get(f"{visit.server.url}/api/v1/files/")).json()
    for file in files["items"]:
        await visit.context.request.delete(f"{visit.server.url}/api/v1/files/{file['id']}")
    visit.complaints.expect("404 ")
    await row.get_by_role("button", name="ferry.md").click()
    await expect(dialog.get_by_text("The file can’t be read here")).to_be_visible()
    await expect(text).to_contain_text("The yellow ferry sails at noon.")


async def test_a_citation_of_a_pdf_opens_at_its_page(visit: Visit) -> None:
    page = visit.page
    visit.upstream.answer_when("yellow ferry", "It sails at noon [1].")
    await visit.choose("echo")
    data = pdf([["Ünits and measures."], ["The yellow ferry sails at noon."], ["Rye bread is baked on Tuesdays."]])
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Attach files").click()
    await (await choosing.value).set_files({"name": "ferry.pdf", "mimeType": "application/pdf", "buffer": data})
    # A process is begun that reads it.
    await expect(chip(page, "ferry.pdf")).to_contain_text("Ready", timeout=60_000)
    await page.get_by_label("Your message").fill("When does the yellow ferry sail?")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Source 1: ferry.pdf").click()
    text = page.get_by_role("dialog", name="ferry.pdf").get_by_role("region", name="Text of ferry.pdf")
    await expect(text.locator(".page-start")).to_have_text(["Page 1", "Page 2", "Page 3"])
    await expect(text.locator(".page-start:has-text('Page 2') + mark")).to_have_text(re.compile("The yellow ferry"))
    await expect(page.get_by_role("link", name="Download the file")).to_have_attribute("download", "ferry.pdf")


async def make_base(visit: Visit, name: str, text: str) -> None:
    """A knowledge base with one document, over the API."""
    url, request = visit.server.url, visit.context.request
    base = await (await request.post(f"{url}/api/v1/knowledge/create", data={"name": name, "description": "d"})).json()
    file = {"name": f"{name}.md", "mimeType": "text/markdown", "buffer": text.encode()}
    sent = {"file": file, "metadata": json.dumps({"knowledge_id": base["id"]})}
    stored = await request.post(f"{url}/api/v1/files/?process_in_background=false", multipart=sent)  # type: ignore[arg-type]
    assert stored.ok, await stored.text()


async def test_a_sign_offers_knowledge_and_files(visit: Visit) -> None:
    page = visit.page
    await make_base(visit, "Harbour", FERRY)
    await make_base(visit, "Town", BAKERY)
    await visit.choose("echo")
    typed = page.get_by_label("Your message")
    await typed.press_sequentially("About #har")
    offered = page.get_by_role("listbox", name="Knowledge and files").get_by_role("option")
    await expect(offered).to_have_text(["Harbourd", "Harbour.md"])
    await expect(offered.first).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(offered.first).to_be_hidden()
    await typed.press_sequentially("b")
    await expect(offered.first).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(chip(page, "Harbour")).to_be_visible()
    await expect(typed).to_have_value("About ")
    await page.keyboard.type("#town")
    await expect(offered).to_have_count(2)
    await offered.last.click()
    await expect(chip(page, "Town.md")).to_be_visible()
    await page.get_by_label("Take Town.md away").click()
    await page.keyboard.type("the yellow ferry: when?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("sails at noon")
    await answered(page)
    await expect(chip(page, "Harbour")).to_be_visible()


async def is_read_only_for_bob(visit: Visit, browser: Browser) -> None:
    visit.complaints.expect("401 ")
    context = await browser.new_context(**browsers.phone())
    theirs = await browsers.open_page(context, visit.complaints, visit.server.url)
    await sign_in(theirs, BOB)
    await theirs.get_by_label("Show the chat list").click()
    await settings(theirs, "Knowledge")
    await expect(theirs.get_by_label("Name of a new knowledge base")).to_have_count(0)
    await theirs.get_by_role("button", name=re.compile("Harbour 1 file · Ships and boats · of Ada Lovelace")).click()
    await expect(theirs.get_by_text("ferry.md")).to_be_visible()
    for name in ("Add files", "Save", "Share", "Delete this knowledge base"):
        await expect(theirs.get_by_role("button", name=name)).to_have_count(0)
    await expect(theirs.get_by_label("Take ferry.md out")).to_have_count(0)
    assert await theirs.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    await context.close()


async def test_a_knowledge_base_is_made_filled_shared_and_deleted(visit: Visit, browser: Browser) -> None:
    page = visit.page
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "user"}
    assert (await visit.context.request.post(f"{visit.server.url}/api/v1/auths/add", data=person)).ok
    await settings(page, "Knowledge")
    await expect(page.get_by_text("There is no knowledge base for you yet.")).to_be_visible()
    await page.get_by_label("Name of a new knowledge base").fill("Harbor")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_text("No file in here yet.")).to_be_visible()
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Add files").click()
    ferry = {"name": "ferry.md", "mimeType": "text/markdown", "buffer": FERRY.encode()}
    broken = {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 no document"}
    await (await choosing.value).set_files([ferry, broken])  # type: ignore[list-item]
    await expect(page.get_by_label("Take ferry.md out")).to_be_visible()
    # What can't be read stays there with the reason, until it is taken away.
    coming = page.get_by_role("list", name="On their way").get_by_role("listitem")
    await expect(coming.locator("[data-state=failed]")).to_be_visible(timeout=60_000)
    await page.get_by_role("button", name="All knowledge").click()
    await page.get_by_role("button", name=re.compile("Harbor 2 files")).click()
    broken_row = page.get_by_role("listitem").filter(has_text="broken.pdf")
    await expect(broken_row.locator(".problem-text")).to_contain_text("broken.pdf")
    async with page.expect_response("**/file/update") as again:
        await page.get_by_label("Read broken.pdf again").click()
    assert (await again.value).ok
    await expect(page.get_by_role("list", name="Being read")).to_have_count(0, timeout=60_000)
    await expect(broken_row.locator(".problem-text")).to_be_visible()
    await page.get_by_label("Take broken.pdf out").click()
    await page.get_by_role("button", name="Take it out").click()
    await expect(broken_row).to_have_count(0)
    await page.get_by_label("Name", exact=True).fill("Harbour")
    await page.get_by_label("What is in it").fill("Ships and boats")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Harbour")).to_be_visible()
    await page.get_by_role("button", name="Share").click()
    sharing = page.get_by_role("dialog", name="Share knowledge")
    await sharing.get_by_label("Chosen people and groups").check()
    await sharing.get_by_label("Find people and groups").fill("Bob")
    await sharing.get_by_role("button", name="Bob").click()
    await expect(sharing.get_by_label("Take Bob off the list")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("Shared with others.")).to_be_visible()
    await page.get_by_role("button", name="All knowledge").click()
    await expect(page.get_by_role("button", name=re.compile("Harbour 1 file · Ships and boats"))).to_be_focused()

    await is_read_only_for_bob(visit, browser)
    await page.get_by_role("button", name=re.compile("Harbour 1 file")).click()
    await page.get_by_label("Take ferry.md out").click()
    await page.get_by_role("button", name="Take it out").click()
    await expect(page.get_by_text("No file in here yet.")).to_be_visible()
    await page.get_by_role("button", name="Delete this knowledge base").click()
    await page.get_by_role("dialog", name="Delete knowledge base?").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There is no knowledge base for you yet.")).to_be_visible()


async def test_an_administrator_tries_a_search(visit: Visit) -> None:
    page = visit.page
    await settings(page, "Knowledge")
    await page.get_by_label("Name of a new knowledge base").fill("Harbor")
    await page.get_by_role("button", name="Create").click()
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Add files").click()
    files = [("ferry.md", FERRY), ("bakery.md", BAKERY)]
    given = [{"name": name, "mimeType": "text/markdown", "buffer": text.encode()} for name, text in files]
    await (await choosing.value).set_files(given)  # type: ignore[arg-type]
    for name, _ in files:
        await expect(page.get_by_label(f"Take {name} out")).to_be_visible()
    await page.get_by_role("tab", name="Documents").click()
    await page.get_by_label("Question", exact=True).fill("yellow ferry")
    await page.get_by_role("button", name="Search", exact=True).click()
    found = page.get_by_role("list", name="Found").get_by_role("listitem")
    await expect(found).to_have_count(1)
    await expect(found).to_contain_text("ferry.md")
    await expect(page.get_by_text("Nothing has been embedded: only words were searched.")).to_be_visible()
    await page.get_by_text("By words: 1").click()
    await expect(page.get_by_text("The yellow ferry sails at noon.").nth(1)).to_be_visible()


async def test_a_question_looks_into_the_web_once_that_is_switched_on(visit: Visit) -> None:
    page = visit.page
    # Nothing answers there: what the person is told is looked at, not what is found.
    settings = {
        "ENABLE_WEB_SEARCH": True,
        "ENABLE_WEB_SEARCH_CONFIRMATION": True,
        "WEB_SEARCH_CONFIRMATION_CONTENT": "It goes to a search engine.",
        "WEB_SEARCH_ENGINE": "searxng",
        "SEARXNG_QUERY_URL": "http://127.0.0.1:9/search",
    }
    await expect(page.get_by_role("button", name="Search the web")).to_be_hidden()
    save = """async (web) => (await fetch('/api/v1/retrieval/config/update', {
        method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({web})})).status"""
    assert await page.evaluate(save, settings) == 200
    await page.reload()
    await visit.choose("fixed")
    web = page.get_by_role("button", name="Search the web")
    await web.click()
    await page.get_by_role("dialog").get_by_text("It goes to a search engine.").wait_for()
    await page.get_by_role("dialog").get_by_role("button", name="Search").click()
    await expect(web).to_have_attribute("aria-pressed", "true")
    async with page.expect_request("**/api/chat/completions") as asked:
        await visit.say("Where do kangaroos box?")
    sent = json.loads((await asked.value).post_data or "")
    assert sent["features"]["web_search"] is True
    await expect(page.get_by_text("The web could not be searched").first).to_be_visible()
    await answered(page)
    # It stays on in this chat, and is off in another one.
    await expect(web).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="New chat").first.click()
    await expect(web).to_have_attribute("aria-pressed", "false")
