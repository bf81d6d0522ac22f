"""Pictures of chats: none stays in the database, each reaches the model, and exports have them again."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.chat.context.pictures import GONE, LEFT_OUT, inline_pictures
from open_webui.services import files
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live, sign_up
from tests.support.pictures import (
    ADDRESS,
    allow_everything,
    base64_in,
    chat,
    data_url,
    picture,
    png,
    question,
    shown_at,
    unused_references,
)
from tests.support.upstream import Upstream


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def ask(page: Page, body: dict[str, Any]) -> str:
    """Asks, waits for the end, and gives the chat's id."""
    page.events.clear()
    reply = await page.post(body)
    await page.idle(body.get("chat_id") or reply["chat_id"])
    return str(reply["chat_id"])


def asked(page: Page, urls: list[str], **more: Any) -> dict[str, Any]:
    body = page.ask("echo", "What is this?", **more)
    body["user_message"]["files"] = [{"type": "image", "url": url} for url in urls]
    return body


def sent(upstream: Upstream) -> list[str]:
    """The addresses of the pictures in the newest request for an answer, and the sentences in their places."""
    out = []
    for message in upstream.chats[-1].body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            out += [part["image_url"]["url"]] if part["type"] == "image_url" else [part["text"]]
    return out


async def test_a_question_has_pictures(page: Page, live: Live, upstream: Upstream) -> None:
    body = asked(page, [picture(1), picture(2), "https://example.com/a.png"])
    chat_id = await ask(page, body)
    assert sent(upstream) == ["What is this?", picture(1), picture(2), "https://example.com/a.png"]
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    question = (await page.stored(chat_id))["chat"]["history"]["messages"][body["user_message"]["id"]]
    address = shown_at(question["files"][0])
    assert ADDRESS.fullmatch(address)
    assert (await page.http.get(address)).content == png(1)
    # Asked again, and after an edit of the same question by the page that has the addresses now.
    again = page.ask("echo", "And now?", chat_id=chat_id, parent_id=body["id"])
    await ask(page, again)
    assert sent(upstream)[:3] == ["What is this?", picture(1), picture(2)]


async def test_pictures_as_parts_of_a_content(page: Page, live: Live, upstream: Upstream) -> None:
    body = page.ask("echo", "x")
    body["user_message"]["content"] = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": picture(), "detail": "low"}},
    ]
    await ask(page, body)
    part = upstream.chats[-1].body["messages"][-1]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": picture(), "detail": "low"}}
    assert await base64_in(live) == []


async def test_the_newest_pictures_are_kept(
    make_live: Any, connections: None, upstream: Upstream, page_of: Any
) -> None:
    live = await make_live(chat_history_max_picture_mb=0.1)
    async with page_of(live) as page:
        urls = [picture(k, 30_000) for k in range(6)]
        first = asked(page, urls[:3])
        chat_id = await ask(page, first)
        assert sent(upstream) == ["What is this?", *urls[:2], LEFT_OUT]
        await ask(page, asked(page, urls[3:5], chat_id=chat_id, parent_id=first["id"]))
        assert sent(upstream) == ["What is this?", LEFT_OUT, LEFT_OUT, LEFT_OUT, "What is this?", *urls[3:5]]


@pytest.fixture
def page_of() -> Any:
    @asynccontextmanager
    async def opened(live: Live) -> AsyncIterator[Page]:
        actor = await sign_up(live, "Admin One")
        async with actor.client, open_page(actor.client, actor.token) as page:
            yield page

    return opened


async def test_a_temporary_chat_stores_no_picture(page: Page, live: Live, upstream: Upstream) -> None:
    body = asked(page, [picture()], chat_id="temporary:1")
    body["messages"] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture()}}]}]
    await ask(page, body)
    assert sent(upstream) == [picture()]
    assert await live.app.state.oui.blobs.size("0" * 64) is None
    async with live.app.state.oui.database.read() as connection:
        assert await live_files(connection) == 0


async def live_files(connection: Any) -> int:
    return int(await connection.scalar(sa.text("SELECT count(*) FROM file")))


async def test_a_picture_of_somebody_else_is_not_sent(page: Page, live: Live, upstream: Upstream, user: Actor) -> None:
    """An id written into a question is no right: the model would describe it."""
    made = await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture(9)))})
    address = shown_at(made.json()["chat"]["history"]["messages"]["q"]["files"][0])
    live.app.state.oui.settings.__dict__["enable_admin_chat_access"] = False
    await ask(page, asked(page, [address, address.split("/")[4]]))
    assert sent(upstream) == ["What is this?", GONE, GONE]


