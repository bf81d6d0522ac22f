"""How memories are found: by words, by vectors that a job makes and makes again, and never by anybody else."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import jobs, memories, scopes, tables, vectors
from open_webui.principal import Principal
from open_webui.services import memories as memories_service
from open_webui.services import reindexing
from tests.open_webui.memories.test_memories import MEMORIES, add
from tests.open_webui.plugins.test_tools import say
from tests.support.fake_embedder import FakeEmbedder
from tests.support.live import Actor, Live

KINDS = ("embed documents", "index memories anew")


async def done(live: Live) -> None:
    """Waits until nothing is indexed or embedded any more."""
    while True:
        async with live.app.state.oui.database.read() as connection:
            found = [job for kind in KINDS for job in await jobs.of_kind(connection, kind)]
        if all(job.state not in jobs.LIVE for job in found):
            return
        await asyncio.sleep(0.02)


async def found(actor: Actor, question: str, k: int = 3) -> list[str]:
    status, reply = await say(actor, "POST", f"{MEMORIES}/query", {"content": question, "k": k})
    assert status == 200, reply
    documents: list[str] = reply["documents"][0]
    return documents


async def numbers(live: Live) -> dict[str, int]:
    """The documents of memories."""
    async with live.app.state.oui.database.read() as connection:
        columns = tables.document.c
        rows = await connection.execute(sa.select(columns.memory_id, columns.n).where(columns.memory_id.is_not(None)))
        return {row[0]: row[1] for row in rows}


def use(live: Live, engine: FakeEmbedder | None) -> None:
    live.app.state.oui.retrieval.embedder = lambda: engine


async def test_by_words_where_there_are_no_vectors(live: Live, user: Actor) -> None:
    await add(user, "Drives an automobile of 1960")
    await add(user, "Is afraid of spiders")
    assert await found(user, "Which spiders?") == ["Is afraid of spiders"]
    # Those that fit nothing are not found, and other words are not known.
    assert await found(user, "my car") == []


async def test_by_vectors_as_soon_as_they_are_there(live: Live, user: Actor, other: Actor) -> None:
    engine = FakeEmbedder()
    use(live, engine)
    await add(user, "Drives an automobile of 1960")
    await add(user, "Is afraid of spiders")
    await add(other, "Hates every automobile")
    await done(live)
    assert (await found(user, "my car", k=1)) == ["Drives an automobile of 1960"]
    assert await found(other, "my car", k=10) == ["Hates every automobile"]
    # What says the same is embedded once, whoever says it.
    await add(other, "Is afraid of spiders")
    await done(live)
    assert engine.asked.count("Is afraid of spiders") == 1
    # A text that is changed has another vector, one that moves keeps its own.
    (row, *_) = (await say(other, "POST", f"{MEMORIES}/search", {"query": "hates"}))[1]
    before = await numbers(live)
    await say(other, "POST", f"{MEMORIES}/{row['id']}/update", {"path": "street", "type": "user"})
    assert await numbers(live) == before
    await say(other, "POST", f"{MEMORIES}/{row['id']}/update", {"content": "Visits a physician"})
    await done(live)
    assert await found(other, "my doctor", k=1) == ["Visits a physician"]
    assert "Hates every automobile" not in await found(other, "automobile", k=10)


async def test_another_model_makes_them_anew(live: Live, admin: Actor, user: Actor) -> None:
    state = live.app.state.oui
    use(live, FakeEmbedder())
    await add(user, "Drives an automobile of 1960")
    await done(live)
    engine = FakeEmbedder("another", 32)
    use(live, engine)
    await state.indexing.changed()
    await done(live)
    assert engine.asked == ["Drives an automobile of 1960"]
    async with state.database.read() as connection:
        assert [(m.signature, m.is_active) for m in await vectors.every(connection)] == [("another", True)]
    assert await found(user, "my car") == ["Drives an automobile of 1960"]
    # And where the engine is away, words are left.
    engine.fails = True
    assert await found(user, "an automobile") == ["Drives an automobile of 1960"]


async def test_all_are_indexed_anew(
    live: Live, admin: Actor, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindexing, "_AT_ONCE", 2)
    engine = FakeEmbedder()
    use(live, engine)
    for n in range(3):
        await add(user, f"Knows {n}")
    await add(other, "Knows nothing")
    await done(live)
    before = await numbers(live)
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.document.delete())
    assert await found(user, "Knows") == []
    assert await say(admin, "POST", f"{MEMORIES}/reindex") == (
        200, {"status": True, "total_users": 3, "total_memories": 4}
    )  # fmt: skip
    await done(live)
    after = await numbers(live)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert len(await found(user, "Knows", k=10)) == 3
    assert await found(other, "Knows", k=10) == ["Knows nothing"]
    # One's own alone.
    assert (await say(user, "POST", f"{MEMORIES}/reset"))[1] is True
    again = await numbers(live)
    assert sum(again[one] == after[one] for one in after) == 1
    await done(live)
    assert len(await found(user, "Knows", k=10)) == 3


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
async def test_of_one_type_there_are_as_many_as_were_asked_for(live: Live, user: Actor) -> None:
    """Whatever others of another type fit better."""
    for n in range(6):
        operations = [{"action": "add", "type": "user", "content": f"apples apples {n} {k}"} for k in range(20)]
        assert (await say(user, "POST", f"{MEMORIES}/update", {"operations": operations}))[0] == 200
    for n in range(3):
        await add(user, f"Once, a long time ago, somebody brought apples of the kind {n}")
    state, principal = live.app.state.oui, Principal(id=user.id, role="user", name="", email="")
    hits = await memories_service.fitting(state.database, state.library, principal, "apples", 3, "context")
    assert len(hits) == 3
    assert {row.type for row, _ in hits} == {"context"}


async def test_many_of_them(live: Live, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are listed for a search."""
    monkeypatch.setattr(scopes, "FEW_DOCUMENTS", 5)
    for n in range(9):
        operations = [{"action": "add", "content": f"Fact {n} {k}"} for k in range(10)]
        assert (await say(user, "POST", f"{MEMORIES}/update", {"operations": operations}))[0] == 200
    await add(user, "Sails a dinghy named Otto")
    await add(other, "Sails a dinghy, too")
    assert await found(user, "How is the dinghy called?") == ["Sails a dinghy named Otto"]
    assert await found(other, "dinghy", k=10) == ["Sails a dinghy, too"]


