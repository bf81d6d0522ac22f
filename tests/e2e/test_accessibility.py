"""axe-core on every view of the built-in page: wide and on a phone, in the light and in the dark. A new view is a row of VIEWS.

OUI_SCREENSHOTS=FOLDER keeps a picture of each view.
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
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, settings, sign_up
from tests.support.pictures import png
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
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
SETTLED = """async () => {
    const moving = () => document.getAnimations().filter((each) => each.playState !== "finished");
    for (let all; (all = moving()).length; ) await Promise.allSettled(all.map((each) => each.finished));
}"""
THOUGHT = {"type": "reasoning", "id": "r", "duration": 3, "content": [{"type": "output_text", "text": "Hm."}]}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "lookup", "arguments": '{"q": "x"}'}
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
    "formulas": answered("So $x^2$ is\n\n$$\\frac{a}{b}$$\n\n```math\n\\sqrt{2}\n```\n\n$\\unknown$"),
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


def ready(page: Page) -> Locator:
    """Something that every view has, and the page before it has not."""
    return page.locator("main h1, main h2").first


def tab(name: str) -> View:
    async def steps(page: Page) -> None:
        await show_list(page)
        await settings(page, name)
        await expect(page.locator(".settings-panel h3").first).to_be_visible()

    return View(steps=steps)


def clicked(*names: str, path: str = "/") -> View:
    """The view after clicks on controls of these names, one after the other."""

    async def steps(page: Page) -> None:
        for name in names:
            control = page.locator(f'[aria-label^="{name}"], [role^=menuitem]:has-text("{name}")').locator(
                "visible=true"
            )
            await control.last.click()

    return View(path, steps)


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
        await page.get_by_label("Attach a picture").click()
    await (await choosing.value).set_files({"name": "one.png", "mimeType": "image/png", "buffer": png()})
    await expect(page.get_by_label("Take one.png away")).to_be_visible()


async def keys(page: Page) -> None:
    await page.keyboard.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


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
    "new chat, typed": View(steps=typed),
    "unknown chat": View("/c/nothing"),
    "chat": View("/c/rich"),
    "chat, thoughts open": View("/c/rich", thoughts_open),
    "chat, question edited": View("/c/rich", edited),
    "chat, formulas": View("/c/formulas"),
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
    "mood": dialog("Mood", "Options for this chat", "Mood"),
    "picture attached": View(steps=picture_attached),
    "temporary chat": clicked("Temporary chat"),
    "parameters": dialog("Prompt and parameters", "Prompt and parameters"),
    "parameters, refused": View(steps=refused_parameter),
    "chat list": View(steps=show_list),
    "account menu": View(steps=account_menu),
    "model picker": clicked("Model:"),
    "new password": View(steps=new_password),
    "search, empty": View(steps=lambda page: page.keyboard.press("Control+k")),
    "search": View(steps=search_found),
    "search, nothing": View(steps=search_found_nothing),
    "settings, refused": View(steps=refused),
    "documentation": View("/static/manual.html?README.md", signed_in=False),
    **{
        f"settings, {name}": tab(name)
        for name in (
            "General",
            "Answers",
            "Account",
            "Archived chats",
            "Your data",
            "Connections",
            "Models",
            "This machine",
            "Moods",
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


SIZES: dict[str, dict[str, Any]] = {"wide": {"viewport": {"width": 1280, "height": 820}}, "phone": browsers.phone()}


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
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
    failed = server.url + "/api/v1/chats" + ids["/c/failed"].removeprefix("/c")
    assert (await request.post(f"{failed}/folder", data={"folder_id": folder["id"]})).ok
    assert (await request.post(f"{failed}/tags", data={"name": "sad"})).ok
    shared = await (await request.post(f"{server.url}/api/v1/chats/{rich}/share")).json()
    ids["/s/rich"] = f"/s/{shared['share_id']}"
    anyone = {"access_grants": [{"principal_type": "anyone", "principal_id": "*", "permission": "read"}]}
    assert (await request.post(f"{server.url}/api/v1/chats/shared/{rich}/access/update", data=anyone)).ok
    await page.close()
    yield Office(server, contexts, ids)
    for context in contexts.values():
        await context.close()


async def check(page: Page, name: str, size: str) -> list[str]:
    """What axe-core finds wrong with the page as it is now, a line each. In the dark only the colours are others."""
    await expect(page.get_by_text(re.compile("^Loading")).locator("visible=true")).to_have_count(0)
    await page.evaluate(AXE)
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


async def test_axe_finds_nothing_wrong_with_any_view(office: Office, complaints: Complaints, size: str) -> None:
    wrong: list[str] = []
    for name, view in VIEWS.items():
        address = office.server.url + office.ids.get(view.path, view.path)
        page = await browsers.open_page(office.contexts[view.signed_in], complaints, address)
        await expect(ready(page)).to_be_attached()
        if view.steps is not None:
            await view.steps(page)
        wrong += await check(page, name, size)
        await page.close()
    assert not wrong, "\n".join(wrong)
