"""0026: the one key that an account had stays good, and is shown to its owner as before."""

import importlib

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

revision = importlib.import_module("open_webui.migrations.versions.0026_keys_and_sessions")


def test_keys_are_taken_over() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE user (id TEXT PRIMARY KEY)",
            "CREATE TABLE credential (user_id TEXT PRIMARY KEY)",
            "CREATE TABLE api_key (hash TEXT PRIMARY KEY, user_id TEXT UNIQUE, sealed TEXT NOT NULL, created_at BIGINT)",
            "INSERT INTO credential VALUES ('ada')",
            "INSERT INTO api_key VALUES ('h1', 'ada', 's1', 7), ('h2', 'bob', 's2', 8)",
        ):
            connection.execute(sa.text(statement))
        with Operations.context(MigrationContext.configure(connection)):
            revision.upgrade()
        query = "SELECT user_id, hash, sealed, name, scopes, created_at FROM api_key ORDER BY user_id"
        rows = connection.execute(sa.text(query)).all()
        assert connection.execute(sa.text("SELECT service FROM credential")).scalar_one() == 0
    engine.dispose()
    assert [tuple(row) for row in rows] == [("ada", "h1", "s1", "", None, 7), ("bob", "h2", "s2", "", None, 8)]