async def test_a_picture_whose_bytes_are_gone_is_named(page: Page, upstream: Upstream, live: Live) -> None:
    first = asked(page, [picture()])
    chat_id = await ask(page, first)
    state = live.app.state.oui
    for keys in [keys async for keys in state.blobs.untouched(4e9)]:
        for key in keys:
            await state.blobs.delete(key, 4e9)
    await ask(page, page.ask("echo", "And?", chat_id=chat_id, parent_id=first["id"]))
    assert sent(upstream)[:2] == ["What is this?", GONE]


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("data:image/png;base64," + "A" * 1500 + "!", 400, "not valid base64"),
        ("data:image/png;base64," + "A" * 1501, 400, "not valid base64"),
    ],
)
async def test_a_broken_picture_is_refused(live: Live, page: Page, url: str, status: int, said: str) -> None:
    reply = await page.http.post("/api/chat/completions", json=asked(page, [url]))
    assert (reply.status_code, said in reply.json()["detail"]) == (status, True)
    reply = await page.http.post("/api/v1/chats/new", json={"chat": chat(question(url))})
    assert (reply.status_code, said in reply.json()["detail"]) == (status, True)
    assert (await page.http.get("/api/v1/chats/")).json() == []


async def test_a_message_has_so_many_pictures_at_most(page: Page) -> None:
    reply = await page.http.post("/api/chat/completions", json=asked(page, [picture(k, 1500) for k in range(65)]))
    assert (reply.status_code, "At most 64 pictures" in reply.json()["detail"]) == (413, True)


async def test_the_same_document_saved_again_makes_nothing_new(live: Live, user: Actor) -> None:
    """Pages post their own copy, data: URLs and all."""
    document = chat(question(picture()), {"id": "a", "role": "assistant", "content": f"![p]({picture(2)}) there"})
    made = (await user.client.post("/api/v1/chats/new", json={"chat": document})).json()
    text = made["chat"]["history"]["messages"]["a"]["content"]
    assert ADDRESS.search(text)
    assert text.endswith(") there")
    for _ in range(3):
        again = await user.client.post(f"/api/v1/chats/{made['id']}", json={"chat": document})
        assert again.json()["chat"]["history"]["messages"]["a"]["content"] == text
    async with live.app.state.oui.database.read() as connection:
        assert await live_files(connection) == 2
    assert await base64_in(live) == []
    assert await unused_references(live) == []


async def exported(actor: Actor) -> list[dict[str, Any]]:
    reply = await actor.client.get("/api/v1/chats/all")
    return [json.loads(line) for line in reply.text.splitlines()]


async def test_an_export_has_the_pictures_and_can_be_imported(live: Live, user: Actor, other: Actor) -> None:
    said = {"id": "a", "role": "assistant", "content": f"![p]({picture(2)})"}
    pdf = data_url(b"%PDF-1.7" + b"\xff\x00" * 900, "application/pdf")
    await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture()), said, question(pdf, "q2"))})
    chats = await exported(user)
    messages = chats[0]["chat"]["history"]["messages"]
    assert messages["q"]["files"][0]["url"] == picture()
    assert messages["a"]["content"] == f"![p]({picture(2)})"
    assert messages["q2"]["files"][0]["url"] == pdf
    reply = await other.client.post("/api/v1/chats/import", json={"chats": chats})
    assert reply.status_code == 200, reply.text
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    assert (await exported(other))[0]["chat"]["history"]["messages"]["q"]["files"][0]["url"] == picture()


