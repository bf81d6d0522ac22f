"""The tables of apps; `tables` has them, too. All times are nanoseconds, as the wire has them."""

import sqlalchemy as sa

from open_webui.models.base import Json, metadata

Column = sa.Column
Nanoseconds = sa.BigInteger

app = sa.Table(
    "app",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("slug", sa.Text, nullable=False, unique=True),
    Column("name", sa.Text, nullable=False),
    # Who made it. It is the server's, and stays when they go.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL")),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.false()),
    # Its manifest, its address, what it may do, and settings.
    Column("data", Json, nullable=False),
    # Its API key, encrypted.
    Column("sealed", sa.Text, nullable=False),
    # "connected", "connecting" (it failed, and is tried again), "disconnected".
    Column("connection_status", sa.Text, nullable=False),
    # What it could not be told, one after the other.
    Column("failures", sa.Integer, nullable=False, server_default="0"),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_app_user_id", "user_id"),
)

# Which apps are in which channels.
channel_app = sa.Table(
    "channel_app",
    metadata,
    Column("channel_id", sa.Text, sa.ForeignKey("channel.id", ondelete="CASCADE"), primary_key=True),
    Column("app_id", sa.Text, sa.ForeignKey("app.id", ondelete="CASCADE"), primary_key=True),
    Column("invited_by", sa.Text),
    Column("joined_at", Nanoseconds, nullable=False),
    sa.Index("ix_channel_app_app_id", "app_id"),
)
