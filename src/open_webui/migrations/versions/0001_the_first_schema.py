"""The first schema: accounts, grants, models, folders, chats with one row a message, and their full-text index.

Revision: 0001, the first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "access_grant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("principal_type", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.Text(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_grant")),
        sa.UniqueConstraint(
            "resource_type", "resource_id", "principal_type", "principal_id", "permission", name="uq_access_grant_all"
        ),
    )
    op.create_index(
        "ix_access_grant_principal",
        "access_grant",
        ["principal_type", "principal_id", "resource_type", "permission"],
        unique=False,
    )
    op.create_table(
        "config",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_config")),
    )
    op.create_table(
        "revoked_token",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_revoked_token")),
    )
    op.create_index(op.f("ix_revoked_token_expires_at"), "revoked_token", ["expires_at"], unique=False)
    op.create_table(
        "singleton",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_singleton")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("profile_image_url", sa.Text(), server_default="/user.png", nullable=False),
        sa.Column("profile_banner_image_url", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("gender", sa.Text(), nullable=True),
        sa.Column("date_of_birth", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("presence_state", sa.Text(), nullable=True),
        sa.Column("status_emoji", sa.Text(), nullable=True),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("status_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("settings", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("info", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("variables", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("oauth", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("scim", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("last_active_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("email", name=op.f("uq_user_email")),
    )
    op.create_index("ix_user_created_at", "user", ["created_at", "id"], unique=False)
    op.create_table(
        "credential",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("session_stamp", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_credential_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_credential")),
    )
    op.create_table(
        "api_key",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_key_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_api_key")),
        sa.UniqueConstraint("user_id", name=op.f("uq_api_key_user_id")),
    )
    op.create_table(
        "folder",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("items", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("is_expanded", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["folder.id"], name=op.f("fk_folder_parent_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_folder_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_folder")),
    )
    op.create_index("ix_folder_user_id", "folder", ["user_id", "parent_id"], unique=False)
    op.create_table(
        "group",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("permissions", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("parent_group_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_group_id"], ["group.id"], name=op.f("fk_group_parent_group_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_group_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group")),
    )
    op.create_table(
        "model",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("base_model_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_model_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
    )
    op.create_table(
        "tag",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_tag_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", "user_id", name=op.f("pk_tag")),
    )
    op.create_table(
        "usage",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_usage_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_usage")),
    )
    op.create_index("ix_usage_created_at", "usage", ["created_at"], unique=False)
    op.create_index("ix_usage_user_id", "usage", ["user_id", "created_at"], unique=False)
    op.create_table(
        "chat",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("current_message_id", sa.Text(), nullable=True),
        sa.Column("next_position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("variables", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("tasks", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("archived", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=True),
        sa.Column("share_id", sa.Text(), nullable=True),
        sa.Column("last_read_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folder.id"], name=op.f("fk_chat_folder_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_chat_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_chat")),
        sa.UniqueConstraint("id", name=op.f("uq_chat_id")),
        sa.UniqueConstraint("share_id", name=op.f("uq_chat_share_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_chat_folder_id"), "chat", ["folder_id"], unique=False)
    op.create_index("ix_chat_list", "chat", ["user_id", "archived", "updated_at", "id"], unique=False)
    op.create_table(
        "group_member",
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group.id"], name=op.f("fk_group_member_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_group_member_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_group_member")),
    )
    op.create_index(op.f("ix_group_member_user_id"), "group_member", ["user_id"], unique=False)
    op.create_table(
        "chat_message",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("done", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=True),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_message_chat_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_chat_message")),
        sa.UniqueConstraint("chat_id", "id", name=op.f("uq_chat_message_chat_id_id")),
    )
    op.create_table(
        "chat_tag",
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("tag_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_tag_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_chat_tag_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chat_id", "tag_id", name=op.f("pk_chat_tag")),
    )
    op.create_index("ix_chat_tag_user_id", "chat_tag", ["user_id", "tag_id"], unique=False)
    op.create_table(
        "generation",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_generation_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_generation_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_generation")),
    )
    op.create_index(op.f("ix_generation_chat_id"), "generation", ["chat_id"], unique=False)
    op.create_table(
        "shared_chat",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("chat", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_shared_chat_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_shared_chat_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shared_chat")),
        sa.UniqueConstraint("chat_id", name=op.f("uq_shared_chat_chat_id")),
    )
    _full_text(op.get_bind().dialect.name)


# A row is indexed when its answer is done: an answer being written would be indexed anew at each checkpoint.
SQLITE_FTS = (
    """CREATE VIRTUAL TABLE message_fts USING fts5(
        content, owner, content='chat_message', content_rowid='n', tokenize='unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER chat_message_fts_insert AFTER INSERT ON chat_message WHEN new.done BEGIN
        INSERT INTO message_fts(rowid, content, owner) VALUES (new.n, new.content, new.owner); END""",
    """CREATE TRIGGER chat_message_fts_delete AFTER DELETE ON chat_message WHEN old.done BEGIN
        INSERT INTO message_fts(message_fts, rowid, content, owner)
        VALUES ('delete', old.n, old.content, old.owner); END""",
    # Three exclusive cases, because SQLite promises no order among triggers of one event.
    """CREATE TRIGGER chat_message_fts_finish AFTER UPDATE OF content, done, owner ON chat_message
        WHEN new.done AND NOT old.done BEGIN
        INSERT INTO message_fts(rowid, content, owner) VALUES (new.n, new.content, new.owner); END""",
    """CREATE TRIGGER chat_message_fts_reopen AFTER UPDATE OF content, done, owner ON chat_message
        WHEN old.done AND NOT new.done BEGIN
        INSERT INTO message_fts(message_fts, rowid, content, owner)
        VALUES ('delete', old.n, old.content, old.owner); END""",
    """CREATE TRIGGER chat_message_fts_change AFTER UPDATE OF content, done, owner ON chat_message
        WHEN old.done AND new.done AND (old.content IS NOT new.content OR old.owner IS NOT new.owner) BEGIN
        INSERT INTO message_fts(message_fts, rowid, content, owner)
        VALUES ('delete', old.n, old.content, old.owner);
        INSERT INTO message_fts(rowid, content, owner) VALUES (new.n, new.content, new.owner); END""",
)
# A tsvector holds at most 1 MB, so the first 100,000 characters of a message are searched.
POSTGRES_FTS = (
    """ALTER TABLE chat_message ADD COLUMN search tsvector GENERATED ALWAYS AS
        (CASE WHEN done THEN to_tsvector('simple', left(content, 100000)) END) STORED""",
    "CREATE INDEX ix_chat_message_search ON chat_message USING gin (search)",
    "CREATE INDEX ix_chat_message_owner ON chat_message (owner)",
)


def _full_text(dialect: str) -> None:
    for statement in POSTGRES_FTS if dialect == "postgresql" else SQLITE_FTS:
        op.execute(sa.text(statement))
