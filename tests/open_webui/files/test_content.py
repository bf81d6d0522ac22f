"""The content of files: who may have it, and how it is served."""

import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.services import files
from open_webui.services.files import UnsatisfiableRange, span_of
from tests.support.live import Actor, Live
from tests.support.pictures import ADDRESS, allow_everything, chat, data_url, picture, png, question

GRANT = {"principal_type": "user", "permission": "read"}


async def stored(actor: Actor, url: str, **more: Any) -> tuple[str, str]:
    """A chat with a picture: its id, and the picture's address."""
    reply = await actor.client.post("/api/v1/chats/new", json={"chat": chat(question(url))} | more)
    assert reply.status_code == 200, reply.text
    return reply.json()["id"], content_at(reply.json()["chat"]["history"]["messages"]["q"]["files"][0])


def content_at(entry: dict[str, Any]) -> str:
    assert entry["id"] == entry["url"]
    return f"/api/v1/files/{entry['url']}/content"


async def statuses(address: str, *clients: httpx.AsyncClient) -> list[int]:
    return [(await client.get(address)).status_code for client in clients]


async def test_a_picture_of_a_chat_is_served(user: Actor) -> None:
    _, address = await stored(user, picture())
    assert ADDRESS.fullmatch(address)
    reply = await user.client.get(address)
    assert (reply.status_code, reply.content) == (200, png())
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"].startswith("private")
    assert "content-disposition" not in reply.headers
    again = await user.client.get(address, headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_attachments_have_a_name(user: Actor) -> None:
    _, address = await stored(user, picture())
    reply = await user.client.get(address, params={"attachment": "true"})
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''picture.png"


@pytest.mark.parametrize(
    ("data", "claimed", "mime"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>" * 30, "image/svg+xml",
         "text/plain; charset=utf-8"),
        (b"<html><script>alert(1)</script></html>" * 50, "image/png", "text/plain; charset=utf-8"),
        (b"\x00\x01\x02\xff" * 500, "image/jpeg", "application/octet-stream"),
        (b"%PDF-1.7" + b"\xff\x00" * 900, "application/pdf", "application/pdf"),
    ],
)  # fmt: skip
async def test_what_is_no_raster_picture_is_for_saving_only(user: Actor, data: bytes, claimed: str, mime: str) -> None:
    _, address = await stored(user, data_url(data, claimed))
    reply = await user.client.get(address)
    assert (reply.status_code, reply.content) == (200, data)
    assert reply.headers["content-type"] == mime
    assert reply.headers["content-disposition"].startswith("attachment; filename*=UTF-8''file.")


async def test_a_range_is_served(user: Actor) -> None:
    _, address = await stored(user, picture())
    whole = png()
    part = await user.client.get(address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    end = await user.client.get(address, headers={"range": "bytes=-5"})
    assert (end.status_code, end.content) == (206, whole[-5:])
    beyond = await user.client.get(address, headers={"range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    other = await user.client.get(address, headers={"range": "bytes=0-1", "if-range": '"another"'})
    assert (other.status_code, other.content) == (200, whole)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None), ("", None), ("bytes", None), ("bytes=-", None), ("bytes=a-b", None), ("items=0-1", None),
        ("bytes=5-2", None), ("bytes=0-1,3-4", None), ("bytes=0-", (0, 10)), ("bytes=3-4", (3, 2)),
        ("bytes=3-99999", (3, 7)), ("bytes=-4", (6, 4)), ("bytes=-99", (0, 10)), ("bytes=" + "9" * 30 + "-", None),
        ("bytes=٣-٤", None),
    ],
)  # fmt: skip
def test_range_headers(header: str | None, span: tuple[int, int] | None) -> None:
    found = span_of(header, 10)
    assert (None if found is None else (found.start, found.length)) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0", "bytes=11-12"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        span_of(header, 10)


async def test_a_picture_is_for_those_who_may_read_its_chat(
    live: Live, admin: Actor, user: Actor, other: Actor, pending: Actor
) -> None:
    chat_id, address = await stored(user, picture())
    nobody = live.client()
    everybody = [user.client, other.client, pending.client, admin.client, nobody]
    assert await statuses(address, *everybody) == [200, 404, 404, 200, 401]
    # A snapshot shows it to whom the share is given.
    await user.client.post(f"/api/v1/chats/{chat_id}/share")
    grants: dict[str, Any] = {"access_grants": [GRANT | {"principal_id": other.id}]}
    await allow_everything(admin)
    given = await user.client.post(f"/api/v1/chats/shared/{chat_id}/access/update", json=grants)
    assert given.status_code == 200, given.text
    assert await statuses(address, *everybody) == [200, 200, 404, 200, 401]
    # A public link shows it to everybody.
    grants = {"access_grants": [{"principal_type": "anyone", "principal_id": "*", "permission": "read"}]}
    given = await user.client.post(f"/api/v1/chats/shared/{chat_id}/access/update", json=grants)
    assert given.status_code == 200, given.text
    assert await statuses(address, *everybody) == [200] * 5
    # The picture is in the snapshot also when it is no longer in the chat.
    await user.client.post(f"/api/v1/chats/{chat_id}", json={"chat": chat({"id": "q", "role": "user"})})
    assert await statuses(address, nobody) == [200]
    await user.client.delete(f"/api/v1/chats/{chat_id}/share")
    assert await statuses(address, *everybody) == [200, 404, 404, 404, 401]
    await nobody.aclose()


