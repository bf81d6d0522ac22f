"""What PostgreSQL reads for each hot query, with 20,000 chats in it: rows by an index, and no more of them with more people.

The statements are those that the server sends for requests of a page; PostgreSQL explains each, and counts.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from tests.open_webui.chat.page import open_page
from tests.support.live import PASSWORD, Actor, Live
from tests.support.plans import reopen

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
# Tables that grow with people and chats: no query of a page reads one from end to end.
GROWING = {
    "access_grant",
    "chat",
    "chat_message",
    "chat_tag",
    "credential",
    "file",
    "file_use",
    "folder",
    "shared_chat",
    "tag",
    "usage",
    "usage_day",
    "user",
}

# Beside all requests: what nothing uses any more goes, once in a while, and pictures are moved out of old rows; both read all
# there is, the latter by their keys.
SWEEPS = re.compile(r"DELETE FROM (file|blob) WHERE|SELECT (\w+)\.(\w+)(?:, \S+)* FROM \2 WHERE \2\.\3 > \$1")

FILL = """
INSERT INTO "user" (id, email, name, role, last_active_at, created_at, updated_at)
    SELECT 'u' || n, 'u' || n || '@example.com', 'Person ' || n, 'user', n, n, n FROM generate_series(1, 2000) n;
INSERT INTO credential (user_id, session_stamp) SELECT 'u' || n, 's' FROM generate_series(1, 2000) n;
INSERT INTO folder (id, user_id, name, created_at, updated_at)
    SELECT 'f' || n, 'u' || n, 'Folder', 1, 1 FROM generate_series(1, 2000) n;
INSERT INTO folder (id, user_id, name, created_at, updated_at) VALUES ('own', :me, 'Own', 1, 1);
INSERT INTO chat (n, id, user_id, title, body, meta, archived, pinned, folder_id, created_at, updated_at, current_message_id,
                  next_position)
    SELECT n + 1000, 'c' || n, CASE WHEN n % 20 = 0 THEN :me ELSE 'u' || (n % 1900 + 1) END, 'Chat number ' || n, '{}', '{}',
           n % 140 = 0, n % 200 = 0, CASE WHEN n % 100 = 0 THEN 'own' END, n, n, 'a', 2
    FROM generate_series(1, 20000) n;
INSERT INTO chat_message (n, chat_id, id, owner, parent_id, role, content, model_id, body, created_at, updated_at)
    SELECT ((n::bigint + 1000) << 20) + k, 'c' || n, CASE k WHEN 0 THEN 'q' ELSE 'a' END,
           replace(CASE WHEN n % 20 = 0 THEN :me ELSE 'u' || (n % 1900 + 1) END, '-', ''), CASE k WHEN 1 THEN 'q' END,
           CASE k WHEN 0 THEN 'user' ELSE 'assistant' END, 'some words of number' || n || ' and a fox' || (n % 500),
           'echo', '{}', n, n
    FROM generate_series(1, 20000) n, generate_series(0, 1) k;
INSERT INTO tag (id, user_id, name) SELECT 'sea', 'u' || n, 'Sea' FROM generate_series(1, 1900) n;
INSERT INTO tag (id, user_id, name) VALUES ('sea', :me, 'Sea');
INSERT INTO chat_tag (chat_id, tag_id, user_id) SELECT id, 'sea', user_id FROM chat WHERE n % 20 <> 0 OR n % 200 = 0;
INSERT INTO blob (hash, size, mime, created_at, touched_at)
    SELECT 'h' || n, 1, 'text/plain', 1, 1 FROM generate_series(1, 5000) n;
INSERT INTO file (id, user_id, filename, blob, embedded, meta, created_at, updated_at)
    SELECT 'file' || n, CASE WHEN n % 20 = 0 THEN :me ELSE 'u' || (n % 1900 + 1) END, 'a.txt', 'h' || n, false, '{}', n, n
    FROM generate_series(1, 5000) n;
