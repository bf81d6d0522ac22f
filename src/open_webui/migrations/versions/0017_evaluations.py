"""Ratings, and what counts of messages and tokens over all people are read by.

Revision: 0017, after 0016.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _ratings()
    _counting(op.get_bind().dialect.name)


def _ratings() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("model_id", sa.Text(), nullable=True),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_feedback_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_table(
        "feedback_snapshot",
        sa.Column("feedback_id", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["feedback_id"], ["feedback.id"], name=op.f("fk_feedback_snapshot_feedback_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("feedback_id", name=op.f("pk_feedback_snapshot")),
    )
    op.create_index("ix_feedback_user_id", "feedback", ["user_id", "updated_at"])
    op.create_index("ix_feedback_updated_at", "feedback", ["updated_at", "id"])
    op.create_index("ix_feedback_created_at", "feedback", ["created_at", "id"])
    op.create_index("ix_feedback_model_id", "feedback", ["model_id", "created_at", "rating"])
    # All that the question whether anything has changed reads.
    op.create_index("ix_feedback_stamp", "feedback", ["stamp"])


def _counting(dialect: str) -> None:
    """The index holds all that is counted of a message, so that the rows with their texts are left alone. SQLite's indexes have
    the row's number by themselves.
    """
    number = ["n"] if dialect == "postgresql" else []
    op.create_index("ix_chat_message_created_at", "chat_message", ["created_at", "role", "model_id", "owner", *number])
    op.create_index("ix_usage_day_day", "usage_day", ["day"])
