"""The table of memories; `tables` has it, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

# What somebody wants models to know, in one short text each. It is searched as a document of its own (`document.memory_id`).
memory = sa.Table(
    "memory",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    # "user": what is told with every question. "context": what is told where it fits the question.
    Column("type", sa.Text, nullable=False),
    # Where it stands among the others, as names parted by slashes.
    Column("path", sa.Text),
    Column("content", sa.Text, nullable=False),
    Column("meta", Json),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_memory_user_id", "user_id", "created_at"),
)
