"""Documents made anew: by settings that changed, after a reset, and what leaves the index at somebody's request."""

import asyncio
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui import constants
from open_webui.internal.db import UnitOfWork
from open_webui.models import documents, jobs, tables, vectors
from open_webui.models.documents import Document
from open_webui.services import reindexing
from open_webui.services.reindexing import Left
from tests.open_webui.knowledge.test_bases import BASES, make_base
from tests.support.live import Actor, Live

RETRIEVAL = "/api/v1/retrieval"
TEXT = "The heron stands in the shallow water. " * 40


async def upload(actor: Actor, text: str = TEXT, name: str = "heron.txt") -> str:
    form = {"files": {"file": (name, text.encode(), "text/plain")}, "params": {"process_in_background": "false"}}
    file_id: str = (await actor.client.post("/api/v1/files/", **form)).raise_for_status().json()["id"]
    return file_id


async def keep(actor: Actor, collection: str, text: str = TEXT) -> None:
    body = {"name": "note", "content": text, "collection_name": collection}
    (await actor.client.post(f"{RETRIEVAL}/process/text", json=body)).raise_for_status()


async def finds(actor: Actor, collection: str, query: str = "heron") -> int:
    body = {"collection_name": collection, "query": query}
    found = (await actor.client.post(f"{RETRIEVAL}/query/doc", json=body)).raise_for_status().json()
    return len(found["ids"][0]) if found else 0


async def every(live: Live) -> list[Document]:
    async with live.app.state.oui.database.read() as connection:
        return await documents.split_otherwise(connection, "")


async def done(live: Live) -> None:
    """Waits until nothing is read or indexed any more."""
    kinds = ("index files anew", "read a file", "index collections", "embed documents")
    while True:
        async with live.app.state.oui.database.read() as connection:
            found = [job for kind in kinds for job in await jobs.of_kind(connection, kind)]
        if all(job.state not in jobs.LIVE for job in found):
            return
        await asyncio.sleep(0.02)