INSERT INTO file_use (file_id, message_n) SELECT 'file' || n, (n::bigint + 1000) << 20 FROM generate_series(1, 5000) n;
INSERT INTO usage (user_id, model_id, connection, kind, status, duration_ms, created_at)
    SELECT 'u' || (n % 1900 + 1), 'echo', 'openai:0', 'chat', 200, 1, n FROM generate_series(1, 20000) n;
INSERT INTO usage_day (user_id, day, model_id, connection, kind, calls, errors, prompt_tokens, completion_tokens,
                       cached_tokens, reasoning_tokens, duration_ms)
    SELECT 'u' || n, (extract(epoch FROM now()) / 86400)::int - d, 'echo', 'openai:0', 'chat', 1, 0, 1, 1, 0, 0, 1
    FROM generate_series(1, 2000) n, generate_series(0, 9) d;
INSERT INTO model (id, user_id, base_model_id, name, params, meta, is_active, created_at, updated_at)
    SELECT 'm' || n, 'u' || n, 'echo', 'Model', '{}', '{}', true, 1, 1 FROM generate_series(1, 200) n;
INSERT INTO access_grant (id, resource_type, resource_id, principal_type, principal_id, permission, created_at)
    SELECT 'g' || n || '.' || p, 'model', 'm' || n, 'user', 'u' || (n * 7 + p), 'read', 1
    FROM generate_series(1, 200) n, generate_series(1, 50) p;
INSERT INTO shared_chat (id, chat_id, user_id, title, mode, chat, created_at, updated_at)
    SELECT 's' || n, 'c' || n, 'u' || (n % 1900 + 1), 'Shared', 'continue', NULL, n, n
    FROM generate_series(1, 20000, 19) n WHERE n % 20 > 0;
"""


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Of each part of a plan that reads a table: the table, how, and how many rows it has looked at."""
    if "Relation Name" in plan and plan["Node Type"] != "ModifyTable":
        rows = (
            plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        )
        yield plan["Relation Name"], plan["Node Type"], round(rows * plan["Actual Loops"])
    for part in plan.get("Plans", ()):
        yield from scans(part)


