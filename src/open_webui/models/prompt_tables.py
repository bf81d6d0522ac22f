"""The table of prompts; `tables` has it, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

prompt = sa.Table(
    "prompt",
    metadata,
    Column("id", sa.Text, primary_key=True),
    # What is typed behind `/`; one prompt of the server has it.
    Column("command", sa.Text, nullable=False, unique=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    Column("content", sa.Text, nullable=False),
    Column("data", Json, nullable=False),
    Column("meta", Json, nullable=False),
    # Names.
    Column("tags", Json, nullable=False),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    Column("version_id", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_prompt_user_id", "user_id"),
)
