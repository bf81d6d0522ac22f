"""The tables of API keys and sessions; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

# API keys, found by their SHA-256. What a key is kept to: null for no limit.
api_key = sa.Table(
    "api_key",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("hash", sa.Text, nullable=False, unique=True),
    # The secret before the last change of it, which is good until then.
    Column("former_hash", sa.Text, unique=True),
    Column("former_until", Seconds),
    # The one that the wire shows again to its owner: whose it is, and the key itself, sealed (access/api_keys.py). Null for
    # all others.
    Column("shown_to", sa.Text, unique=True),
    Column("sealed", sa.Text),
    Column("name", sa.Text, nullable=False, server_default=""),
    Column("scopes", Json),
    Column("models", Json),
    Column("addresses", Json),
    # The budget that its calls count in (budget_tables.py).
    Column("budget_id", sa.Text, index=True),
    Column("expires_at", Seconds),
    Column("last_used_at", Seconds),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_api_key_user_id", "user_id"),
)

# What is shown of sessions. Whether one is good stands in its token, in `credential` and in `revoked_token`.
session = sa.Table(
    "session",
    metadata,
    Column("jti", sa.Text, primary_key=True),
    owner(),
    # The account's session stamp at its beginning.
    Column("stamp", sa.Text, nullable=False),
    # The device, as its browser or program calls itself, in plain words.
    Column("device", sa.Text, nullable=False, server_default=""),
    Column("auth_method", sa.Text, nullable=False, server_default=""),
    Column("first_address", sa.Text, nullable=False, server_default=""),
    Column("last_address", sa.Text, nullable=False, server_default=""),
    Column("created_at", Seconds, nullable=False),
    Column("last_used_at", Seconds, nullable=False),
    Column("expires_at", Seconds, nullable=False, index=True),
    sa.Index("ix_session_user_id", "user_id"),
)