async def post(actor: Actor, path: str, body: Any = None, status: int = 200) -> Any:
    reply = await actor.client.post(f"{RETRIEVAL}/{path}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_all_texts_are_split_as_the_settings_say_now(live: Live, admin: Actor, user: Actor) -> None:
    file_id = await upload(user)
    await keep(user, "birds")
    before = await every(live)
    await live.app.state.oui.save_config({"rag.chunk_size": 200, "rag.chunk_overlap": 0})
    assert (await admin.client.post(f"{BASES}/reindex")).json() is True
    await done(live)
    after = await every(live)
    assert {(d.file_id, d.collection, d.hash, d.name, d.user_id, d.expires_at) for d in after} == {
        (d.file_id, d.collection, d.hash, d.name, d.user_id, d.expires_at) for d in before
    }
    assert {d.splitting for d in before}.isdisjoint(d.splitting for d in after)
    assert all(d.chunks > 5 for d in after)
    assert await finds(user, f"file-{file_id}")
    assert await finds(user, "birds")


async def test_a_reset_loses_nothing(live: Live, admin: Actor, user: Actor) -> None:
    file_id = await upload(user)
    await keep(user, "birds")
    async with live.app.state.oui.database.write() as unit:
        model = await vectors.ensure(unit.connection, "old")
        await unit.connection.execute(tables.chunk.delete())
    assert not await finds(user, "birds")
    assert await post(admin, "reset/db") is True
    await done(live)
    assert await finds(user, f"file-{file_id}")
    assert await finds(user, "birds")
    async with live.app.state.oui.database.read() as connection:
        assert model.n not in {other.n for other in await vectors.every(connection)}


async def test_texts_go_on_where_they_were_and_one_without_its_bytes_stays(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    for name in ("one", "two", "three"):
        await keep(user, name, f"{name} {TEXT}")
    first, second, _ = await every(live)
    async with state.database.write() as unit:
        await unit.connection.execute(
            tables.document.update().where(tables.document.c.n == second.n).values(hash="0" * 64)
        )
        await state.jobs.enqueue(unit, state.reindexing.kind, Left(first.n), key="index collections")
    await done(live)
    numbers = {d.collection: d.n for d in await every(live)}
    assert (numbers["one"], numbers["two"]) == (first.n, second.n)
    assert numbers["three"] > second.n + 1
    assert await finds(user, "two", "heron")


async def test_files_are_marked_where_it_was(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindexing, "_AT_ONCE", 2)
    state = live.app.state.oui
    ids = sorted([await upload(user, f"{n} {TEXT}", f"{n}.txt") for n in range(5)])
    put_in: list[str] = []
    enqueue = state.ingestion.enqueue

    async def breaks(unit: UnitOfWork, file_id: str) -> None:
        await enqueue(unit, file_id)
        put_in.append(file_id)
        if len(put_in) == 4:
            # As where the process ends: what this transaction did is undone.
            raise ConnectionError("The database went away.")

    monkeypatch.setattr(state.ingestion, "enqueue", breaks)
    await state.save_config({"rag.chunk_size": 200, "rag.chunk_overlap": 0})
    before = {d.file_id: d.n for d in await every(live)}
    assert (await admin.client.post(f"{BASES}/reindex")).json() is True
    while True:
        async with state.database.read() as connection:
            [job] = await jobs.of_kind(connection, "index files anew")
        if job.error:
            break
        await asyncio.sleep(0.02)
    assert (put_in, ids[1] in job.payload) == (ids[:4], True)
    async with state.database.write() as unit:
        assert await jobs.change(unit.connection, job, due_at=0)
        unit.after_commit(partial(state.jobs._announce, None))
    await done(live)
    assert put_in == [*ids[:4], *ids[2:]]
    after = {d.file_id: d.n for d in await every(live)}
    assert before.keys() == after.keys()
    assert all(after[file_id] > number for file_id, number in before.items())


async def test_a_file_leaves_its_own_collection(live: Live, user: Actor) -> None:
    file_id = await upload(user)
    name = f"file-{file_id}"
    assert await finds(user, name)
    assert await post(user, "delete", {"collection_name": name, "file_id": file_id}) == {"status": True}
    assert not await finds(user, name)
    assert (await user.client.get(f"/api/v1/files/{file_id}/content")).status_code == 200
    # And comes back when somebody asks for it.
    await post(user, "process/file", {"file_id": file_id})
    assert await finds(user, name)


async def test_a_file_leaves_a_knowledge_base(live: Live, admin: Actor) -> None:
    base, file_id = await make_base(admin), await upload(admin)
    await admin.client.post(f"{BASES}/{base}/file/add", json={"file_id": file_id})
    assert await finds(admin, base)
    await post(admin, "delete", {"collection_name": base, "file_id": file_id})
    assert not await finds(admin, base)
    assert await finds(admin, f"file-{file_id}")
    assert (await post(admin, "delete", {"collection_name": base, "file_id": file_id}, 404))[
        "detail"
    ] == constants.NOT_FOUND


async def test_nobody_takes_out_what_is_anothers(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    base, file_id = await make_base(admin), await upload(user)
    mine = await upload(admin)
    await admin.client.post(f"{BASES}/{base}/file/add", json={"file_id": mine})
    for collection, wanted in ((f"file-{file_id}", file_id), (base, mine), ("birds", file_id), ("text-coll", "nope")):
        refused = await post(other, "delete", {"collection_name": collection, "file_id": wanted}, 404)
        assert refused["detail"] == constants.NOT_FOUND
    assert await finds(user, f"file-{file_id}")
    assert await finds(admin, base)
    for body in ({}, {"collection_name": "", "file_id": "x"}, {"collection_name": "x", "file_id": None}):
        await post(user, "delete", body, 422)


async def test_resets_are_for_administrators(live: Live, admin: Actor, user: Actor) -> None:
    file_id = await upload(user)
    for path in ("reset/db", "reset/uploads"):
        assert (await user.client.post(f"{RETRIEVAL}/{path}")).status_code in {401, 403}
    assert (await user.client.get(f"/api/v1/files/{file_id}")).status_code == 200
    assert await post(admin, "reset/uploads") is True
    assert (await user.client.get(f"/api/v1/files/{file_id}")).status_code == 404
    async with live.app.state.oui.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.document)) == 0