async def test_copies_keep_their_pictures(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    await allow_everything(admin)
    made = (await user.client.post("/api/v1/chats/new", json={"chat": chat(question(picture()))})).json()
    address = shown_at(made["chat"]["history"]["messages"]["q"]["files"][0])
    await user.client.post(f"/api/v1/chats/{made['id']}/clone", json={})
    await user.client.post(f"/api/v1/chats/{made['id']}/fork", json={})
    share = (await user.client.post(f"/api/v1/chats/{made['id']}/share")).json()["share_id"]
    grants = {"access_grants": [{"principal_type": "user", "principal_id": other.id, "permission": "read"}]}
    await user.client.post(f"/api/v1/chats/shared/{made['id']}/access/update", json=grants)
    snapshot = await other.client.post(f"/api/v1/chats/{share}/clone/shared")
    assert snapshot.status_code == 200, snapshot.text
    await user.client.post(f"/api/v1/chats/{made['id']}/share", json={"share_mode": "continue"})
    assert (await other.client.post(f"/api/v1/chats/{share}/clone/shared")).status_code == 200
    assert (await other.client.post(f"/api/v1/chats/{made['id']}/fork", json={})).status_code == 200
    assert await uses(live) == 6, "the chat, its clone, its fork, and three copies of somebody else's"
    # What the others have does not hang on the owner any more.
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
    assert await files.collect(live.app.state.oui, grace=-10) == 0
    assert (await other.client.get(address)).content == png()
    assert await uses(live) == 3
    for row in (await other.client.get("/api/v1/chats/")).json():
        await other.client.delete(f"/api/v1/chats/{row['id']}")
    assert await files.collect(live.app.state.oui, grace=-10) == 1


async def uses(live: Live) -> int:
    async with live.app.state.oui.database.read() as connection:
        return int(await connection.scalar(sa.text("SELECT count(*) FROM file_use")))


async def test_an_edit_and_an_event_use_pictures(live: Live, user: Actor) -> None:
    made = (await user.client.post("/api/v1/chats/new", json={"chat": chat({"id": "a", "role": "assistant"})})).json()
    path = f"/api/v1/chats/{made['id']}/messages/a"
    await user.client.post(path, json={"content": f"![one]({picture(1)})"})
    event = {"type": "files", "data": {"files": [{"type": "image", "url": picture(2)}]}}
    assert (await user.client.post(f"{path}/event", json=event)).json() is True
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    assert await uses(live) == 2
    await user.client.post(path, json={"content": "nothing"})
    assert await uses(live) == 1


# The pure part


class Nothing:
    async def find(self, _ids: Any) -> dict[str, Any]:
        return {}

    async def read(self, _file: Any) -> bytes:
        raise AssertionError


@pytest.mark.parametrize(
    "content",
    ["text", None, [], [{"type": "text", "text": "x"}], [{"type": "image_url"}], [{"type": "image_url", "image_url": 5}],
     [{"type": "image_url", "image_url": {"url": None}}], [None, 3, "x"],
     [{"type": "image_url", "image_url": {"url": "https://example.com/api/v1/files/x/content"}}]],
)  # fmt: skip
async def test_what_has_no_stored_picture_is_left_alone(content: Any) -> None:
    messages = ({"role": "user", "content": content},)
    assert await inline_pictures(messages, Nothing(), 100) is messages


async def test_unknown_files_are_named() -> None:
    url = f"/api/v1/files/{uuid.uuid4()}/content"
    messages = ({"role": "user", "content": [{"type": "image_url", "image_url": url}]},)
    for reader in (Nothing(), None):
        made = await inline_pictures(messages, reader, 100)
        assert made == ({"role": "user", "content": [{"type": "text", "text": GONE}]},)
    assert base64.b64decode(picture().partition(",")[2]) == png()


# Pictures of answers


async def test_a_picture_of_an_answer_is_a_file_at_its_end(page: Page, live: Live, upstream: Upstream) -> None:
    upstream.answer_when("Draw it", f"Here: ![p]({picture(5)}) and ![q]({picture(6)}).")
    body = page.ask("echo", "Draw it")
    chat_id = await ask(page, body)
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    answer = (await page.stored(chat_id))["chat"]["history"]["messages"][body["id"]]
    first, second = (f"/api/v1/files/{i}/content" for i in ADDRESS.findall(answer["content"]))
    assert (await page.http.get(first)).content == png(5)
    assert (await page.http.get(second)).content == png(6)
    assert answer["output"][0]["content"][0]["text"] == answer["content"]
    assert await files.collect(live.app.state.oui, grace=-10) == 0


async def test_a_picture_beside_an_answer_is_a_file_at_its_end(page: Page, live: Live, upstream: Upstream) -> None:
    body = page.ask("poster", "Draw it")
    chat_id = await ask(page, body)
    answer = (await page.stored(chat_id))["chat"]["history"]["messages"][body["id"]]
    assert ADDRESS.fullmatch(answer["files"][0]["url"])
    assert (await page.http.get(answer["files"][0]["url"])).status_code == 200
    assert await base64_in(live) == []
    assert await files.collect(live.app.state.oui, grace=-10) == 0


async def test_an_answer_on_a_full_disk_is_stored(
    page: Page, live: Live, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_content: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live.app.state.oui.blobs, "put", full)
    upstream.answer_when("Draw it", f"Here: ![p]({picture(5)}).")
    body = page.ask("echo", "Draw it")
    chat_id = await ask(page, body)
    answer = (await page.stored(chat_id))["chat"]["history"]["messages"][body["id"]]
    assert (answer["done"], answer["content"]) == (True, f"Here: ![p]({picture(5)}).")


async def test_a_bucket_that_hangs_holds_up_its_own_answer_only(
    page: Page, live: Live, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, asked_for, goes_on = live.app.state.oui.blobs, asyncio.Event(), asyncio.Event()
    put = blobs.put

    async def hanging(content: Any) -> Any:
        asked_for.set()
        await goes_on.wait()
        return await put(content)

    monkeypatch.setattr(blobs, "put", hanging)
    upstream.answer_when("Draw it", f"Here: ![p]({picture(5)}).")
    drawn = page.ask("echo", "Draw it")
    drawing = (await page.post(drawn))["chat_id"]
    await asyncio.wait_for(asked_for.wait(), 30)
    other = page.ask("fixed", "Hello")
    answer = await page.message(await ask(page, other), other["id"])
    assert (answer["done"], len(answer["content"].split())) == (True, 20)
    shown = await page.message(drawing, drawn["id"])
    assert (shown["done"], shown["content"]) == (False, f"Here: ![p]({picture(5)}).")
    goes_on.set()
    await page.idle(drawing)
    answer = await page.message(drawing, drawn["id"])
    assert (answer["done"], len(ADDRESS.findall(answer["content"]))) == (True, 1)


async def test_large_pictures_reach_the_provider(page: Page, upstream: Upstream) -> None:
    """More than goes out in one piece."""
    urls = [picture(k, 1_900_000) for k in range(2)]
    await ask(page, asked(page, urls))
    assert sent(upstream) == ["What is this?", *urls]
