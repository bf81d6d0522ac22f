"""A question that asks for a picture: made before the answer or by a tool, stopped, and delivered when nobody waits any more."""

import asyncio
import json
from typing import Any

import pytest

from open_webui.services.images.making import Wanted
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.images.conftest import Set
from tests.support.engines import Engines
from tests.support.live import Actor, Live
from tests.support.pictures import ADDRESS, picture, png
from tests.support.upstream import Upstream

ON = {"image_generation": True}
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


async def answered(page: Page, **fields: Any) -> dict[str, Any]:
    body = page.ask("fixed", "Draw a cat", features=ON, **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


async def test_a_picture_is_made_of_a_prompt_and_shown_below_the_answer(
    live: Live, use: Set, engine: Engines, user: Actor, other: Actor, upstream: Upstream
) -> None:
    await use()
    upstream.answer_when("image generator", '{"prompt": "A large cat at dusk"}')
    async with open_page(user.client, user.token) as page:
        kept = await answered(page)
        assert page.data("files") == [{"files": kept["files"]}]
        assert [(s["description"], s["done"]) for s in page.data("status")] == [
            ("Making the picture", False), ("Made the picture", True),
        ]  # fmt: skip
    assert engine.bodies("/images/generations")[0]["prompt"] == "A large cat at dusk"
    (entry,) = kept["files"]
    assert (entry["type"], entry["content_type"]) == ("image", "image/png")
    assert (await user.client.get(entry["url"])).content == png(1)
    assert (await other.client.get(entry["url"])).status_code == 404
    assert "A large cat at dusk" in upstream.chats[-1].body["messages"][0]["content"]
    assert [one["id"] for one in (await user.client.get("/api/v1/images/made")).json()] == [entry["id"]]


@on_sqlite
async def test_what_is_attached_is_changed_and_a_failure_is_told(
    live: Live, use: Set, engine: Engines, user: Actor, upstream: Upstream
) -> None:
    await use()
    async with open_page(user.client, user.token) as page:
        body = page.ask("fixed", "Give it a hat", features=ON)
        body["user_message"]["files"] = [{"type": "image", "url": picture(5)}]
        reply = await page.post(body)
        await page.idle(reply["chat_id"])
        assert engine.bodies("/images/edits")[0][-1] == ("image", png(5))
        assert len((await page.message(reply["chat_id"], body["id"]))["files"]) == 1
        engine.broken, engine.status = '{"error": {"message": "No cats"}}', 400
        kept = await answered(page)
    assert "files" not in kept
    assert kept["statusHistory"][-1]["description"].endswith("The engine answered with status 400: No cats.")
    assert "No cats" in upstream.chats[-1].body["messages"][0]["content"]


@on_sqlite
async def test_a_temporary_chat_keeps_none(live: Live, use: Set, user: Actor) -> None:
    await use(image_generation__prompt__enable=False)
    async with open_page(user.client, user.token) as page:
        messages = [{"role": "user", "content": "Draw a cat"}]
        await page.post(
            page.ask("fixed", "Draw a cat", features=ON, chat_id=f"temporary:{page.sid}", messages=messages)
        )
        await page.until(lambda p: bool(p.data("files")))
        ((entry,),) = [one["files"] for one in page.data("files")]
        assert (await user.client.get(entry["url"])).content == png(1)
    assert (await user.client.get("/api/v1/images/made")).json() == []


async def test_a_stop_has_the_engine_stop(live: Live, use: Set, engine: Engines, user: Actor, admin: Actor) -> None:
    await use("comfyui", image_generation__prompt__enable=False)
    engine.hold = asyncio.Event()
    async with open_page(user.client, user.token) as page:
        reply = await page.post(page.ask("fixed", "Draw a cat", features=ON))
        await engine.arrived.wait()
        await page.until(lambda p: any("50 %" in s["description"] for s in p.data("status")))
        stopped = await user.client.post(f"/api/tasks/chat/{reply['chat_id']}/stop")
        assert stopped.status_code == 200
        await page.idle(reply["chat_id"])
    assert engine.bodies("/queue") == [{"delete": ["order-1"]}]
    assert engine.bodies("/interrupt") == [{"prompt_id": "order-1"}]
    jobs = (await admin.client.get("/api/v1/jobs", params={"kind": "make pictures"})).json()["items"]
    assert [job["state"] for job in jobs] == ["cancelled"]


async def test_a_picture_that_nobody_waits_for_comes_into_its_message(
    live: Live, use: Set, engine: Engines, user: Actor
) -> None:
    """As after a crash: the job is done anew, and the answer is over."""
    await use()
    state = live.app.state.oui
    async with open_page(user.client, user.token) as page:
        body = page.ask("fixed", "Hello")
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        wanted = Wanted(user_id=user.id, prompt="A cat", chat_id=chat_id, message_id=body["id"])
        async with state.database.write() as unit:
            await state.jobs.enqueue(unit, state.pictures.kind, wanted)
        await page.until(lambda p: "chat:reload" in p.kinds())
        (entry,) = (await page.message(chat_id, body["id"]))["files"]
        assert (await user.client.get(entry["url"])).content == png(1)


async def test_a_thumbnail_is_made_once_and_smaller(
    live: Live, use: Set, engine: Engines, user: Actor, other: Actor
) -> None:
    engine.pictures = [png(9, 300_000)]
    await use()
    (made,) = (await user.client.post("/api/v1/images/generations", json={"prompt": "A cat"})).json()
    (shown,) = (await user.client.get("/api/v1/images/made")).json()
    for _ in range(2):
        small = await user.client.get(shown["thumbnail"])
        assert (small.status_code, small.headers["content-type"]) == (200, "image/webp")
        assert len(small.content) < 150_000
    assert (await other.client.get(shown["thumbnail"])).status_code == 404
    assert ADDRESS.fullmatch(made["url"])
    assert json.dumps(made).find("base64") < 0