async def test_a_live_share_shows_the_pictures_of_now(live: Live, admin: Actor, user: Actor) -> None:
    await allow_everything(admin)
    chat_id, address = await stored(user, picture())
    await user.client.post(f"/api/v1/chats/{chat_id}/share", json={"share_mode": "continue"})
    grants = {"access_grants": [{"principal_type": "anyone", "principal_id": "*", "permission": "read"}]}
    await user.client.post(f"/api/v1/chats/shared/{chat_id}/access/update", json=grants)
    async with live.client() as nobody:
        assert await statuses(address, nobody) == [200]
        await user.client.post(f"/api/v1/chats/{chat_id}", json={"chat": chat({"id": "q", "role": "user"})})
        assert await statuses(address, nobody) == [401]


async def test_a_folder_shows_the_pictures_of_its_chats(admin: Actor, user: Actor, other: Actor) -> None:
    await allow_everything(admin)
    folder = (await user.client.post("/api/v1/folders/", json={"name": "Together"})).json()["id"]
    _, address = await stored(user, picture(), folder_id=folder)
    assert await statuses(address, other.client) == [404]
    grants = {"access_grants": [GRANT | {"principal_id": other.id}]}
    assert (await user.client.post(f"/api/v1/folders/{folder}/access/update", json=grants)).status_code == 200
    assert await statuses(address, other.client) == [200]


async def test_writing_down_an_id_opens_nothing(user: Actor, other: Actor) -> None:
    _, address = await stored(user, picture())
    for form in (address, address.split("/")[4], f"http://elsewhere{address}"):
        reply = await other.client.post("/api/v1/chats/new", json={"chat": chat(question(form))})
        assert reply.status_code == 200
        assert await statuses(address, other.client) == [404]
    text = {"id": "q", "role": "user", "content": f"![]({address})"}
    await other.client.post("/api/v1/chats/new", json={"chat": chat(text)})
    assert await statuses(address, other.client) == [404]


async def test_a_guest_cannot_open_a_private_file_of_the_host(admin: Actor, user: Actor, other: Actor) -> None:
    """Whoever may write into a chat can't attach what only the chat's owner may see."""
    await allow_everything(admin)
    _, private = await stored(user, picture(7))
    chat_id, _ = await stored(user, picture(8))
    await user.client.post(f"/api/v1/chats/{chat_id}/share", json={"share_mode": "continue"})
    grants = {"access_grants": [GRANT | {"principal_id": other.id, "permission": "write"}]}
    assert (await user.client.post(f"/api/v1/chats/shared/{chat_id}/access/update", json=grants)).status_code == 200
    document = (await other.client.get(f"/api/v1/chats/{chat_id}")).json()["chat"]
    document["history"]["messages"]["q"]["childrenIds"] = ["mine"]
    document["history"]["messages"]["mine"] = question(private, "mine") | {"parentId": "q", "childrenIds": []}
    assert (await other.client.post(f"/api/v1/chats/{chat_id}", json={"chat": document})).status_code == 200
    assert await statuses(private, other.client) == [404]


async def test_what_nothing_uses_is_collected_after_a_while(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    chat_id, address = await stored(user, picture())
    _, kept = await stored(user, picture(2))
    assert await files.collect(state, grace=-10) == 0
    await user.client.delete(f"/api/v1/chats/{chat_id}")
    assert await files.collect(state) == 0
    assert await statuses(address, user.client) == [200]
    assert await files.collect(state, grace=-10) == 1
    assert await statuses(address, user.client) == [404]
    assert await statuses(kept, user.client) == [200]


async def test_a_blob_without_a_row_is_collected(live: Live) -> None:
    """What a crash leaves between the bytes and their row."""
    state = live.app.state.oui
    lost = await state.blobs.put(b"lost")
    assert await files.collect(state) == 0
    assert await files.collect(state, grace=-10) == 1
    assert await state.blobs.size(lost.hash) is None


async def test_a_file_whose_bytes_are_gone_is_not_found(live: Live, user: Actor, settings: Any) -> None:
    _, address = await stored(user, picture())
    (found,) = [p for p in blobs(settings.data_dir) if p.stat().st_size > 100]
    found.unlink()
    reply = await user.client.get(address)
    assert (reply.status_code, "no longer there" in reply.json()["detail"]) == (404, True)


def blobs(folder: Path) -> list[Path]:
    return [p for p in (folder / "blobs").rglob("*") if p.is_file()]


async def test_an_upload_that_goes_on_keeps_its_content_from_a_collection(
    live: Live, user: Actor, settings: Any
) -> None:
    """The bytes are there long since, unused; somebody puts them again and has not told the database yet."""
    state = live.app.state.oui
    await state.blobs.put(png())
    for path in blobs(settings.data_dir):
        os.utime(path, (1, 1))
    await state.blobs.put(png())
    assert await files.collect(state, grace=time.time() - 1000) == 0
    assert await files.collect(state) == 0
    _, address = await stored(user, picture())
    assert await statuses(address, user.client) == [200]
