"""Files that people upload: taken in, listed, read, changed and deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services import files, uploads
from tests.open_webui.chat.page import open_page
from tests.support.live import Actor, Live, sign_up
from tests.support.pictures import png

F = "/api/v1/files"
TEXT = "The secret fruit is papaya. It grows on trees."


async def send(actor: Actor, name: str = "hello.txt", data: bytes = TEXT.encode(), **query: Any) -> httpx.Response:
    metadata = query.pop("metadata", None)
    form = {} if metadata is None else {"metadata": metadata}
    return await actor.client.post(f"{F}/", params=query, files={"file": (name, data, "text/plain")}, data=form)


async def sent(actor: Actor, *args: Any, **more: Any) -> dict[str, Any]:
    """A file that was uploaded and read."""
    reply = await send(actor, *args, **more)
    assert reply.status_code == 200, reply.text
    await actor.client.get(f"{F}/{reply.json()['id']}/process/status", params={"stream": "true"})
    return (await actor.client.get(f"{F}/{reply.json()['id']}")).json()


async def test_an_upload_answers_at_once_and_is_read(user: Actor) -> None:
    reply = (await send(user, metadata='{"k": "v"}')).json()
    assert reply["status"] is True
    assert reply["data"] == {"status": "pending"}
    assert reply["hash"] is None
    assert reply["path"] == f"{reply['id']}_hello.txt"
    assert reply["meta"]["size"] == len(TEXT)
    assert reply["meta"]["data"] == {"k": "v"}
    stream = await user.client.get(f"{F}/{reply['id']}/process/status", params={"stream": "true"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.text.endswith('data: {"status":"completed"}\n\n')
    assert (await user.client.get(f"{F}/{reply['id']}/process/status")).json() == {"status": "completed"}
    shown = (await user.client.get(f"{F}/{reply['id']}")).json()
    assert shown["data"] == {"status": "completed", "content": TEXT, "error": None}
    assert shown["hash"] == shown["meta"]["file_hash"]
    assert shown["meta"]["collection_name"] == f"file-{reply['id']}"
    assert (await user.client.get(f"{F}/{reply['id']}/data/content")).json() == {"content": TEXT}


async def test_one_that_is_not_to_be_read_is_only_kept(user: Actor) -> None:
    reply = (await send(user, "raw.bin", b"\x00\x01", process="false")).json()
    assert (reply["data"], "status" in reply, "path" in reply) == ({}, False, False)
    assert (await user.client.get(f"{F}/{reply['id']}/process/status")).json() == {"status": "pending"}
    stream = await user.client.get(f"{F}/{reply['id']}/process/status", params={"stream": "true"})
    assert stream.text == 'data: {"status":"pending"}\n\n'


async def test_one_that_is_read_before_the_answer(user: Actor) -> None:
    reply = (await send(user, "sync.md", b"# T\n\nsome words", process_in_background="false")).json()
    assert (await user.client.get(f"{F}/{reply['id']}")).json()["data"]["status"] == "completed"
    empty = await send(user, "empty.txt", b" \n", process_in_background="false")
    assert (empty.status_code, empty.json()) == (400, {"detail": "'empty.txt' has no text in it."})
    assert (await user.client.get(f"{F}/")).json()["total"] == 1


async def test_a_file_without_text_says_so(user: Actor) -> None:
    shown = await sent(user, "empty.txt", b"")
    assert shown["data"] == {"status": "failed", "error": "'empty.txt' is empty."}
    status = (await user.client.get(f"{F}/{shown['id']}/process/status")).json()
    assert status == {"status": "failed", "error": "'empty.txt' is empty."}


async def test_the_same_content_is_stored_once(live: Live, user: Actor, other: Actor) -> None:
    for actor in (user, user, other):
        await sent(actor)
    async with live.app.state.oui.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.blob)) == 1
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.file)) == 3


async def test_lists_and_counts(user: Actor, other: Actor) -> None:
    for name in ("a.txt", "b.md", "c.txt"):
        await sent(user, name, f"text of {name}".encode())
    await sent(other, "theirs.txt")
    listed = (await user.client.get(f"{F}/")).json()
    assert (listed["total"], {f["filename"] for f in listed["items"]}) == (3, {"a.txt", "b.md", "c.txt"})
    assert {f["data"]["content"] for f in listed["items"]} == {"text of a.txt", "text of b.md", "text of c.txt"}
    bare = (await user.client.get(f"{F}/", params={"content": "false"})).json()
    assert all("content" not in f["data"] for f in bare["items"])
    assert (await user.client.get(f"{F}/", params={"page": 2})).json() == {"items": [], "total": 3}
    assert [(await user.client.get(f"{F}/{p}count")).json() for p in ("", "user/")] == [3, 3]


async def test_a_text_that_a_list_leaves_out_is_said(user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_LISTED_TEXT", len(TEXT) + 9)
    await sent(user, "short.txt", b"short")
    await sent(user, "long.txt", TEXT.encode())
    await sent(user, "kept.bin", b"not read", process="false")
    await sent(user, "last.txt", b"the last")
    for asked in (f"{F}/", f"{F}/search?filename=*"):
        found = (await user.client.get(asked)).json()
        rows = found if isinstance(found, list) else found["items"]
        data = {one["filename"]: one["data"] for one in rows}
        told = {name: (one.get("content"), one.get("content_left_out")) for name, one in data.items()}
        assert sorted(told) == ["kept.bin", "last.txt", "long.txt", "short.txt"]
        assert told["kept.bin"] == (None, None)
        # As many as there is place for, in the list's order.
        left_out = {name for name, one in told.items() if one == (None, True)}
        assert len(left_out) == 1
        assert all(told[name][0] for name in told.keys() - left_out - {"kept.bin"})
    bare = (await user.client.get(f"{F}/", params={"content": "false"})).json()
    assert not any("content_left_out" in one["data"] for one in bare["items"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", {"a.txt", "B.txt"}), ("b*", {"B.txt"}), ("?.txt", {"a.txt", "B.txt"}), ("a", set()),
        ("*", {"a.txt", "B.txt", "c.md"}),
        ("%", set()), ("[ab].txt", {"a.txt", "B.txt"}), ("*" * 200 + "!", set()), ("*x" * 100, set()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_search_by_name(user: Actor, pattern: str, found: set[str]) -> None:
    for name in ("a.txt", "B.txt", "c.md"):
        await send(user, name, process="false")
    reply = await user.client.get(f"{F}/search", params={"filename": pattern})
    if found:
        assert {f["filename"] for f in reply.json()} == found
    else:
        assert (reply.status_code, reply.json()["detail"]) == (404, "No file has such a name.")
    own = await user.client.get(f"{F}/user/search", params={"filename": pattern})
    assert {f["filename"] for f in own.json()} == found
    page = await user.client.get(f"{F}/user/search", params={"filename": "*", "skip": 1, "limit": 1})
    assert len(page.json()) == 1


async def test_content(user: Actor) -> None:
    shown = await sent(user, "über uns.txt")
    for path in ("content", "content/any.html"):
        reply = await user.client.get(f"{F}/{shown['id']}/{path}")
        assert (reply.status_code, reply.text) == (200, TEXT)
        assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BCber%20uns.txt"
        assert "sandbox" in reply.headers["content-security-policy"]
    part = await user.client.get(f"{F}/{shown['id']}/content", headers={"range": "bytes=4-9"})
    assert (part.status_code, part.text) == (206, "secret")


async def test_a_page_of_html_is_shown_without_its_scripts(user: Actor) -> None:
    page = b"<html><script>alert(1)</script>Hello</html>"
    shown = await sent(user, "page.html", page)
    reply = await user.client.get(f"{F}/{shown['id']}/content/html")
    assert (reply.status_code, reply.content) == (200, page)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"].split("; ")
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert not any(part.startswith("script-src") for part in policy)
    plain = await sent(user)
    assert (await user.client.get(f"{F}/{plain['id']}/content/html")).status_code == 404


async def test_a_text_is_edited(user: Actor) -> None:
    shown = await sent(user)
    new = {"content": "The secret fruit is mango."}
    reply = await user.client.post(f"{F}/{shown['id']}/data/content/update", json=new)
    assert (reply.status_code, reply.json()) == (200, new)
    after = (await user.client.get(f"{F}/{shown['id']}")).json()
    assert after["data"] == {"status": "completed", "content": new["content"], "error": None}
    assert after["hash"] != shown["hash"]
    assert (await user.client.get(f"{F}/{shown['id']}/content")).text == TEXT
    empty = await user.client.post(f"{F}/{shown['id']}/data/content/update", json={"content": " "})
    assert empty.status_code == 400


async def test_a_file_is_renamed(user: Actor) -> None:
    shown = await sent(user)
    reply = (await user.client.post(f"{F}/{shown['id']}/rename", json={"filename": "../etc/new.txt"})).json()
    assert (reply["filename"], reply["meta"]["name"], reply["data"]["content"]) == ("new.txt", "new.txt", TEXT)
    for bad in ("", "..", "a/", "\x00"):
        assert (await user.client.post(f"{F}/{shown['id']}/rename", json={"filename": bad})).status_code in {400, 422}


async def test_a_file_is_deleted(live: Live, user: Actor) -> None:
    shown = await sent(user)
    gone = await user.client.delete(f"{F}/{shown['id']}")
    assert (gone.status_code, gone.json()) == (200, {"message": "File deleted successfully"})
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/content"), ("GET", "/process/status")):
        assert (await user.client.request(method, f"{F}/{shown['id']}{path}")).status_code == 404
    assert await files.collect(live.app.state.oui, grace=-10) == 1


async def test_what_a_file_needs_is_not_collected(live: Live, user: Actor) -> None:
    shown = await sent(user)
    await user.client.post(f"{F}/{shown['id']}/data/content/update", json={"content": "Another text."})
    assert await files.collect(live.app.state.oui, grace=-10) == 0
    assert (await user.client.get(f"{F}/{shown['id']}/data/content")).json() == {"content": "Another text."}
    assert (await user.client.get(f"{F}/{shown['id']}/content")).text == TEXT


async def test_a_file_that_a_message_uses_can_be_deleted(user: Actor) -> None:
    shown = await sent(user, "p.png", png(), process="false")
    entry = {"type": "image", "id": shown["id"], "url": shown["id"]}
    message = {"id": "q", "role": "user", "content": "", "parentId": None, "childrenIds": [], "files": [entry]}
    chat = {"title": "t", "history": {"messages": {"q": message}, "currentId": "q"}}
    made = (await user.client.post("/api/v1/chats/new", json={"chat": chat})).json()
    assert (await user.client.delete(f"{F}/{shown['id']}")).status_code == 200
    kept = (await user.client.get(f"/api/v1/chats/{made['id']}")).json()
    assert kept["chat"]["history"]["messages"]["q"]["files"][0]["id"] == shown["id"]


async def test_all_files_are_an_admins_to_delete(admin: Actor, user: Actor) -> None:
    for k in range(3):
        await send(user, f"{k}.txt", process="false")
    assert (await user.client.delete(f"{F}/all")).status_code == 401
    assert (await admin.client.get(f"{F}/count")).json() == 3
    assert (await admin.client.get(f"{F}/user/count")).json() == 0
    assert (await admin.client.delete(f"{F}/all")).status_code == 200
    assert (await user.client.get(f"{F}/count")).json() == 0


# What is refused


async def test_who_may_not_upload(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    await state.save_config({"user.permissions": tree | {"chat": tree["chat"] | {"file_upload": False}}})
    reply = await send(user)
    assert (reply.status_code, reply.json()["detail"]) == (403, uploads.NO_UPLOADS)
    assert (await user.client.get(f"{F}/count")).json() == 0


async def test_a_form_without_a_file(user: Actor) -> None:
    reply = await user.client.post(f"{F}/", files={"other": ("a", b"x")})
    problem = {"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": None}
    assert (reply.status_code, reply.json()) == (422, {"detail": [problem]})
    reply = await user.client.post(f"{F}/", json={})
    assert (reply.status_code, reply.json()) == (422, {"detail": [problem]})
    for body, kind in (
        (b"", "multipart/form-data"), (b"x", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nhalf", "multipart/form-data; boundary=b"),
        (b"--b\r\n" + b"x" * 10_000, "multipart/form-data; boundary=b"), (b"", "multipart/form-data; boundary=" + "b" * 300),
        ((b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n") * 30 + b"--b--", "multipart/form-data; boundary=b"),
    ):  # fmt: skip
        reply = await user.client.post(f"{F}/", content=body, headers={"content-type": kind})
        assert reply.status_code == 400, (body[:50], reply.text)
    assert (await user.client.get(f"{F}/count")).json() == 0


@pytest.mark.parametrize("metadata", ["[1]", "{", '"x"', "x" * 70_000, "[" * 2_000, '{"a":' * 150 + "1" + "}" * 150])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_metadata_is_an_object(user: Actor, metadata: str) -> None:
    assert (await send(user, metadata=metadata)).status_code in {400, 413}
    assert (await user.client.get(f"{F}/count")).json() == 0


async def test_bounds_of_size_and_type(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    await state.save_config({"rag.file.max_size": 1, "rag.file.allowed_extensions": ["txt", ".MD"]})
    assert (await send(user, "a.txt", b"x" * 2**20)).status_code == 200
    large = await send(user, "a.txt", b"x" * (2**20 + 1))
    assert (large.status_code, large.json()["detail"]) == (413, "A file may have at most 1 MB.")
    assert (await send(user, "a.md")).status_code == 200
    wrong = await send(user, "a.exe")
    assert wrong.status_code == 400
    assert "md, txt" in wrong.json()["detail"]
    assert (await send(user, "none")).status_code == 400
    assert (await send(user, "p.png", png(), process="false")).status_code == 200
    assert (await user.client.get(f"{F}/count")).json() == 3


async def test_a_file_may_be_larger_than_other_requests(make_live: Callable[..., Awaitable[Live]]) -> None:
    live = await make_live(max_body_mb=1)
    actor = await sign_up(live, "Admin One")
    assert (await send(actor, "a.txt", b"x" * (2**20 + 1))).status_code == 413
    await live.app.state.oui.save_config({"rag.file.max_size": 5})
    assert (await send(actor, "a.txt", b"x" * 4 * 2**20, process="false")).status_code == 200
    await actor.client.aclose()


async def test_a_quota(live: Live, user: Actor, other: Actor) -> None:
    await live.app.state.oui.save_config({"file.user_quota": 1})
    half = [send(user, f"{k}.bin", bytes([k]) * (400 * 1024), process="false") for k in range(4)]
    replies = await asyncio.gather(*half)
    assert sorted(r.status_code for r in replies) == [200, 200, 413, 413]
    assert "1 MB together" in next(r for r in replies if r.status_code == 413).json()["detail"]
    assert (await send(other, process="false")).status_code == 200
    first = (await user.client.get(f"{F}/")).json()["items"][0]["id"]
    await user.client.delete(f"{F}/{first}")
    assert (await send(user, "more.bin", b"\x00" * (400 * 1024), process="false")).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a.txt", "a.txt"), ("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), (" a b .txt ", "a b .txt"),
        ("a\x00\n\x1b[1mb.txt", "a[1mb.txt"), ("x" * 300 + ".pdf", "x" * 251 + ".pdf"), ("ü\u202e.txt", "ü.txt"),
    ],
)  # fmt: skip
def test_names(given: str, kept: str) -> None:
    assert uploads.file_name(given) == kept


async def test_others_get_nothing(user: Actor, other: Actor, live: Live) -> None:
    shown = await sent(user)
    base = f"{F}/{shown['id']}"
    doors: list[tuple[str, str, Any]] = [
        ("GET", "", None), ("GET", "/content", None), ("GET", "/content/html", None), ("GET", "/content/a", None),
        ("GET", "/data/content", None), ("GET", "/process/status", None), ("GET", "/process/status?stream=true", None),
        ("POST", "/rename", {"filename": "x"}), ("POST", "/data/content/update", {"content": "x"}), ("DELETE", "", None),
    ]  # fmt: skip
    async with live.client() as nobody:
        for method, path, body in doors:
            extra = {} if body is None else {"json": body}
            assert (await other.client.request(method, base + path, **extra)).status_code == 404, path
            assert (await nobody.request(method, base + path, **extra)).status_code == 401, path
    assert (await user.client.get(base)).json() == shown


async def test_an_upload_goes_into_a_knowledge_base(admin: Actor, user: Actor) -> None:
    made = await admin.client.post("/api/v1/knowledge/create", json={"name": "Base", "description": ""})
    base = made.json()["id"]
    metadata = f'{{"knowledge_id": "{base}", "directory_id": null}}'
    shown = await sent(admin, metadata=metadata)
    kept = (await admin.client.get("/api/v1/knowledge/")).json()["items"][0]
    assert (kept["id"], kept["file_count"]) == (base, 1)
    assert shown["meta"]["data"] == {"knowledge_id": base, "directory_id": None}
    assert (await send(user, metadata=metadata)).status_code in {400, 401, 403}
    for bad in (
        '{"knowledge_id": "nope"}',
        '{"knowledge_id": 5}',
        f'{{"knowledge_id": "{base}", "directory_id": "x"}}',
    ):
        assert (await send(admin, metadata=bad)).status_code in {400, 404}, bad
    assert (await user.client.get(f"{F}/count")).json() == 0
    assert (await admin.client.get(f"{F}/count")).json() == 1


async def test_the_owners_tabs_hear_when_it_is_read(user: Actor, other: Actor) -> None:
    heard: dict[str, Any] = {}
    both = asyncio.Event()

    async def hear(told: dict[str, Any]) -> None:
        heard[told["id"]] = told
        if len(heard) == 2:
            both.set()

    async with open_page(user.client, user.token) as mine, open_page(other.client, other.token) as theirs:
        mine.socket.on("file:status", hear)
        good, bad = (await send(user)).json(), (await send(user, "empty.txt", b"")).json()
        await asyncio.wait_for(both.wait(), 10)
        assert theirs.others == []
    assert heard[good["id"]] == {"id": good["id"], "name": "hello.txt", "status": "completed"}
    assert heard[bad["id"]]["error"] == "'empty.txt' is empty."
