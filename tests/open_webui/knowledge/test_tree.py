"""The directories of a knowledge base, its lists of files, its comparison with a folder, and its export."""

import asyncio
import io
import json
import zipfile
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services.knowledge_export import Names
from tests.open_webui.knowledge.test_bases import BASES, call, count, grant, make_base, revision
from tests.support.live import Actor, Live
from tests.support.put_files import put_file


async def directory(actor: Actor, base: str, name: str, parent: str | None = None) -> str:
    made: str = (await call(actor, base, "dirs/create", {"name": name, "parent_id": parent}))["id"]
    return made


async def add(live: Live, actor: Actor, base: str, name: str, place: str | None = None, text: str | None = None) -> str:
    file_id = await put_file(live, actor.id, name, text or f"Text of {name}")
    await call(actor, base, "file/add", {"file_id": file_id, "directory_id": place})
    return file_id


async def listed(actor: Actor, base: str, **query: Any) -> Any:
    reply = await actor.client.get(f"{BASES}/{base}/files", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def names(actor: Actor, base: str, **query: Any) -> list[str]:
    return [item["filename"] for item in (await listed(actor, base, **query))["items"]]


async def test_a_directory_is_made_renamed_moved_and_removed(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    made = await call(admin, base, "dirs/create", {"name": " dir1 "})
    assert list(made) == ["id", "knowledge_id", "parent_id", "name", "user_id", "created_at", "updated_at"]
    outer, inner = made["id"], await directory(admin, base, "inner", made["id"])
    file_id = await add(live, admin, base, "kb.txt")
    assert await call(admin, base, "file/move", {"file_id": file_id, "directory_id": inner}) == {"status": True}
    assert (await call(admin, base, f"dirs/{outer}/update", {"name": "dir2"}))["name"] == "dir2"
    shown = await listed(admin, base, directory_id=inner)
    assert [d["name"] for d in shown["breadcrumbs"]] == ["dir2", "inner"]
    (item,) = shown["items"]
    assert (item["directory_id"], item["directory_path"], item["data"], item["has_original"]) == (
        inner, "dir2/inner", None, True,
    )  # fmt: skip
    assert item["user"]["name"] == admin.name
    top = await listed(admin, base, directory_id="")
    assert ([d["id"] for d in top["directories"]], top["items"], top["total"]) == ([outer], [], 0)
    assert await names(admin, base) == ["kb.txt"]
    moved = await call(admin, base, f"dirs/{inner}/update", {"parent_id": None})
    assert (moved["parent_id"], moved["name"]) == (None, "inner")
    await call(admin, base, f"dirs/{outer}/update", {"parent_id": inner})
    before = await revision(live, base)
    gone = await admin.client.delete(f"{BASES}/{base}/dirs/{inner}/delete")
    assert gone.json() == {"status": True, "file_ids": []}
    assert await names(admin, base, directory_id="") == ["kb.txt"]
    assert (await count(live, tables.knowledge_directory), await revision(live, base)) == (0, before)


async def test_a_directory_goes_with_its_files_where_that_is_wished(live: Live, admin: Actor) -> None:
    base, other = await make_base(admin), await make_base(admin, "Other")
    outer = await directory(admin, base, "outer")
    inner = await directory(admin, base, "inner", outer)
    lone, both = await add(live, admin, base, "lone.txt", inner), await add(live, admin, base, "both.txt", outer)
    await call(admin, other, "file/add", {"file_id": both})
    kept = await add(live, admin, base, "kept.txt")
    gone = await admin.client.delete(f"{BASES}/{base}/dirs/{outer}/delete", params={"move_files": "false"})
    assert set(gone.json()["file_ids"]) == {lone, both}
    assert await names(admin, base) == ["kept.txt"]
    statuses = [(await admin.client.get(f"/api/v1/files/{i}/content")).status_code for i in (lone, both, kept)]
    assert statuses == [404, 200, 200]


async def test_what_no_directory_can_be(admin: Actor) -> None:
    base, other = await make_base(admin), await make_base(admin, "Other")
    outer, foreign = await directory(admin, base, "outer"), await directory(admin, other, "outer")
    inner = await directory(admin, base, "inner", outer)
    for name in ("", " ", "a/b", "a\\b", "..", ".", "a\nb", "x" * 201):
        await call(admin, base, "dirs/create", {"name": name}, status=422)
    await call(admin, base, "dirs/create", {"name": "outer"}, status=400)
    await call(admin, base, "dirs/create", {"name": "x", "parent_id": foreign}, status=404)
    await call(admin, base, f"dirs/{foreign}/update", {"name": "x"}, status=404)
    await call(admin, base, f"dirs/{outer}/update", {"parent_id": foreign}, status=404)
    for parent in (outer, inner):
        await call(admin, base, f"dirs/{outer}/update", {"parent_id": parent}, status=400)
    assert (await admin.client.delete(f"{BASES}/{base}/dirs/{foreign}/delete")).status_code == 404
    assert (await admin.client.get(f"{BASES}/{base}/files", params={"directory_id": foreign})).status_code == 404
    deep = None
    for n in range(50):
        deep = await directory(admin, other, f"d{n}", deep)
    await call(admin, other, "dirs/create", {"name": "x", "parent_id": deep}, status=400)


async def test_a_file_is_moved_inside_its_base_only(live: Live, admin: Actor) -> None:
    base, other = await make_base(admin), await make_base(admin, "Other")
    foreign = await directory(admin, other, "there")
    file_id, loose = await add(live, admin, base, "a.txt"), await put_file(live, admin.id)
    await call(admin, base, "file/move", {"file_id": file_id, "directory_id": foreign}, status=404)
    await call(admin, base, "file/move", {"file_id": loose, "directory_id": None}, status=404)
    await call(admin, base, "file/add", {"file_id": loose, "directory_id": foreign}, status=404)
    assert await names(admin, base, directory_id="") == ["a.txt"]


async def test_files_are_listed_by_name_and_time_in_pages(live: Live, admin: Actor, user: Actor) -> None:
    base = await make_base(admin, access_grants=[grant(user, "write")])
    for n in range(33):
        await add(live, admin, base, f"F{n:02}.txt" if n % 2 else f"f{n:02}.txt")
    await add(live, user, base, "theirs.md")
    first, second = await listed(admin, base, order_by="name"), await names(admin, base, order_by="name", page=2)
    assert ([i["filename"] for i in first["items"]][:3], first["total"]) == (["f00.txt", "F01.txt", "f02.txt"], 34)
    assert second == ["f30.txt", "F31.txt", "f32.txt", "theirs.md"]
    assert (await names(admin, base, order_by="name", direction="desc"))[0] == "theirs.md"
    assert await names(admin, base, query="F3", order_by="name") == ["f30.txt", "F31.txt", "f32.txt"]
    assert await names(admin, base, view_option="shared") == ["theirs.md"]
    assert len(await names(user, base, view_option="created")) == 1
    assert len(await names(admin, base, order_by="created_at", direction="asc")) == 30
    assert (await admin.client.get(f"{BASES}/nope/files")).status_code == 400


async def test_files_that_are_being_read_are_listed_apart(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    place = await directory(admin, base, "d")
    await add(live, admin, base, "read.txt")
    waits, fails = [
        await put_file(live, admin.id, f"{status}.txt", status=status) for status in ("processing", "failed")
    ]
    await call(admin, base, "files/batch/add", [{"file_id": waits, "directory_id": place}, {"file_id": fails}])
    (waiting,) = (await admin.client.get(f"{BASES}/{base}/files/pending")).json()
    assert (waiting["id"], waiting["data"]["status"]) == (waits, "processing")
    assert waiting["meta"]["data"] == {"knowledge_id": base, "directory_id": place}
    shown = await listed(admin, base, order_by="name")
    assert [(i["filename"], i["data"] and i["data"]["status"]) for i in shown["items"]] == [
        ("failed.txt", "failed"), ("read.txt", None),
    ]  # fmt: skip
    assert shown["total"] == 2
    assert (await listed(admin, base, query="read"))["total"] == 1
    assert (await admin.client.get(f"{BASES}/nope/files/pending")).status_code == 404


async def test_a_file_is_uploaded_into_a_base(live: Live, admin: Actor, user: Actor) -> None:
    base = await make_base(admin, access_grants=[grant(user)])
    place = await directory(admin, base, "d")

    async def upload(actor: Actor, **metadata: Any) -> Any:
        form = {"metadata": json.dumps(metadata)}
        return await actor.client.post(
            "/api/v1/files/", files={"file": ("emu.txt", b"Emus run.", "text/plain")}, data=form
        )

    made = await upload(admin, knowledge_id=base, directory_id=place)
    assert made.status_code == 200, made.text
    async with admin.client.stream("GET", f"{BASES}/{base}/files/pending?stream=true") as reply:
        assert [line async for line in reply.aiter_lines() if line][-1] == "data: []"
    shown = await listed(admin, base, directory_id=place, include_content="true")
    assert [(i["id"], i["data"]["content"]) for i in shown["items"]] == [(made.json()["id"], "Emus run.")]
    assert shown["items"][0]["meta"]["collection_name"] == base
    before = await count(live, tables.file)
    statuses = [
        (await upload(user, knowledge_id=base)).status_code,
        (await upload(user, knowledge_id="nope")).status_code,
        (await upload(admin, knowledge_id=base, directory_id="nope")).status_code,
    ]
    assert statuses == [401, 400, 404]
    assert await count(live, tables.file) == before


async def test_what_nobody_has_read_is_read_when_it_comes_into_a_base(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    unread, failed = [await put_file(live, admin.id, f"{s}.txt", status=s) for s in (None, "failed")]
    await call(admin, base, "files/batch/add", [{"file_id": unread}, {"file_id": failed}])

    async def status(file_id: str) -> str:
        url = f"/api/v1/files/{file_id}/process/status?stream=true"
        told = (await admin.client.get(url)).text
        return str(json.loads(told.strip().rpartition("data: ")[2])["status"])

    assert [await status(i) for i in (unread, failed)] == ["completed", "failed"]
    await call(admin, base, "file/update", {"file_id": failed})
    assert await status(failed) == "completed"
    await call(admin, base, "file/update", {"file_id": "nope"}, status=400)


async def test_all_bases_are_indexed_anew(live: Live, admin: Actor, user: Actor) -> None:
    base = await make_base(admin)
    ids = [await add(live, admin, base, f"{n}.txt") for n in range(3)]
    loose = await put_file(live, admin.id, "loose.txt")
    refused = await user.client.post(f"{BASES}/reindex")
    assert (refused.status_code, refused.json()["detail"]) == (401, "401 Unauthorized")
    assert (await admin.client.post(f"{BASES}/reindex")).json() is True
    indexed: set[str] = set()
    async with asyncio.timeout(30):
        # A job marks them, and others read them.
        while len(indexed) < len(ids):
            await asyncio.sleep(0.05)
            async with live.app.state.oui.database.read() as connection:
                indexed = set(await connection.scalars(sa.select(tables.document.c.file_id)))
    async with admin.client.stream("GET", f"{BASES}/{base}/files/pending?stream=true") as reply:
        assert [line async for line in reply.aiter_lines() if line][-1] == "data: []"
    assert indexed == set(ids)
    assert loose not in indexed
    assert (await admin.client.post(f"{BASES}/metadata/reindex")).json() == {"total": 1, "success": 1}


async def test_who_waits_for_files_is_told_until_all_are_read(live: Live, admin: Actor) -> None:
    base, file_id = await make_base(admin), await put_file(live, admin.id, status="pending")
    await call(admin, base, "file/add", {"file_id": file_id})
    told = []
    async with admin.client.stream("GET", f"{BASES}/{base}/files/pending?stream=true") as reply:
        async for line in reply.aiter_lines():
            if line:
                told.append(line)
                async with live.app.state.oui.database.write() as unit:
                    await unit.connection.execute(tables.file.update().values(status="completed"))
    assert (len(told), told[-1]) == (2, "data: []")
    assert file_id in told[0]


async def test_files_of_all_bases_are_found(live: Live, admin: Actor, user: Actor) -> None:
    base, hidden = await make_base(admin, access_grants=[grant(user)]), await make_base(admin, "Hidden")
    place = await directory(admin, base, "birds")
    await add(live, admin, base, "emu.txt", place)
    await add(live, admin, hidden, "emu too.txt")
    found = (await user.client.get(f"{BASES}/search/files", params={"query": "EMU"})).json()
    assert (found["total"], found["directories"], found["breadcrumbs"]) == (1, [], [])
    (item,) = found["items"]
    assert (item["filename"], item["directory_path"], item["collection"]["id"]) == ("emu.txt", "birds", base)
    assert "write_access" not in item["collection"]
    assert (await admin.client.get(f"{BASES}/search/files")).json()["total"] == 2


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def entry(path: str, filename: str, text: str) -> dict[str, Any]:
    return {"filename": filename, "path": path, "checksum": digest(text), "size": len(text)}


async def test_a_base_is_compared_with_a_folder(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    docs, old = await directory(admin, base, "docs"), await directory(admin, base, "old")
    same = await add(live, admin, base, "same.txt", docs, "same")
    stale = await add(live, admin, base, "stale.txt", docs, "before")
    surplus = await add(live, admin, base, "gone.txt", old, "gone")
    twin = await add(live, admin, base, "same.txt", docs, "another")
    manifest = [entry("docs", "same.txt", "same"), entry("docs/", "stale.txt", "after"), entry("docs/new/deep", "a.txt", "a"),
                entry("", "top.txt", "t")]  # fmt: skip
    before = await revision(live, base)
    found = await call(admin, base, "sync/diff", {"manifest": manifest})
    assert found == {
        "added": [{"filename": "a.txt", "path": "docs/new/deep"}, {"filename": "top.txt", "path": ""}],
        "modified": [{"filename": "stale.txt", "path": "docs", "stale_file_id": stale}],
        "deleted": [{"filename": "same.txt", "path": "docs", "file_id": twin},
                    {"filename": "gone.txt", "path": "old", "file_id": surplus}],
        "mkdir": ["docs/new", "docs/new/deep"], "rmdir": [old], "unmodified_count": 1, "directory_map": {"docs": docs},
    }  # fmt: skip
    assert await revision(live, base) == before
    body = {"file_ids": [stale, surplus, twin, "nope"], "dir_ids": [old, "nope"]}
    assert await call(admin, base, "sync/cleanup", body) == {"status": True}
    assert [i["id"] for i in (await listed(admin, base))["items"]] == [same]
    assert await call(admin, base, "sync/cleanup", body) == {"status": True}
    for path in ("../up", "a/./b", "a\\b", "/".join("x" * 51)):
        await call(admin, base, "sync/diff", {"manifest": [entry(path, "a", "a")]}, status=400)
    await call(admin, "nope", "sync/diff", {"manifest": []}, status=404)


async def test_a_clean_up_takes_nothing_out_of_another_base(live: Live, admin: Actor) -> None:
    base, other = await make_base(admin), await make_base(admin, "Other")
    place = await directory(admin, other, "d")
    file_id = await add(live, admin, other, "a.txt", place)
    await call(admin, base, "sync/cleanup", {"file_ids": [file_id], "dir_ids": [place]})
    assert (await listed(admin, other, directory_id=place))["total"] == 1


async def test_a_base_is_emptied(live: Live, admin: Actor) -> None:
    base = await make_base(admin)
    place = await directory(admin, base, "d")
    file_id = await add(live, admin, base, "a.txt", place)
    left = await call(admin, base, "reset", include_directories="false")
    assert (left["id"], left["files"], "write_access" in left) == (base, None, False)
    assert (await count(live, tables.knowledge_file), await count(live, tables.knowledge_directory)) == (0, 1)
    await call(admin, base, "reset")
    assert await count(live, tables.knowledge_directory) == 0
    assert (await admin.client.get(f"/api/v1/files/{file_id}/content")).status_code == 200


async def test_a_base_is_exported(live: Live, admin: Actor, user: Actor) -> None:
    base = await make_base(admin, "Bäse/1", access_grants=[grant(user)])
    place = await directory(admin, base, "dir")
    await add(live, admin, base, "a.txt", place, "first")
    await add(live, admin, base, "A.txt", place, "second")
    lost = await add(live, admin, base, "lost.txt", None, "lost")
    large = "line of text\n" * 100_000
    await add(live, admin, base, "large.txt", None, large)
    async with live.app.state.oui.database.write() as unit:
        blob = await unit.connection.scalar(sa.select(tables.file.c.blob).where(tables.file.c.id == lost))
    await live.app.state.oui.blobs.delete(blob, 2**40)
    reply = await admin.client.get(f"{BASES}/{base}/export")
    assert (reply.headers["content-type"], reply.headers["content-disposition"]) == (
        "application/zip", "attachment; filename*=UTF-8''B%C3%A4se%2F1.zip",
    )  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name).decode() for name in archive.namelist()}
    assert read.pop("MISSING.txt").endswith("lost.txt")
    assert read.pop("large.txt") == large
    assert sorted(read.values()) == ["first", "second"]
    assert {name.casefold() for name in read} == {"dir/a.txt", "dir/a (2).txt"}
    assert (await user.client.get(f"{BASES}/{base}/export")).status_code == 401
    assert (await admin.client.get(f"{BASES}/nope/export")).status_code == 404


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        (("..", "/etc"), "passwd", "_/_etc/passwd"),
        (("a",), "../../x", "a/_.._x"),
        ((), "C:\\x", "C__x"),
        ((), "...", "_"),
        ((), "x" * 300, "x" * 150),
        ((), "\x00\n", "__"),
    ],
)
def test_names_in_an_export_lead_nowhere_else(folder: tuple[str, ...], name: str, expected: str) -> None:
    assert Names().unique(folder, name) == expected


def test_names_in_an_export_are_there_once() -> None:
    given = Names()
    found = [given.unique((), name) for name in ("a.txt", "A.TXT", "a (2).txt", "a.txt", ".rc", ".rc")]
    assert len({name.casefold() for name in found}) == len(found)
    assert found[:2] == ["a.txt", "A (2).TXT"]
