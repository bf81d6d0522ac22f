"""The tables of ratings; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

feedback = sa.Table(
    "feedback",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("version", sa.BigInteger, nullable=False, server_default="0"),
    Column("type", sa.Text, nullable=False),
    Column("data", Json),
    Column("meta", Json),
    # Out of `data`: the model that is rated, and 1 or -1; null for what is neither.
    Column("model_id", sa.Text),
    Column("rating", sa.Integer),
    # A random number, another one with each change: the sum of all tells whether any row has changed.
    Column("stamp", sa.BigInteger, nullable=False),
    # Bytes of its JSON, with that of its snapshot: what a person's ratings take is bounded.
    Column("size", sa.BigInteger, nullable=False, server_default="0"),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)
# The chat as it was when it was rated. Apart, so that lists and the leaderboard read past none of it.
feedback_snapshot = sa.Table(
    "feedback_snapshot",
    metadata,
    Column("feedback_id", sa.Text, sa.ForeignKey("feedback.id", ondelete="CASCADE"), primary_key=True),
    Column("snapshot", Json, nullable=False),
)
