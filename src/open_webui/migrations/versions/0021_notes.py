"""Notes, what was written into their documents, who pinned them, and the chats beside them.

Revision: 0021, after 0020.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _notes()
    _around_them()


def _notes() -> None:
    op.create_table(
        "note",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("md", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("made_of", sa.BigInteger(), nullable=True),
        sa.Column("made_up_to", sa.BigInteger(), nullable=True),
        sa.Column("version_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_note_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note")),
    )
    op.create_table(
        "note_update",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("note_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["note_id"], ["note.id"], name=op.f("fk_note_update_note_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_note_update")),
        # How far a text is made is told by the number of the last update: none comes twice.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_note_user_id", "note", ["user_id", "updated_at"])
    op.create_index("ix_note_update_note_id", "note_update", ["note_id", "n", "size"])


def _around_them() -> None:
    op.create_table(
        "pinned_note",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("note_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_pinned_note_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["note_id"], ["note.id"], name=op.f("fk_pinned_note_note_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "note_id", name=op.f("pk_pinned_note")),
    )
    op.create_table(
        "note_chat",
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("note_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_note_chat_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["note_id"], ["note.id"], name=op.f("fk_note_chat_note_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chat_id", name=op.f("pk_note_chat")),
    )
    op.create_index("ix_pinned_note_note_id", "pinned_note", ["note_id"])
    op.create_index("ix_note_chat_note_id", "note_chat", ["note_id"])
