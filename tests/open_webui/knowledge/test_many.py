"""A knowledge base with 10,000 files among 2,000 others: what PostgreSQL reads for its lists, and what adding many costs."""

from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from open_webui.models import files, knowledge
from open_webui.models.files import NewFile
from open_webui.models.tables import knowledge_file
from tests.open_webui.knowledge.test_bases import BASES, call, make_base, revision
from tests.open_webui.models.test_plans import Plans
from tests.support.live import Actor, Live
from tests.support.plans import reopen

FILL = """
INSERT INTO knowledge (id, user_id, name, description, created_at, updated_at)
    SELECT 'k' || n, :me, 'Base ' || n, '', n, n FROM generate_series(1, 2000) n;
INSERT INTO knowledge_directory (id, knowledge_id, name, created_at, updated_at) VALUES ('d', 'k1', 'Directory', 1, 1);
INSERT INTO blob (hash, size, mime, created_at, touched_at) VALUES ('h', 1, 'text/plain', 1, 1);
INSERT INTO file (id, user_id, filename, blob, embedded, status, meta, created_at, updated_at)
    SELECT 'f' || n, :me, 'file ' || n, 'h', false, CASE WHEN n % 5000 = 0 THEN 'pending' ELSE 'completed' END, '{}', n, n
    FROM generate_series(1, 90000) n;
INSERT INTO knowledge_file (id, knowledge_id, file_id, directory_id, created_at, updated_at)
    SELECT 'l' || n, CASE WHEN n <= 10000 THEN 'k1' ELSE 'k' || (n % 1999 + 2) END, 'f' || n,
           CASE WHEN n <= 2000 THEN 'd' END, n, n
    FROM generate_series(1, 90000) n;
"""
LARGE = {"knowledge", "knowledge_file", "file"}
# What a page asks; how many rows a statement may look at that shows some, and one that counts: never more than the base has.
# For its root PostgreSQL may take the index of the base's files or that of the directory's, as its sample of the table falls.
REQUESTS = {
    "/k1/files?order_by=updated_at&direction=desc&page=1&directory_id=": (200, 10_000),
    "/k1/files?order_by=updated_at&direction=desc&page=1&directory_id=d": (200, 2_500),
    "/k1/files/pending": (100, 0),
    "/k7": (100, 0),
}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_lists_read_what_they_show(live: Live, admin: Actor) -> None:
    connection = await asyncpg.connect(live.settings.database_url)
    await connection.execute(FILL.replace(":me", f"'{admin.id}'"))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    plans = Plans(live.settings.database_url)
    engine = live.app.state.oui.database._readers
    plans.watch(engine.sync_engine)
    await reopen(live.app.state.oui.database)
    wrong = []
    for path, (shown, counted) in REQUESTS.items():
        reply = await admin.client.get(BASES + path)
        assert reply.status_code == 200, reply.text
        for query, read in await plans.explained():
            bound = counted if "count(" in query else shown
            wrong += [
                f"{path} {table}: {how}, {rows} rows\n    {' '.join(query.split())[:500]}"
                for table, how, rows in read
                if rows > bound or (how == "Seq Scan" and table in LARGE)
            ]
    assert not wrong, "\n".join(wrong)
    assert (await admin.client.get(f"{BASES}/k1/files?directory_id=")).json()["total"] == 7_998


async def test_a_thousand_files_are_added_with_few_statements(live: Live, admin: Actor) -> None:
    base, state = await make_base(admin), live.app.state.oui
    stored = await state.blobs.put(b"The same in all")
    ids = [f"many-{n}" for n in range(1_000)]
    async with state.database.write() as unit:
        new = [NewFile(i, f"{i}.txt", stored.hash, stored.size, "text/plain", embedded=False) for i in ids]
        await files.add(unit.connection, admin.id, new)
        await unit.connection.execute(sa.text("UPDATE file SET status = 'completed'"))
    asked: list[str] = []
    engine = state.database._writer.sync_engine
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _k, query, *_: asked.append(query))
    before = await revision(live, base)
    shown = await call(admin, base, "files/batch/add", [{"file_id": i} for i in ids])
    assert len(asked) < 20
    assert len(shown["files"]) == 200
    assert await revision(live, base) == before + 1
    found: Any
    async with state.database.read() as connection:
        found = await connection.scalar(sa.select(sa.func.count()).select_from(knowledge_file))
        assert await knowledge.file_counts(connection, [base]) == {base: 1_000}
    assert found == 1_000
