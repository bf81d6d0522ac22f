"""Files in a bucket, as people meet them: served like those on the disk, and missed for a while when its server is away."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from open_webui.chat.context.pictures import AWAY
from open_webui.services import files
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.files.test_chats import ask, asked, sent
from tests.support.live import Actor, Live
from tests.support.pictures import base64_in, picture, png, shown_at
from tests.support.s3 import KEYS, S3Server, Wire
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.bucket()


@pytest.fixture
def in_bucket(s3_wire: Wire, bucket: str) -> dict[str, Any]:
    return {"storage_provider": "s3", "s3_bucket_name": bucket, "s3_endpoint_url": s3_wire.url} | KEYS


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, in_bucket: dict[str, Any]) -> Live:
    return await make_live(**in_bucket)


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def with_picture(page: Page) -> tuple[str, str, str]:
    """A chat about a picture: its id, its answer's, and the picture's address."""
    body = asked(page, [picture()])
    chat_id = await ask(page, body)
    stored = (await page.stored(chat_id))["chat"]["history"]["messages"][body["user_message"]["id"]]
    return chat_id, body["id"], shown_at(stored["files"][0])


def assert_away(reply: httpx.Response) -> None:
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert "at the moment" in reply.json()["detail"]


async def test_pictures_of_a_chat_lie_in_the_bucket(
    page: Page, live: Live, upstream: Upstream, s3_server: S3Server, bucket: str
) -> None:
    chat_id, _, address = await with_picture(page)
    assert sent(upstream) == ["What is this?", picture()]
    assert await base64_in(live) == []
    assert not (live.settings.data_dir / "blobs").exists()
    reply = await page.http.get(address)
    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, png(), str(len(png())))
    part = await page.http.get(address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, png()[10:20])
    assert len(s3_server.names(bucket)) == 1
    await page.http.delete(f"/api/v1/chats/{chat_id}")
    # What was put in this hour stays until the next one.
    assert await files.collect(live.app.state.oui, grace=-10) == 0
    assert await files.collect(live.app.state.oui, grace=-7200) == 1
    assert s3_server.names(bucket) == []


async def test_the_chat_goes_on_while_its_server_is_away(page: Page, upstream: Upstream, s3_wire: Wire) -> None:
    chat_id, answer, address = await with_picture(page)
    chats = (await page.http.get("/api/v1/chats/")).json()
    s3_wire.cut()
    assert_away(await page.http.get(address))
    assert_away(await page.http.post("/api/chat/completions", json=asked(page, [picture(2)])))
    assert (await page.http.get("/api/v1/chats/")).json() == chats, "nothing was stored"
    more = page.ask("echo", "And now?", chat_id=chat_id, parent_id=answer)
    await ask(page, more)
    assert sent(upstream)[:2] == ["What is this?", AWAY]
    assert (await page.message(chat_id, more["id"]))["content"] == "And now?"
    s3_wire.down = False
    assert (await page.http.get(address)).content == png()
    await ask(page, page.ask("echo", "And then?", chat_id=chat_id, parent_id=more["id"]))
    assert sent(upstream)[:2] == ["What is this?", picture()]


async def test_a_blob_that_is_another_is_not_served(page: Page, s3_server: S3Server, bucket: str) -> None:
    _, _, address = await with_picture(page)
    name = s3_server.names(bucket)[0]
    s3_server.object(bucket, name, bytes(len(png())))
    reply = await page.http.get(address)
    assert (reply.status_code, "damaged" in reply.json()["detail"]) == (404, True)
    s3_server.object(bucket, name, png()[:-1])
    reply = await page.http.get(address)
    assert (reply.status_code, "no longer there" in reply.json()["detail"]) == (404, True)


async def test_a_start_while_its_server_is_away(
    make_live: Callable[..., Awaitable[Live]], in_bucket: dict[str, Any], s3_wire: Wire
) -> None:
    s3_wire.cut()
    live = await make_live(**in_bucket)
    async with live.client() as client:
        assert (await client.get("/health")).status_code == 200
