"""The tables of plugins, of what people set of them, and of versions; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, RowNumber, Seconds, metadata, owner

Column = sa.Column
FALSE = sa.false()

tool = sa.Table(
    "tool",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    # Its Python.
    Column("content", sa.Text, nullable=False),
    # What models are told of its methods.
    Column("specs", Json, nullable=False),
    Column("meta", Json, nullable=False),
    # What admins set of it: JSON, encrypted.
    Column("valves", sa.Text),
    Column("version_id", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_tool_user_id", "user_id"),
)
function = sa.Table(
    "function",
    metadata,
    Column("id", sa.Text, primary_key=True),
    # Who wrote it. It is the server's, and stays when they go.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL"), index=True),
    # "pipe", "filter", "action" or "event".
    Column("type", sa.Text, nullable=False),
    Column("name", sa.Text, nullable=False),
    Column("content", sa.Text, nullable=False),
    Column("meta", Json, nullable=False),
    # plugins.text.Members: what its text says of it.
    Column("members", Json, nullable=False),
    Column("valves", sa.Text),
    # Of those valves: in which order filters are run.
    Column("priority", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    Column("is_active", sa.Boolean, nullable=False, server_default=FALSE),
    Column("is_global", sa.Boolean, nullable=False, server_default=FALSE),
    Column("version_id", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)
# What a person sets of a plugin for themselves.
user_valves = sa.Table(
    "user_valves",
    metadata,
    # "tool" or "function", and which.
    Column("kind", sa.Text, primary_key=True),
    Column("plugin_id", sa.Text, primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    # JSON, encrypted.
    Column("sealed", sa.Text, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_user_valves_user_id", "user_id"),
)
# How a thing was: written each time it is changed. The thing's `version_id` says which of them it is now.
version = sa.Table(
    "version",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("id", sa.Text, nullable=False, unique=True),
    # "model", "tool", "function" and so on, and which.
    Column("kind", sa.Text, nullable=False),
    Column("resource_id", sa.Text, nullable=False),
    # Which one it was made of.
    Column("parent_id", sa.Text),
    Column("snapshot", Json, nullable=False),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL"), index=True),
    Column("commit_message", sa.Text),
    Column("created_at", Seconds, nullable=False),
    sa.Index("ix_version_resource", "kind", "resource_id", "n"),
)
