"""Alembic's hook: runs the revisions on the connection that the runner hands in, or on one of its own for `alembic` itself."""

import asyncio
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

from open_webui.env import load
from open_webui.errors import StartupError
from open_webui.internal.db import database_url, ensure_folder, open_alone
from open_webui.internal.folder_lock import lock_folder
from open_webui.models import tables

# What revisions made and the metadata doesn't name: what full text is searched with on either database, and partial indexes.
_IN_SQL = (
    "message_fts", "ix_chat_message_owner", "ix_chat_message_search", "ix_chat_hidden_at", "ix_chat_message_unfinished",
    "chunk_fts", "ix_chunk_search", "ix_file_pending", "ix_feedback_", "ix_chat_message_created_at", "ix_usage_day_day",
    "ix_channel_message_outside", "ix_channel_message_pinned",
)  # fmt: skip


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return not str(name).startswith(_IN_SQL) and (kind, name) != ("column", "search")


def _is_compared(thing: Any, _name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Of a reference that came with a column of its own, SQLAlchemy reads neither name nor rule back from SQLite."""
    is_sqlite = context.get_context().dialect.name == "sqlite"
    return not (is_sqlite and kind == "foreign_key_constraint" and list(thing.columns.keys()) == ["memory_id"])


def _number(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Revisions are numbered, which `alembic revision` doesn't know."""
    for directive in directives:
        last = max((int(path.name[:4]) for path in (Path(__file__).parent / "versions").glob("[0-9]*.py")), default=0)
        directive.rev_id = f"{last + 1:04}"


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.config.metadata,
        include_name=_is_ours,
        include_object=_is_compared,
        process_revision_directives=_number,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_alone() -> None:
    """For the command `alembic`: on the configured database, while no server uses its file. Raises StartupError."""
    # As for the server's own commands: what is made is for this account alone.
    os.umask(0o077)
    settings = load()
    url = database_url(settings)
    if url.drivername.startswith("sqlite"):
        ensure_folder(Path(str(url.database)).parent)
    engine = open_alone(settings)
    try:
        with lock_folder(settings):
            async with engine.begin() as connection:
                await connection.run_sync(_run)
    finally:
        await engine.dispose()


if (given := context.config.attributes.get("connection")) is not None:
    _run(given)
else:
    try:
        asyncio.run(_run_alone())
    except StartupError as error:
        raise CommandError(error.detail) from None
