"""Blobs, files that refer to them, and what uses a file.

Revision: 0003, after 0002.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The column of a use, and what it refers to.
_USERS: dict[str, str] = {
    "message_n": "chat_message.n",
    "chat_id": "chat.id",
    "share_id": "shared_chat.id",
    "folder_id": "folder.id",
    "model_id": "model.id",
    "profile_id": "user.id",
    "settings_id": "user.id",
}


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_blob")),
    )
    op.create_table(
        "file",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("embedded", sa.Boolean(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_file_user_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["blob"], ["blob.hash"], name=op.f("fk_file_blob")),
    )
    op.create_index(op.f("ix_file_user_id"), "file", ["user_id"])
    op.create_index(op.f("ix_file_blob"), "file", ["blob"])
    _uses()


def _uses() -> None:
    columns = [sa.Column(name, _NUMBER if name == "message_n" else sa.Text(), nullable=True) for name in _USERS]
    keys = [
        sa.ForeignKeyConstraint([name], [target], name=op.f(f"fk_file_use_{name}"), ondelete="CASCADE")
        for name, target in _USERS.items()
    ]
    op.create_table(
        "file_use",
        sa.Column("n", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("n", name=op.f("pk_file_use")),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_file_use_file_id")),
        *keys,
    )
    for name in ("file_id", *_USERS):
        op.create_index(op.f(f"ix_file_use_{name}"), "file_use", [name])