class Plans:
    """Notes the statements of a server, and has PostgreSQL explain them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.statements: list[tuple[str, Any]] = []

    def watch(self, engine: sa.Engine) -> None:
        """SQLAlchemy tells its statements, asyncpg those that it is asked for directly (internal/postgres.py)."""
        sa.event.listen(engine, "before_cursor_execute", lambda _c, _k, query, given, *_: self._note(query, given))
        sa.event.listen(
            engine,
            "connect",
            lambda adapted, _record: adapted.driver_connection.add_query_logger(
                lambda said: self._note(said.query, said.args)
            ),
        )

    def _note(self, query: str, given: Any) -> None:
        if query.lstrip().split(None, 1)[0].upper() in {
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "WITH",
        } and not SWEEPS.match(query):
            self.statements.append((query, given))

    async def explained(self) -> list[tuple[str, list[tuple[str, str, int]]]]:
        """The statements noted since, and what each of them read. They are run once more, and undone."""
        noted, self.statements = self.statements, []
        connection = await asyncpg.connect(self._url)
        found = []
        for query, given in noted:
            many = isinstance(given, list)
            transaction = connection.transaction()
            await transaction.start()
            try:
                # Rows that an INSERT has stored are in its way.
                with contextlib.suppress(asyncpg.UniqueViolationError):
                    said = await connection.fetchval(
                        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", *(given[0] if many else given or ())
                    )
                    found.append((query, list(scans(json.loads(said)[0]["Plan"]))))
            finally:
                await transaction.rollback()
        await connection.close()
        return found


@pytest.fixture
async def plans(live: Live, admin: Actor) -> Plans:
    """20,000 chats, of which one person has 1,000."""
    connection = await asyncpg.connect(live.settings.database_url)
    await connection.execute(FILL.replace(":me", f"'{admin.id}'"))
    # Also what a GIN index has not sorted in yet, as autovacuum does outside of tests.
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    noted = Plans(live.settings.database_url)
    engine = live.app.state.oui.database._readers
    noted.watch(engine.sync_engine)
    # Those that were made before are not watched.
    await reopen(live.app.state.oui.database)
    return noted


# What a page asks, and how many rows the largest of its statements may look at. The person has 1,000 of 20,000 chats.
REQUESTS = {
    "GET /api/v1/chats/?page=1": 300,
    "GET /api/v1/chats/c2000": 20,
    "GET /api/v1/chats/pinned": 2_000,
    "GET /api/v1/chats/archived": 300,
    "GET /api/v1/chats/all/tags": 2_000,
    "GET /api/v1/chats/search?text=number2000": 2_500,
    "GET /api/v1/chats/search?text=fox": 2_500,
    "GET /api/v1/chats/search?text=tag:sea": 2_500,
    "GET /api/v1/folders/": 2_000,
    "GET /api/v1/chats/folder/own": 2_000,
    "GET /api/models": 300,
    # 30 of 200 models, of each 50 of 10,000 grants.
    "GET /api/v1/models/list": 1_500,
    "GET /api/v1/models/model?id=m7": 200,
}


async def test_no_request_of_a_page_reads_more_than_its_own(plans: Plans, admin: Actor) -> None:
    failures = []
    for request, bound in REQUESTS.items():
        method, path = request.split(" ")
        reply = await admin.client.request(method, path)
        assert reply.status_code == 200, (request, reply.text)
        explained = await plans.explained()
        assert explained or request.endswith("models"), request
        failures += [f"{request}: {said}" for said in bad(explained, bound)]
    assert not failures, "\n".join(failures)


async def test_what_was_used_is_summed_of_ones_own_days_and_chats(plans: Plans, admin: Actor) -> None:
    assert (await admin.client.get("/api/v1/users/usage?days=30")).status_code == 200
    explained = await plans.explained()
    assert {"usage_day", "chat", "chat_message"} <= {table for _, read in explained for table, _, _ in read}
    # 1,000 chats of two messages each.
    assert not bad(explained, 2_000), "\n".join(bad(explained, 2_000))
    days = [(query, read) for query, read in explained if "usage_day" in query]
    assert not bad(days, 60), "\n".join(bad(days, 60))


async def test_who_signs_in_is_found_by_an_index(plans: Plans, live: Live, admin: Actor) -> None:
    async with live.client() as client:
        reply = await client.post("/api/v1/auths/signin", json={"email": admin.email, "password": PASSWORD})
        assert reply.status_code == 200
    async with live.client(reply.json()["token"]) as client:
        assert (await client.get("/api/v1/auths/")).status_code == 200
    explained = await plans.explained()
    assert len(explained) > 1
    assert not bad(explained, 20), "\n".join(bad(explained, 20))


async def test_a_turn_reads_its_own_chat(plans: Plans, admin: Actor) -> None:
    """Asking, the journal, the end and the look-up of what runs."""
    async with open_page(admin.client, admin.token) as page:
        await plans.explained()
        body = page.ask("echo", "And then?", chat_id="c2000", parent_id="a")
        reply = await admin.client.post("/api/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        await page.idle("c2000")
        explained = await plans.explained()
    assert len(explained) > 5
    assert not bad(explained, 60), "\n".join(bad(explained, 60))


def bad(explained: list[tuple[str, list[tuple[str, str, int]]]], bound: int) -> list[str]:
    """Statements that look at too many rows, or read a growing table from end to end."""
    return [
        f"{table}: {how}, {rows} rows\n    {' '.join(query.split())[:600]}"
        for query, read in explained
        for table, how, rows in read
        if rows > bound or (how == "Seq Scan" and table in GROWING)
    ]
