"""The migrations make exactly the schema that the code declares."""

import asyncio
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from open_webui.env import Settings
from open_webui.internal.db import database_url as sqlalchemy_url
from open_webui.models.tables import metadata

# Written as SQL, or for a part of the rows: what the declared tables do not say.
PARTIAL = {
    "ix_chat_hidden_at", "ix_chat_message_unfinished", "ix_file_pending", "ix_channel_message_outside",
    "ix_channel_message_pinned",
}  # fmt: skip
# Others that only the migrations name.
COUNTING = {"ix_chat_message_created_at", "ix_usage_day_day"} | {
    f"ix_feedback_{by}" for by in ("user_id", "updated_at", "created_at", "model_id", "stamp", "size")
}
DERIVED = ("message_fts", "chunk_fts", "alembic_version")


def _declared(thing: Any, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    if kind == "table":
        return not str(name).startswith(DERIVED)
    if kind == "foreign_key_constraint" and list(thing.columns.keys()) == ["memory_id"]:
        # It came with its column: what SQLAlchemy reads back from SQLite has neither its name nor its rule.
        return False
    return (
        name
        not in {"search", "ix_chat_message_search", "ix_chat_message_owner", "ix_chunk_search"} | PARTIAL | COUNTING
    )


def _differences(connection: sa.Connection) -> list[object]:
    options = {"include_object": _declared, "compare_type": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_migrations_and_declared_tables_are_in_step(settings: Settings) -> None:
    async def compare() -> list[object]:
        engine = create_async_engine(sqlalchemy_url(settings))
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_differences)
        finally:
            await engine.dispose()

    assert asyncio.run(compare()) == []
