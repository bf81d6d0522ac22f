"""axe-core on every view of the built-in page: wide and on a phone, in the light and in the dark. A new view is a row of VIEWS.

OUI_SCREENSHOTS=FOLDER keeps a picture of each view; OUI_VIEWS=REGEX looks only at those whose names it finds.
"""

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import APIRequestContext, Browser, BrowserContext, Locator, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, settings, sign_up
from tests.support.pictures import png
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
MARKDOWN = """# A title

Some **bold** words, `code`, a [link](https://example.com) and a list:

- [x] done
- [ ] to do

> A remark.

```python
def add(a: int, b: int) -> int:
    # Adds them.
    return a + b if a is not None else "nothing"
```

| Step | Cost |
| --- | ---: |
| one | 1 |

![elsewhere](https://example.com/x.png)

## Another title
"""
DIAGRAMS = "So it goes:\n\n```mermaid\ngraph TD\n  A[Ask] --> B{Known?}\n```\n\n```mermaid\nno diagram\n```\n"
# Now and then Chromium leaves the promise of an animation that has ended unfulfilled: so it is looked again after a second.
SETTLED = """async () => {
    const soon = (promise) => Promise.race([promise, new Promise((go) => setTimeout(go, 1_000))]);
    const moving = () => document.getAnimations().filter((each) => each.playState !== "finished");
    for (let all; (all = moving()).length; ) await soon(Promise.allSettled(all.map((each) => each.finished)));
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""
THOUGHT = {"type": "reasoning", "id": "r", "duration": 3, "content": [{"type": "output_text", "text": "Hm."}]}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "lookup", "arguments": '{"q": "x"}'}
ASKING = '{{text | textarea:required}} {{tone | select:options=["dry","warm"]}} {{much | range:min=1:max=9}} {{short | checkbox}}'
GONE = "6d3119f6-7519-5b57-8ef6-543dca0f29dc"
RESULT = {"type": "function_call_output", "call_id": "c", "output": "found"}


def answered(content: str, **fields: Any) -> dict[str, Any]:
    """A chat of one question and one answer, as an import brings it."""
    question = {"id": "q", "role": "user", "content": "What is it?", "parentId": None, "childrenIds": ["a"]}
    answer = {"id": "a", "role": "assistant", "model": "echo", "content": content, "parentId": "q", "done": True}
    messages = {"q": question, "a": answer | fields}
    return {"title": "A chat", "history": {"currentId": "a", "messages": messages}, "models": ["echo"]}


CHATS = {
    "rich": answered(
        MARKDOWN,
        output=[THOUGHT, CALL, RESULT, {"type": "message", "content": [{"type": "output_text", "text": MARKDOWN}]}],
        sources=[{"source": {"name": "A page", "url": "https://example.com"}}],
        followUps=["And then?", "Why?"],
    ),
    "cited": answered(
        "It sails at noon [1], on Tuesdays too [2].",
        sources=[
            {
                "source": {"type": "file", "id": GONE, "name": "ferry.md"},
                "document": ["The ferry sails at noon.", "On Tuesdays it sails twice."],
                "metadata": [
                    {"source": "ferry.md", "file_id": GONE, "page": 2, "headings": ["Boats", "Ferries"]},
                    {"source": "ferry.md", "file_id": GONE, "page": 4},
                ],
            },
            {
                "source": {"type": "web_search", "name": "A question"},
                "document": ["Tuesdays are busy."],
                "metadata": [{"source": "https://example.com/tuesdays", "name": "Tuesdays"}],
            },
            *(
                {
                    "source": {},
                    "document": ["x"],
                    "metadata": [{"source": f"Another source with a name, number {n}.pdf"}],
                }
                for n in range(9)
            ),
        ],
    ),
    "formulas": answered("So $x^2$ is\n\n$$\\frac{a}{b}$$\n\n```math\n\\sqrt{2}\n```\n\n$\\unknown$"),
    "diagrams": answered(DIAGRAMS, usage={"input_tokens": 1200, "output_tokens": 34}),
    "failed": answered("", error={"content": "The provider is overloaded."}),
    "interrupted": answered("Half an ans", meta={"interrupted": True}),
}


def several() -> dict[str, Any]:
    """A chat in which two models answered side by side, and a third merged it."""
    chat = answered("One.", modelIdx=0, merged={"status": True, "content": "Both."})
    messages = chat["history"]["messages"]
    messages["q"] |= {"models": ["echo", "fixed"], "childrenIds": ["a", "b"]}
    messages["b"] = messages["a"] | {"id": "b", "model": "fixed", "modelIdx": 1, "content": "Two."}
    return chat


CHATS["several"] = several()


@dataclass(frozen=True)
class View:
    """How one view is reached: from an address (with names of CHATS in it), by some steps."""

    path: str = "/"
    steps: Callable[[Page], Awaitable[None]] | None = None
    signed_in: bool = True
    # Its steps leave more behind than dialogs and menus: the next view begins in a tab of its own.
    dirty: bool = False


def ready(page: Page) -> Locator:
    """Something that every view has, and the page before it has not."""
    return page.locator("main h1, main h2").first


def tab(name: str) -> View:
    async def steps(page: Page) -> None:
        await show_list(page)
        await settings(page, name)
        await expect(page.locator(".settings-panel h3").first).to_be_visible()

    return View(steps=steps)


def clicked(*names: str, path: str = "/", dirty: bool = False) -> View:
    """The view after clicks on controls of these names, one after the other."""

    async def steps(page: Page) -> None:
        for name in names:
            control = page.locator(f'[aria-label^="{name}"], [role^=menuitem]:has-text("{name}")').locator(
                "visible=true"
            )
            await control.last.click()

    return View(path, steps, dirty=dirty)


def dialog(title: str, *names: str, path: str = "/c/rich") -> View:
    """A dialog of this title, which is loaded after the same clicks."""
    view = clicked(*names, path=path)

    async def steps(page: Page) -> None:
        if path == "/":
            await show_list(page)
        assert view.steps is not None
        await view.steps(page)
        await expect(page.get_by_role("dialog", name=title, exact=True)).to_be_visible()

    return View(path, steps)


async def show_list(page: Page) -> None:
    opener = page.get_by_label("Show the chat list")
    if await opener.is_visible():
        await opener.click()


async def sign_up_form(page: Page) -> None:
    await page.get_by_role("button", name="Sign up").click()


async def refused_sign_in(page: Page) -> None:
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def thoughts_open(page: Page) -> None:
    for summary in await page.locator("summary").all():
        await summary.click()


async def side_by_side(page: Page) -> None:
    await expect(page.get_by_role("article", name="Merged answer")).to_be_visible()


async def edited(page: Page) -> None:
    await page.locator(".message[data-role=user]").hover()
    await page.get_by_label("Edit and send again").click()


async def share(page: Page) -> None:
    await page.locator(".topbar").get_by_label("Options for this chat").click()
    await page.get_by_role("menuitem", name="Share").click()
    await expect(page.get_by_role("radio", name="Only me")).to_be_visible()


async def shared_with_chosen(page: Page) -> None:
    await share(page)
    await page.get_by_role("radio", name="Chosen people").check()
    await page.get_by_label("Find people and groups").fill("Bob")
    await page.get_by_role("button", name="Bob").click()
    await expect(page.get_by_label("Take Bob off the list")).to_be_visible()
    await page.get_by_label("Find people and groups").fill("nobody")
    await expect(page.get_by_text("Nobody else of that name")).to_be_visible()


async def new_password(page: Page) -> None:
    await show_list(page)
    await settings(page, "People")
    await page.get_by_role("button", name="New password for Bob").click()


async def search(page: Page, text: str) -> None:
    await page.keyboard.press("Control+k")
    await page.get_by_label("Search your chats").fill(text)
    await expect(page.get_by_text(re.compile("found"))).to_be_visible()


async def search_found(page: Page) -> None:
    await search(page, "title")


async def search_found_nothing(page: Page) -> None:
    await search(page, "zzzzz")


async def refused_parameter(page: Page) -> None:
    await page.get_by_label("Prompt and parameters").click()
    await page.get_by_label("Temperature").fill("hot")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()


async def picture_attached(page: Page) -> None:
    async with page.expect_file_chooser() as choosing:
        await page.get_by_label("Attach files").click()
    await (await choosing.value).set_files({"name": "one.png", "mimeType": "image/png", "buffer": png()})
    await expect(page.get_by_label("Take one.png away")).to_be_visible()


async def documents_attached(page: Page) -> None:
    """One that was read, and one that could not be."""
    async with page.expect_file_chooser() as choosing:
        await page.get_by_label("Attach files").click()
    good = {"name": "a quite long name of a report.md", "mimeType": "text/markdown", "buffer": b"# Report"}
    bad = {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 no document"}
    await (await choosing.value).set_files([good, bad])  # type: ignore[list-item]
    await expect(page.locator("[data-state=ready]")).to_be_visible()
    await expect(page.locator("[data-state=failed]")).to_be_visible(timeout=60_000)


async def note(page: Page) -> None:
    await expect(page.get_by_role("textbox", name="Text of the note")).to_contain_text("A title")


async def thread(page: Page) -> None:
    await page.get_by_role("button", name="1 answer").click()
    await expect(page.get_by_label("Your answer")).to_be_visible()


async def reactions(page: Page) -> None:
    await page.locator(".said").first.hover()
    if await page.get_by_label("React to Ada").first.is_visible():
        await page.get_by_label("React to Ada").first.click()
    else:
        await page.get_by_label("Options for the message of Ada").first.click()
        await page.get_by_role("menuitem", name="React").click()
    await expect(page.get_by_role("menuitemcheckbox", name="heart")).to_be_visible()


async def new_channel(page: Page) -> None:
    await show_list(page)
    await page.get_by_role("button", name="New channel").click()
    await expect(page.get_by_role("dialog", name="New channel")).to_be_visible()


async def diagrams(page: Page) -> None:
    await expect(page.get_by_role("group", name="Diagram")).to_be_visible()
    await expect(page.get_by_text("This diagram can’t be drawn")).to_be_visible()


async def own_model(page: Page) -> None:
    await show_list(page)
    await settings(page, "Own models")
    await page.get_by_role("button", name="Make a model").click()
    await expect(page.get_by_label("Made of")).to_be_visible()


async def cited(page: Page) -> None:
    await expect(page.get_by_role("button", name="Source 1: ferry.md")).to_be_visible()


async def source(page: Page) -> None:
    await page.get_by_role("button", name="Source 1: ferry.md").click()
    await expect(page.get_by_text("The file can’t be read here")).to_be_visible()


async def knowledge_offered(page: Page) -> None:
    await page.get_by_label("Your message").press_sequentially("#")
    await expect(page.get_by_role("option").first).to_be_visible()


async def prompts_offered(page: Page) -> None:
    await page.get_by_label("Your message").press_sequentially("/")
    await expect(page.get_by_role("option", name="/sum")).to_be_visible()


async def prompt_asks(page: Page) -> None:
    await prompts_offered(page)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Sum up")).to_be_visible()


async def prompt_written(page: Page) -> None:
    await show_list(page)
    await settings(page, "Prompts")
    await page.get_by_role("button", name="/sum").click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()


async def knowledge_base(page: Page) -> None:
    await show_list(page)
    await settings(page, "Knowledge")
    await page.get_by_role("button", name=re.compile("^Harbour")).click()
    await expect(page.get_by_label("Take ferry.md out")).to_be_visible()


async def knowledge_shared(page: Page) -> None:
    await knowledge_base(page)
    await page.get_by_role("button", name="Share").click()
    await page.get_by_label("Chosen people and groups").check()
    await expect(page.get_by_label("Find people and groups")).to_be_visible()


async def tool_written(page: Page) -> None:
    await show_list(page)
    await settings(page, "Tools")
    await page.get_by_role("button", name="Write a tool").click()
    await page.get_by_label("Python").fill("class Tools:\n    def broken(:\n")
    await expect(page.get_by_label("What the check found")).to_contain_text("line 2")


async def keys(page: Page) -> None:
    await page.keyboard.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


async def call(page: Page) -> None:
    """Into a microphone that beeps, which nobody understands."""
    await page.route("**/api/v1/audio/transcriptions", lambda route: route.fulfill(json={"text": ""}))
    await page.evaluate("import('/static/page/js/views/call.js').then(({ openCall }) => openCall())")
    await expect(page.get_by_role("button", name="Listening")).to_be_visible()


async def role_set(page: Page) -> None:
    """The form of a new one."""
    await show_list(page)
    await settings(page, "Role sets")
    await page.get_by_role("button", name="Make a role set").click()
    await expect(page.get_by_role("dialog", name="New role set")).to_be_visible()


async def account_menu(page: Page) -> None:
    await show_list(page)
    await page.locator(".account").click()


async def typed(page: Page) -> None:
    await page.get_by_label("Your message").fill("Two\nlines")


async def refused(page: Page) -> None:
    """An error in a toast above a dialog."""
    await show_list(page)
    await settings(page, "Account")
    await page.get_by_label("Current password").fill("wrong")
    await page.get_by_label("New password").fill("another long password")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_role("alert")).to_be_visible()


VIEWS = {
    "sign in": View(signed_in=False),
    "sign in refused": View(steps=refused_sign_in, signed_in=False),
    "sign up": View(steps=sign_up_form, signed_in=False),
    "shared chat, stranger": View("/s/rich", signed_in=False),
    "shared chat, unknown": View("/s/nothing"),
    "shared chat": View("/s/rich"),
    "new chat": View(),
    "new chat, typed": View(steps=typed, dirty=True),
    "unknown chat": View("/c/nothing"),
    "chat": View("/c/rich"),
    "chat, thoughts open": View("/c/rich", thoughts_open),
    "chat, question edited": View("/c/rich", edited, dirty=True),
    "chat, formulas": View("/c/formulas"),
    "chat, diagrams": View("/c/diagrams", diagrams),
    "chat, cited": View("/c/cited", cited),
    "source": View("/c/cited", source),
    "chat, failed answer": View("/c/failed"),
    "chat, interrupted answer": View("/c/interrupted"),
    "chat, several answers": View("/c/several", side_by_side),
    "other models": clicked("Ask other models"),
    "chat menu": clicked("Options for this chat", path="/c/rich"),
    "share": View("/c/failed", share),
    "share, chosen": View("/c/rich", shared_with_chosen),
    "rename": clicked("Options for this chat", "Rename", path="/c/rich"),
    "delete": clicked("Options for this chat", "Delete", path="/c/rich"),
    "export": dialog("Export chat", "Options for this chat", "Export"),
    "tags": dialog("Tags", "Options for this chat", "Tags"),
    "move": dialog("Move to a folder", "Options for this chat", "Move"),
    "chats with a tag": dialog("Chats with a tag", "Folders and tags", "Chats with a tag", path="/"),
    "new folder": dialog("New folder", "Folders and tags", "New folder", path="/"),
    "delete folder": dialog("Delete folder?", "Options for the folder Work", "Delete", path="/"),
    "keys": View(steps=keys),
    "call": View(steps=call, dirty=True),
    "mood": dialog("Mood", "Options for this chat", "Mood"),
    "picture attached": View(steps=picture_attached, dirty=True),
    "documents attached": View(steps=documents_attached, dirty=True),
    "knowledge offered": View(steps=knowledge_offered, dirty=True),
    "prompts offered": View(steps=prompts_offered, dirty=True),
    "prompt, asking": View(steps=prompt_asks, dirty=True),
    "prompt, written": View(steps=prompt_written),
    "temporary chat": clicked("Temporary chat", dirty=True),
    "parameters": dialog("Prompt and parameters", "Prompt and parameters"),
    "parameters, refused": View(steps=refused_parameter),
    "chat list": View(steps=show_list),
    "account menu": View(steps=account_menu),
    "model picker": clicked("Model:"),
    "new password": View(steps=new_password),
    "search, empty": View(steps=lambda page: page.keyboard.press("Control+k")),
    "search": View(steps=search_found),
    "search, nothing": View(steps=search_found_nothing),
    "settings, refused": View(steps=refused, dirty=True),
    "knowledge base": View(steps=knowledge_base),
    "knowledge base, shared": View(steps=knowledge_shared),
    "own model": View(steps=own_model),
    "tool, written": View(steps=tool_written, dirty=True),
    "role set": View(steps=role_set),
    "notes": View("/notes"),
    "note": View("/notes/one", note),
    "channel": View("/channels/one"),
    "channel, thread": View("/channels/one", thread),
    "channel, reactions": View("/channels/one", reactions),
    "new channel": View(steps=new_channel),
    "documentation": View("/static/manual.html?README.md", signed_in=False),
    **{
        f"settings, {name}": tab(name)
        for name in (
            "General",
            "Answers",
            "Account",
            "Keys",
            "Sessions",
            "Knowledge",
            "Tools",
            "Own models",
            "Prompts",
            "Notifications",
            "Pictures",
            "Archived chats",
            "Your data",
            "Connections",
            "Models",
            "This machine",
            "Documents",
            "Functions",
            "Moods",
            "Audit record",
            "Sign-ins",
            "Role sets",
            "People",
        )
    },
}


@dataclass(frozen=True)
class Office:
    """A server with chats, and two browsers: the administrator's and a stranger's. `ids`: those of the chats in it."""

    server: Server
    contexts: dict[bool, BrowserContext]
    ids: dict[str, str]


# Into so many tests the views are dealt, for processors that run beside one another.
PARTS = 3
SIZES: dict[str, dict[str, Any]] = {"wide": {"viewport": {"width": 1280, "height": 820}}, "phone": browsers.phone()}


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def office(
    browser: Browser,
    make_server: Callable[..., Server],
    database_url: str,
    upstream: Upstream,
    complaints: Complaints,
    size: str,
) -> AsyncIterator[Office]:
    complaints.expect("401 ", "400 ", "404 ")
    server = make_server(
        DATABASE_URL=database_url,
        OPENAI_API_BASE_URLS=upstream.openai_url,
        OPENAI_API_KEYS="sk-1",
        ENABLE_SIGNUP="true",
        ENABLE_API_KEYS="true",
        ENABLE_CHANNELS="true",
        ENABLE_USER_WEBHOOKS="true",
    ).start()
    # What moves is half transparent for a moment, and has another contrast then.
    contexts = {
        who: await browser.new_context(**SIZES[size], color_scheme="light", reduced_motion="reduce")
        for who in (True, False)
    }
    page = await browsers.open_page(contexts[True], complaints, server.url)
    await expect(ready(page)).to_be_attached()
    assert await check(page, "first account", size) == []
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    request = contexts[True].request
    person = {"name": "Bob", "email": BOB, "password": PASSWORD, "role": "pending"}
    assert (await request.post(f"{server.url}/api/v1/auths/add", data=person)).ok
    ids = {}
    for name, chat in CHATS.items():
        made = await (await request.post(f"{server.url}/api/v1/chats/new", data={"chat": chat})).json()
        ids[f"/c/{name}"] = f"/c/{made['id']}"
    rich = ids["/c/rich"].removeprefix("/c/")
    folder = await (await request.post(f"{server.url}/api/v1/folders/", data={"name": "Work"})).json()
    opened = f"{server.url}/api/v1/folders/{folder['id']}/update/expanded"
    assert (await request.post(opened, data={"is_expanded": True})).ok
    base = {
        "name": "Harbour",
        "description": "Timetables of ships, and what is known of the boats in the harbour of our town.",
    }
    made = await (await request.post(f"{server.url}/api/v1/knowledge/create", data=base)).json()
    file = {"name": "ferry.md", "mimeType": "text/markdown", "buffer": b"The ferry sails at noon."}
    sent = {"file": file, "metadata": json.dumps({"knowledge_id": made["id"]})}
    address = f"{server.url}/api/v1/files/?process_in_background=false"
    assert (await request.post(address, multipart=sent)).ok  # type: ignore[arg-type]
    prompt = {"command": "sum", "name": "Sum up", "tags": ["work"], "content": ASKING}
    assert (await request.post(f"{server.url}/api/v1/prompts/create", data=prompt)).ok
    failed = server.url + "/api/v1/chats" + ids["/c/failed"].removeprefix("/c")
    assert (await request.post(f"{failed}/folder", data={"folder_id": folder["id"]})).ok
    assert (await request.post(f"{failed}/tags", data={"name": "sad"})).ok
    shared = await (await request.post(f"{server.url}/api/v1/chats/{rich}/share")).json()
    ids["/s/rich"] = f"/s/{shared['share_id']}"
    anyone = {"access_grants": [{"principal_type": "anyone", "principal_id": "*", "permission": "read"}]}
    assert (await request.post(f"{server.url}/api/v1/chats/shared/{rich}/access/update", data=anyone)).ok
    ids |= await places(request, server)
    await page.close()
    yield Office(server, contexts, ids)
    for context in contexts.values():
        await context.close()


async def places(request: APIRequestContext, server: Server) -> dict[str, str]:
    """A note, and a channel with a thread; and a place where notifications go. The addresses of the two."""

    async def post(path: str, data: dict[str, Any]) -> Any:
        reply = await request.post(f"{server.url}/api/v1{path}", data=data)
        assert reply.ok, await reply.text()
        return await reply.json()

    note = await post("/notes/create", {"title": "One", "data": {"content": {"md": MARKDOWN}}})
    channel = await post("/channels/create", {"name": "harbour", "description": "About ships"})
    said = f"/channels/{channel['id']}/messages"
    first = await post(f"{said}/post", {"content": "When does it *sail*?"})
    await post(f"{said}/post", {"content": "At noon.", "parent_id": first["id"]})
    await post(f"{said}/{first['id']}/reactions/add", {"name": "heart"})
    await post("/notifications/targets", {"id": "here", "type": "page", "events": ["chat.failed"]})
    return {"/notes/one": f"/notes/{note['id']}", "/channels/one": f"/channels/{channel['id']}"}


async def check(page: Page, name: str, size: str) -> list[str]:
    """What axe-core finds wrong with the page as it is now, a line each. In the dark only the colours are others."""
    await expect(page.get_by_text(re.compile("^Loading")).locator("visible=true")).to_have_count(0)
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    # axe looks what lies on top to tell whether a dialog is open, and finds what has been painted.
    await page.evaluate(SETTLED)
    wrong = await violations(page, f"{name}, {size}", {})
    await page.evaluate("document.documentElement.dataset.theme = 'dark'")
    # A colour that is inherited moves once its parent's has.
    await page.evaluate(SETTLED)
    return wrong + await violations(page, f"{name}, {size}, dark", {"runOnly": ["color-contrast"]})


async def violations(page: Page, title: str, options: dict[str, Any]) -> list[str]:
    folder = os.environ.get("OUI_SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}.png")
    run = "(options) => axe.run(options).then((done) => done.violations)"
    return [
        f"{title}: {each['id']} ({each['help']}) at {json.dumps(node['target'])}: {node['failureSummary']}"
        for each in await page.evaluate(run, {"preload": False, "resultTypes": ["violations"]} | options)
        for node in each["nodes"]
    ]


# Closes what lies above the page and goes to an address within it, as the browser's own buttons do.
ELSEWHERE = """(path) => {
    delete document.documentElement.dataset.theme;
    for (const each of document.querySelectorAll('dialog[open]')) each.close();
    for (const each of document.querySelectorAll(':popover-open')) each.hidePopover();
    document.getElementById('toasts').replaceChildren();
    history.pushState(null, '', path);
    dispatchEvent(new PopStateEvent('popstate'));
}"""


class Tabs:
    """The views one after the other, in the tab of the one before where that left nothing behind.

    To load the page anew for each took half of the time.
    """

    def __init__(self, office: Office, complaints: Complaints) -> None:
        self.office, self.complaints = office, complaints
        self.page: Page | None = None

    async def show(self, view: View) -> Page:
        path = self.office.ids.get(view.path, view.path)
        within = view.signed_in and not path.startswith(("/s/", "/static/"))
        if self.page is not None and within:
            await self.page.evaluate(ELSEWHERE, path)
            await self.page.evaluate(SETTLED)
            await expect(self.page.locator("dialog")).to_have_count(0)
        else:
            await self.leave()
            context = self.office.contexts[view.signed_in]
            self.page = await browsers.open_page(context, self.complaints, self.office.server.url + path)
        page = self.page
        await expect(ready(page)).to_be_attached()
        if view.steps is not None:
            await view.steps(page)
        if view.dirty or not within:
            self.page = None
        return page

    async def leave(self) -> None:
        if self.page is not None:
            await self.page.close()
        self.page = None


@pytest.mark.parametrize("part", range(PARTS))
async def test_axe_finds_nothing_wrong_with_any_view(
    office: Office, complaints: Complaints, size: str, part: int
) -> None:
    wrong: list[str] = []
    only = os.environ.get("OUI_VIEWS")
    tabs = Tabs(office, complaints)
    for name, view in list(VIEWS.items())[part::PARTS]:
        if only and not re.search(only, name):
            continue
        page = await tabs.show(view)
        wrong += await check(page, name, size)
        if tabs.page is None:
            await page.close()
    assert not wrong, "\n".join(wrong)
