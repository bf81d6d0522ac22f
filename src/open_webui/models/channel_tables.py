"""The tables of channels; `tables` has them, too. All times are nanoseconds, as the wire has them."""

import sqlalchemy as sa

from open_webui.models.base import Json, metadata, owner

Column = sa.Column
Nanoseconds = sa.BigInteger

channel = sa.Table(
    "channel",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    # None: open to whom grants name. "group": to its members. "dm": to the people who talk to each other.
    Column("type", sa.Text),
    Column("name", sa.Text, nullable=False),
    Column("description", sa.Text),
    Column("is_private", sa.Boolean),
    Column("data", Json),
    Column("meta", Json),
    # Of a conversation between people: who they are, so that the same people have one.
    Column("people", sa.Text, unique=True),
    # Counts what happened in it: the order in which it is told.
    Column("seq", sa.BigInteger, nullable=False, server_default="0"),
    Column("last_message_at", Nanoseconds),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    Column("updated_by", sa.Text),
    Column("archived_at", Nanoseconds),
    Column("archived_by", sa.Text),
    # Since when nobody sees it: it is being removed in portions.
    Column("deleted_at", Nanoseconds),
    Column("deleted_by", sa.Text),
    sa.Index("ix_channel_user_id", "user_id"),
)

# Who is in a group or a conversation. Of an open channel: who has read how far.
channel_member = sa.Table(
    "channel_member",
    metadata,
    Column("channel_id", sa.Text, sa.ForeignKey("channel.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("id", sa.Text, nullable=False),
    Column("role", sa.Text),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    Column("is_channel_muted", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("is_channel_pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("invited_by", sa.Text),
    Column("joined_at", Nanoseconds, nullable=False),
    Column("last_read_at", Nanoseconds),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_channel_member_user_id", "user_id"),
)

channel_message = sa.Table(
    "channel_message",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("channel_id", sa.Text, sa.ForeignKey("channel.id", ondelete="CASCADE"), nullable=False),
    # None: of a webhook, or of somebody whose account is gone.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL")),
    # The message whose thread it is in.
    Column("parent_id", sa.Text, sa.ForeignKey("channel_message.id", ondelete="CASCADE")),
    # The message that it quotes, which may be gone.
    Column("reply_to_id", sa.Text),
    Column("is_pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("pinned_by", sa.Text),
    Column("pinned_at", Nanoseconds),
    Column("content", sa.Text, nullable=False),
    Column("data", Json),
    # Whether there is anything in it: lists leave it out.
    Column("has_data", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("meta", Json),
    # Of its thread.
    Column("reply_count", sa.Integer, nullable=False, server_default="0"),
    Column("latest_reply_at", Nanoseconds),
    # Never twice in one channel, and growing: the order in which they are shown.
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_channel_message_channel_id", "channel_id", "created_at"),
    sa.Index("ix_channel_message_parent_id", "parent_id", "created_at"),
    sa.Index("ix_channel_message_user_id", "user_id"),
    sa.Index("ix_channel_message_created_at", "created_at"),
    # The indexes of messages outside of threads and of those that are pinned are in the migrations, as that of hidden chats.
)

channel_reaction = sa.Table(
    "channel_reaction",
    metadata,
    Column("message_id", sa.Text, sa.ForeignKey("channel_message.id", ondelete="CASCADE"), primary_key=True),
    Column("name", sa.Text, primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", Nanoseconds, nullable=False),
    sa.Index("ix_channel_reaction_user_id", "user_id"),
)

channel_webhook = sa.Table(
    "channel_webhook",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("channel_id", sa.Text, sa.ForeignKey("channel.id", ondelete="CASCADE"), nullable=False),
    owner(),
    Column("name", sa.Text, nullable=False),
    # A small picture as a data: URL.
    Column("profile_image_url", sa.Text),
    # Of the token: what finds it right, and what shows it again, encrypted.
    Column("token_hash", sa.Text, nullable=False),
    Column("sealed", sa.Text, nullable=False),
    Column("last_used_at", Nanoseconds),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_channel_webhook_channel_id", "channel_id"),
    sa.Index("ix_channel_webhook_user_id", "user_id"),
)

# Files of messages: who may read the channel may read them.
channel_file = sa.Table(
    "channel_file",
    metadata,
    Column("message_id", sa.Text, sa.ForeignKey("channel_message.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", sa.Text, sa.ForeignKey("file.id", ondelete="CASCADE"), primary_key=True),
    Column("channel_id", sa.Text, sa.ForeignKey("channel.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_channel_file_file_id", "file_id"),
    sa.Index("ix_channel_file_channel_id", "channel_id"),
)
