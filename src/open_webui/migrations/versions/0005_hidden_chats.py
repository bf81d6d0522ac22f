"""Chats that nobody sees: those that are being put together in portions, or removed.

Revision: 0005, after 0004.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("chat", sa.Column("hidden_at", sa.BigInteger(), nullable=True))
    hidden = sa.text("hidden_at IS NOT NULL")
    op.create_index("ix_chat_hidden_at", "chat", ["hidden_at"], sqlite_where=hidden, postgresql_where=hidden)