async def test_a_threshold_for_documents_leaves_none_out(live: Live, user: Actor) -> None:
    await live.app.state.oui.save_config({"rag.relevance_threshold": 0.99, "rag.enable_hybrid_search": False})
    await add(user, "Sails a dinghy named Otto")
    assert await found(user, "What about the dinghy of mine, and the rest?") == ["Sails a dinghy named Otto"]


async def test_a_change_and_the_job_at_the_same_time(live: Live, user: Actor) -> None:
    """What is indexed in the end is what the memory says."""
    rows = [await add(user, f"Old {n}") for n in range(4)]
    changes = [say(user, "POST", f"{MEMORIES}/{r['id']}/update", {"content": f"New {n}"}) for n, r in enumerate(rows)]
    resets = [say(user, "POST", f"{MEMORIES}/reset") for _ in range(3)]
    assert {status for status, _ in await asyncio.gather(*resets, *changes)} == {200}
    assert sorted(await found(user, "Old New", k=10)) == [f"New {n}" for n in range(4)]
    assert len(await numbers(live)) == 4


async def test_what_a_collection_is_called_leads_nowhere(live: Live, user: Actor) -> None:
    """Not to one's own memories either: they have no name, and nothing is written into them by one."""
    made = await add(user, "Sails a dinghy named Otto")
    for name in (f"user-memory-{user.id}", made["id"], "memory"):
        body = {"name": "note", "content": "The dinghy sank.", "collection_name": name}
        assert (await say(user, "POST", "/api/v1/retrieval/process/text", body))[0] == 200
    assert await found(user, "dinghy", k=10) == ["Sails a dinghy named Otto"]


async def test_a_memory_that_goes_while_it_is_looked_for(
    live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await add(user, "Sails a dinghy named Otto")
    before = memories.by_ids

    async def late(connection: Any, *args: Any) -> Any:
        await user.client.delete(f"{MEMORIES}/{made['id']}")
        return await before(connection, *args)

    # On SQLite the snapshot is taken before; then the memory is still told, and gone with the next question.
    monkeypatch.setattr(memories, "by_ids", late)
    assert await found(user, "dinghy") in ([], ["Sails a dinghy named Otto"])
    monkeypatch.setattr(memories, "by_ids", before)
    assert await found(user, "dinghy") == []


async def test_what_others_remember_says_nothing(live: Live, user: Actor, other: Actor) -> None:
    """How a question is scored depends on one's own memories where these are few."""
    await add(user, "Likes tea")
    alone = (await say(user, "POST", f"{MEMORIES}/query", {"content": "tea"}))[1]["distances"]
    for n in range(5):
        await add(other, f"tea {n}")
    assert (await say(user, "POST", f"{MEMORIES}/query", {"content": "tea"}))[1]["distances"] == alone
