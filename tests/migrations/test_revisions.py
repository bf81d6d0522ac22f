"""What a revision does to a database that has data: nothing is lost."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.migrations import runner
from open_webui.migrations.runner import alembic_config, migrate

NOW = 1_795_089_600
USER = (
    'INSERT INTO "user" (id, email, name, role, last_active_at, created_at, updated_at)'
    f" VALUES ('u', 'u@example.com', 'U', 'user', {NOW}, {NOW}, {NOW})"
)
USAGE = (
    "INSERT INTO usage (user_id, model_id, connection, kind, chat_id, status, prompt_tokens, duration_ms, created_at)"
    f" VALUES ('u', 'm', 'openai:0', 'chat', 'c', 200, 7, 5, {NOW})"
)


async def test_0004_keeps_the_usage_and_lets_it_outlive_its_user(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await _at(tmp_path, empty_database_url, monkeypatch, "0003")
    await _run(given, USER, USAGE, USAGE)
    assert await migrate(given)
    database = open_database(given)
    async with database.write() as unit:
        await unit.connection.execute(sa.text("DELETE FROM \"user\" WHERE id = 'u'"))
        await unit.connection.execute(sa.text(USAGE.replace("'u'", "'gone'")))
    async with database.read() as connection:
        query = "SELECT n, user_id, chat_id, prompt_tokens, cached_tokens, reasoning_tokens FROM usage ORDER BY n"
        rows = [tuple(row) for row in await connection.execute(sa.text(query))]
    await database.close()
    assert rows == [(n, user, "c", 7, None, None) for n, user in ((1, "u"), (2, "u"), (3, "gone"))]


async def test_0010_sums_the_usage_there_is(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await _at(tmp_path, empty_database_url, monkeypatch, "0009")
    failed, stopped = USAGE.replace("200, 7", "502, NULL"), USAGE.replace("200, 7", "499, 2147483647")
    another_day = USAGE.replace(str(NOW), str(NOW + 86_400))
    await _run(given, USAGE, failed, stopped, stopped, another_day)
    assert await migrate(given)
    database = open_database(given)
    async with database.read() as connection:
        rows = [tuple(row) for row in await connection.execute(sa.text("SELECT * FROM usage_day ORDER BY day"))]
    await database.close()
    day = NOW // 86_400
    assert rows == [
        ("u", day, "m", "openai:0", "chat", 4, 1, 7 + 2 * 2147483647, 0, 0, 0, 20),
        ("u", day + 1, "m", "openai:0", "chat", 1, 0, 7, 0, 0, 0, 5),
    ]


async def _at(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, revision: str) -> Settings:
    """Settings of a database that has an earlier schema."""
    given = Settings(_env_file=None, data_dir=tmp_path / "data", database_url=url, env="test")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "HEAD", revision)
        patch.setattr(runner, "_upgrade", lambda connection: command.upgrade(alembic_config(connection), revision))
        await migrate(given)
    return given


async def _run(given: Settings, *statements: str) -> None:
    database = open_database(given)
    async with database.write() as unit:
        for statement in statements:
            await unit.connection.execute(sa.text(statement))
    await database.close()
