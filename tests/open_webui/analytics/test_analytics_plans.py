"""What analytics and ratings cost: at most three statements each, and no large table read from end to end, with 20,000 rows."""

from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from open_webui.models.messages import owner_word
from tests.open_webui.models.test_plans import Plans
from tests.support.live import Actor, Live
from tests.support.plans import SqlitePlans, reopen

DAY = 86_400
NOW = 1_795_089_600
SPAN = f"start_date={NOW - 7 * DAY}&end_date={NOW}"
# Of 20,000 answers one in ten is of these seven days.
PATHS = (
    f"analytics/summary?{SPAN}", f"analytics/models?{SPAN}", f"analytics/users?{SPAN}&metric=tokens",
    f"analytics/users?{SPAN}&metric=messages", f"analytics/tokens?{SPAN}", f"analytics/daily?{SPAN}&granularity=hourly",
    f"analytics/daily?{SPAN}&metric=tokens&compare=true", f"analytics/daily?{SPAN}&granularity=hourly&metric=tokens",
    f"analytics/models/model-3/chats?{SPAN}", "analytics/models/model-3/overview?days=7",
    f"analytics/messages?model_id=model-3&{SPAN}", "evaluations/feedbacks/list?order_by=updated_at&direction=desc&page=1",
    "evaluations/leaderboard/model-3/history?days=7", "evaluations/feedbacks/user",
)  # fmt: skip
LARGE = {"chat_message", "usage", "usage_day", "feedback"}
# Counting all ratings goes through an index of all.
COUNTS_ALL = "feedbacks/list"
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)"
# For both databases. NUMBERS gives 1 to 20,000.
FILL = f"""
INSERT INTO "user" (id, email, name, role, last_active_at, created_at, updated_at) NUMBERS
    SELECT 'u' || n, 'u' || n || '@example.com', 'Person', 'user', 1, 1, 1 FROM numbers WHERE n <= 200;
INSERT INTO chat (n, id, user_id, title, body, meta, created_at, updated_at) NUMBERS
    SELECT n + 1000, 'c' || n, ':me', 'Chat', '{{}}', '{{}}', :at, :at FROM numbers WHERE n <= 5000;
INSERT INTO chat_message (n, chat_id, id, owner, role, content, model_id, body, created_at, updated_at) NUMBERS
    SELECT ((CAST(n % 5000 + 1 AS BIGINT) + 1000) << 20) + n / 5000, 'c' || (n % 5000 + 1), 'm' || n, ':word', 'assistant',
           'words', 'model-' || (n % 20), '{{}}', :at, :at FROM numbers;
INSERT INTO usage (user_id, model_id, connection, kind, status, prompt_tokens, completion_tokens, duration_ms, created_at) NUMBERS
    SELECT ':me', 'model-' || (n % 20), 'x', 'chat', 200, 1, 2, 1, :at FROM numbers;
INSERT INTO usage_day (user_id, day, model_id, connection, kind, calls, errors, prompt_tokens, completion_tokens,
                       cached_tokens, reasoning_tokens, duration_ms) NUMBERS
    SELECT 'u' || (n % 200), {NOW // DAY} - n / 200, 'm', 'x', 'chat', 1, 0, 1, 2, 0, 0, 1 FROM numbers;
INSERT INTO feedback (id, user_id, type, data, meta, model_id, rating, stamp, created_at, updated_at) NUMBERS
    SELECT 'f' || n, CASE n % 20 WHEN 0 THEN ':me' ELSE 'u' || (n % 200 + 1) END, 'rating', '{{}}', '{{}}', 'model-' || (n % 20),
           1, n, :at, :at FROM numbers
"""


def fill(owner: str) -> list[str]:
    at = f"{NOW} - (n % 100) * {DAY} - n % 1000"
    put = {"NUMBERS": NUMBERS, ":me": owner, ":word": owner_word(owner), ":at": at}
    statements = FILL
    for name, value in put.items():
        statements = statements.replace(name, value)
    return statements.split(";")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_sqlite(live: Live, admin: Actor) -> None:
    async with live.app.state.oui.database.write() as unit:
        for statement in fill(admin.id):
            await unit.connection.execute(sa.text(statement))
        await unit.connection.execute(sa.text("ANALYZE"))
    noted = SqlitePlans(live.settings.database_url.removeprefix("sqlite:///"))
    noted.watch(live.app.state.oui.database._readers.sync_engine)
    await reopen(live.app.state.oui.database)
    # Once before, so that signing in is over.
    await admin.client.get("/api/v1/analytics/summary")
    for path in PATHS:
        noted.statements.clear()
        reply = await admin.client.get(f"/api/v1/{path}")
        assert reply.status_code == 200, (path, reply.text)
        own = [query for query in noted.statements if any(name in query for name in LARGE)]
        assert own, path
        assert len(own) <= 3, (path, own)
        scanned = [said for _, said in noted.scans(LARGE) if COUNTS_ALL not in path or "INDEX" not in said]
        assert scanned == [], path


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_postgresql(live: Live, admin: Actor) -> None:
    connection = await asyncpg.connect(live.settings.database_url)
    for statement in fill(admin.id):
        await connection.execute(statement)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    noted = Plans(live.settings.database_url)
    engine = live.app.state.oui.database._readers
    noted.watch(engine.sync_engine)
    await reopen(live.app.state.oui.database)
    await admin.client.get("/api/v1/analytics/summary")
    await noted.explained()
    for path in PATHS:
        reply = await admin.client.get(f"/api/v1/{path}")
        assert reply.status_code == 200, (path, reply.text)
        assert len([query for query, _ in noted.statements if any(name in query for name in LARGE)]) <= 3, path
        read: list[tuple[str, list[tuple[str, str, int]]]] = await noted.explained()
        assert read, path
        for query, parts in read:
            whole: list[Any] = [
                part for part in parts if part[0] in LARGE and part[1] == "Seq Scan" and part[2] >= 20_000
            ]
            assert not whole or COUNTS_ALL in path, (path, query, whole)
