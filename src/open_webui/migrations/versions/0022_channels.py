"""Channels: where people, and models that they ask, write to each other.

Revision: 0022, after 0021.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _channels()
    _messages()
    _beside_messages()
    # Said here: the conditions would load both databases' dialects in every process.
    op.create_index(
        "ix_channel_message_outside",
        "channel_message",
        ["channel_id", "created_at"],
        sqlite_where=sa.text("parent_id IS NULL"),
        postgresql_where=sa.text("parent_id IS NULL"),
    )
    op.create_index(
        "ix_channel_message_pinned",
        "channel_message",
        ["channel_id", "pinned_at"],
        sqlite_where=sa.text("is_pinned = 1"),
        postgresql_where=sa.text("is_pinned"),
    )


def _channels() -> None:
    op.create_table(
        "channel",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("is_private", sa.Boolean(), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("people", sa.Text(), nullable=True),
        sa.Column("seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_message_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("archived_by", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel")),
        sa.UniqueConstraint("people", name=op.f("uq_channel_people")),
    )
    op.create_index("ix_channel_user_id", "channel", ["user_id"])
    op.create_table(
        "channel_member",
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("is_channel_muted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("is_channel_pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=True),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.Column("last_read_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("fk_channel_member_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_member_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_channel_member")),
    )
    op.create_index("ix_channel_member_user_id", "channel_member", ["user_id"])


def _messages() -> None:
    op.create_table(
        "channel_message",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("reply_to_id", sa.Text(), nullable=True),
        sa.Column("is_pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("pinned_by", sa.Text(), nullable=True),
        sa.Column("pinned_at", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("has_data", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reply_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("latest_reply_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("fk_channel_message_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_message_user_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["channel_message.id"], name=op.f("fk_channel_message_parent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_message")),
    )
    op.create_index("ix_channel_message_channel_id", "channel_message", ["channel_id", "created_at"])
    op.create_index("ix_channel_message_created_at", "channel_message", ["created_at"])
    op.create_index("ix_channel_message_parent_id", "channel_message", ["parent_id", "created_at"])
    op.create_index("ix_channel_message_user_id", "channel_message", ["user_id"])
    op.create_table(
        "channel_reaction",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["channel_message.id"], name=op.f("fk_channel_reaction_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_reaction_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("message_id", "name", "user_id", name=op.f("pk_channel_reaction")),
    )
    op.create_index("ix_channel_reaction_user_id", "channel_reaction", ["user_id"])


def _beside_messages() -> None:
    op.create_table(
        "channel_webhook",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("profile_image_url", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("fk_channel_webhook_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_channel_webhook_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_webhook")),
    )
    op.create_index("ix_channel_webhook_channel_id", "channel_webhook", ["channel_id"])
    op.create_index("ix_channel_webhook_user_id", "channel_webhook", ["user_id"])
    op.create_table(
        "channel_file",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["channel_message.id"], name=op.f("fk_channel_file_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_channel_file_file_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channel.id"], name=op.f("fk_channel_file_channel_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", "file_id", name=op.f("pk_channel_file")),
    )
    op.create_index("ix_channel_file_channel_id", "channel_file", ["channel_id"])
    op.create_index("ix_channel_file_file_id", "channel_file", ["file_id"])
