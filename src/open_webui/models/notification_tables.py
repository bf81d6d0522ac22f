"""The tables of notifications and of the webhooks that are told of events; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

# Where somebody wants to be told that something has happened.
notification_target = sa.Table(
    "notification_target",
    metadata,
    owner(),
    # The person's own name for it.
    Column("id", sa.Text, nullable=False),
    Column("type", sa.Text, nullable=False),
    Column("enabled", sa.Boolean, server_default=sa.true(), nullable=False),
    Column("is_default", sa.Boolean, server_default=sa.false(), nullable=False),
    # Names of events. "away": only while the person has no page open; "always".
    Column("events", Json, nullable=False),
    Column("delivery", sa.Text, nullable=False),
    # Its address, encrypted, and what is shown of it.
    Column("sealed", sa.Text),
    Column("shown", sa.Text, nullable=False),
    # Deliveries that failed for good one after the other, and why the last did.
    Column("failures", sa.Integer, server_default="0", nullable=False),
    Column("error", sa.Text),
    # When it was tried out last.
    Column("tested_at", Seconds, server_default="0", nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.PrimaryKeyConstraint("user_id", "id"),
)
# What an administrator has told of events of the server.
event_webhook = sa.Table(
    "event_webhook",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("name", sa.Text, nullable=False),
    Column("enabled", sa.Boolean, server_default=sa.true(), nullable=False),
    Column("events", Json, nullable=False),
    # Whose events, as users and groups; NULL: everybody's and the server's own. An empty list: the server's own.
    Column("targets", Json),
    # Its address and the secret that signs, encrypted.
    Column("sealed", sa.Text, nullable=False),
    Column("failures", sa.Integer, server_default="0", nullable=False),
    Column("error", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)
