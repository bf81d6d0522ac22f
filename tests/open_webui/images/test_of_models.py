"""Pictures that models give: files without descriptions on each wire, and nothing where they are none."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.images.test_looking import HOSTILE, told
from tests.support import script
from tests.support.live import Actor, Live, sign_up
from tests.support.pictures import ADDRESS, base64_in, data_url, png
from tests.support.upstream import Upstream

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
Says = Callable[..., None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """What the provider's answers are made of: deltas on OpenAI's wire, lines on Ollama's."""

    def play(*deltas: dict[str, Any], ollama: bool = False) -> None:
        def events(*_: Any) -> Iterator[script.Event]:
            for delta in deltas:
                if ollama:
                    yield script.Raw(json.dumps({"model": "fixed", "message": delta, "done": False}).encode() + b"\n")
                else:
                    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
                    yield script.Raw(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            yield script.Finish("stop")

        monkeypatch.setattr(script, "play", events)

    return play


async def answered(page: Page, model: str = "fixed", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "Draw a cat", **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "form",
    [
        lambda data: {"images": [{"type": "image_url", "image_url": {"url": data_url(data)}}]},
        lambda data: {"images": [{"b64_json": b64(data)}]},
        lambda data: {"content": [{"type": "image_url", "image_url": {"url": data_url(data)}}]},
        lambda data: {"content": [{"inlineData": {"mimeType": "image/png", "data": b64(data)}}]},
        lambda data: {"content": [{"type": "image_generation_call", "result": b64(data)}]},
    ],
    ids=["images", "b64_json", "content", "gemini", "responses"],
)
@on_sqlite
async def test_a_picture_is_a_file_that_tells_nothing(
    live: Live, user: Actor, says: Says, form: Callable[[bytes], dict[str, Any]]
) -> None:
    """Also a small one, that a message could hold."""
    assert b"secret" in told("PNG")
    says({"content": "Here"}, form(told("PNG")))
    async with open_page(user.client, user.token) as page:
        kept = await answered(page)
        (entry,) = kept["files"]
        assert page.data("files") == [{"files": [entry]}]
    assert ADDRESS.fullmatch(entry["url"])
    stored = (await user.client.get(entry["url"])).content
    assert (stored[:4], b"secret" in stored) == (b"\x89PNG", False)
    assert await base64_in(live) == []


@on_sqlite
async def test_a_picture_in_the_text_is_one_too(live: Live, user: Actor, says: Says) -> None:
    picture = told("JPEG") + bytes(1_000)
    says({"content": f"Here: ![it]({data_url(picture, 'image/jpeg')})."})
    async with open_page(user.client, user.token) as page:
        kept = await answered(page)
    (file_id,) = ADDRESS.findall(kept["content"])
    assert b"secret" not in (await user.client.get(f"/api/v1/files/{file_id}/content")).content
    assert await base64_in(live) == []


@on_sqlite
async def test_what_is_no_picture_is_left_out_and_the_answer_stays(live: Live, user: Actor, says: Says) -> None:
    hostile = [{"images": [{"b64_json": b64(data)}]} for data in HOSTILE.values()]
    urls = [{"images": [{"url": data_url(data)}]} for data in HOSTILE.values()]
    said = [{"content": "Here"}, *hostile, *urls, {"images": [{"url": data_url(png(1))}]}]
    says(*said, {"images": [{"url": "data:image/svg+xml;base64,PHN2Zy8+"}]}, {"content": " it is"})
    async with open_page(user.client, user.token) as page:
        kept = await answered(page)
    assert kept["content"].startswith("Here it is")
    assert "error" not in kept
    (entry,) = kept["files"]
    assert (await user.client.get(entry["url"])).content == png(1)


@on_sqlite
async def test_a_hostile_picture_in_the_text_is_for_saving_only(live: Live, user: Actor, says: Says) -> None:
    bad = HOSTILE["garbage inside"] + bytes(1_000)
    says({"content": f"Here: ![it]({data_url(bad)})."})
    async with open_page(user.client, user.token) as page:
        kept = await answered(page)
    (file_id,) = ADDRESS.findall(kept["content"])
    reply = await user.client.get(f"/api/v1/files/{file_id}/content")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"].startswith("attachment")


@on_sqlite
async def test_a_temporary_chat_shows_it_without_what_it_tells(live: Live, user: Actor, says: Says) -> None:
    says({"images": [{"b64_json": b64(told("PNG"))}]}, {"images": [{"b64_json": b64(HOSTILE["half a PNG"])}]})
    async with open_page(user.client, user.token) as page:
        body = page.ask("fixed", "Hi", chat_id=f"temporary:{page.sid}", messages=[{"role": "user", "content": "Hi"}])
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion")))
        ((entry,),) = [told["files"] for told in page.data("files")]
    head, _, data = entry["url"].partition(",")
    assert head == "data:image/png;base64"
    assert b"secret" not in base64.b64decode(data)


@on_sqlite
async def test_ollamas_pictures_are_files(
    make_live: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, says: Says
) -> None:
    monkeypatch.setenv("ENABLE_OLLAMA_API", "true")
    monkeypatch.setenv("OLLAMA_BASE_URLS", upstream.url)
    monkeypatch.setenv("ENABLE_OPENAI_API", "false")
    live = await make_live(bypass_model_access_control=True)
    admin = await sign_up(live, "Admin One")
    says({"content": "Here"}, {"content": "", "images": [b64(told("WEBP"))]}, ollama=True)
    async with admin.client, open_page(admin.client, admin.token) as page:
        kept = await answered(page, "fixed:latest")
        (entry,) = kept["files"]
        stored = await admin.client.get(entry["url"])
    assert (stored.headers["content-type"], b"secret" in stored.content) == ("image/webp", False)
