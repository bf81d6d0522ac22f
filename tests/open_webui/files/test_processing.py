"""/retrieval/process: files and texts that are read while somebody waits."""

from typing import Any

import sqlalchemy as sa

from open_webui.models import documents, tables
from open_webui.models.base import now
from open_webui.services.file_keeper import _remove_expired
from tests.open_webui.files.test_uploads import TEXT, send, sent
from tests.support.live import Actor, Live

P = "/api/v1/retrieval/process"


async def base_of(actor: Actor) -> str:
    made = await actor.client.post("/api/v1/knowledge/create", json={"name": "Base", "description": ""})
    base: str = made.json()["id"]
    return base


async def held(actor: Actor) -> int:
    """How many files somebody's only base has."""
    (base,) = (await actor.client.get("/api/v1/knowledge/")).json()["items"]
    count: int = base["file_count"]
    return count


async def test_a_file_is_read_again(admin: Actor) -> None:
    shown = await sent(admin)
    edited = {"content": "The secret fruit is mango."}
    await admin.client.post(f"/api/v1/files/{shown['id']}/data/content/update", json=edited)
    reply = await admin.client.post(f"{P}/file", json={"file_id": shown["id"]})
    named: dict[str, Any] = {"status": True, "filename": "hello.txt", "collection_name": f"file-{shown['id']}"}
    assert (reply.status_code, reply.json()) == (200, named | {"content": TEXT})
    reply = await admin.client.post(f"{P}/file", json={"file_id": shown["id"]} | edited)
    assert reply.json() == named | edited
    base = await base_of(admin)
    reply = await admin.client.post(f"{P}/file", json={"file_id": shown["id"], "collection_name": base})
    assert reply.json()["collection_name"] == base
    assert await held(admin) == 1


async def test_what_can_not_be_read_is_said(user: Actor, other: Actor) -> None:
    kept = (await send(user, "raw.bin", b"\x00\x01\x02\xff" * 100, process="false")).json()
    reply = await user.client.post(f"{P}/file", json={"file_id": kept["id"]})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("'raw.bin' ")
    assert (await user.client.post(f"{P}/file", json={"file_id": "nope"})).status_code == 404
    assert (await other.client.post(f"{P}/file", json={"file_id": kept["id"]})).status_code == 404
    assert (await user.client.post(f"{P}/file", json={})).status_code == 422


async def test_files_go_into_a_base_together(admin: Actor, user: Actor) -> None:
    base = await base_of(admin)
    ready, unread = await sent(admin), (await send(admin, "b.txt", b"More.", process="false")).json()
    broken = (await send(admin, "c.bin", b"\x00" * 600, process="false")).json()
    body = {"files": [ready, unread, broken, {"id": "nope"}], "collection_name": base}
    reply = (await admin.client.post(f"{P}/files/batch", json=body)).json()
    assert [r["file_id"] for r in reply["results"]] == [ready["id"], unread["id"]]
    assert {r["status"] for r in reply["results"]} == {"completed"}
    assert [r["file_id"] for r in reply["errors"]] == [broken["id"], "nope"]
    assert all(r["error"] for r in reply["errors"])
    assert await held(admin) == 2
    reply = (await user.client.post(f"{P}/files/batch", json=body)).json()
    assert (reply["results"], len(reply["errors"])) == ([], 4)


async def test_a_text_is_kept_in_a_collection_of_ones_own(live: Live, user: Actor, other: Actor) -> None:
    form = {"name": "n", "content": "Sloths sleep long.", "collection_name": "text-coll"}
    for actor in (user, user, other):
        reply = await actor.client.post(f"{P}/text", json=form)
        expected = {"status": True, "collection_name": "text-coll", "content": "Sloths sleep long."}
        assert (reply.status_code, reply.json()) == (200, expected)
    state = live.app.state.oui
    async with state.database.read() as connection:
        for actor in (user, other):
            (document,) = await documents.of_collection(connection, actor.id, "text-coll")
            assert document.chunks == 1
            assert document.expires_at is not None
            assert document.expires_at > now() + 80 * 86_400
    unnamed = await user.client.post(f"{P}/text", json={"name": "n", "content": "More."})
    assert len(unnamed.json()["collection_name"]) == 64
    assert (await user.client.post(f"{P}/text", json={"name": "n", "content": " "})).status_code == 400
    async with state.database.write() as unit:
        await unit.connection.execute(tables.document.update().values(expires_at=1))
    await _remove_expired(state)
    async with state.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.chunk)) == 0
