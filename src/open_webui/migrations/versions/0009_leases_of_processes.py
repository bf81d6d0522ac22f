"""Leases of processes, and one answer at a time in a message.

Revision: 0009, after 0008.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "process",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.Column("steady_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instance", name=op.f("pk_process")),
    )
    # Two processes could begin two answers in one message. What such a pair left is marked at the next start all the same.
    op.execute(
        "DELETE FROM generation_part WHERE task_id NOT IN (SELECT min(task_id) FROM generation GROUP BY chat_id, message_id)"
    )
    op.execute(
        "DELETE FROM generation WHERE task_id NOT IN (SELECT min(task_id) FROM generation GROUP BY chat_id, message_id)"
    )
    op.drop_index(op.f("ix_generation_chat_id"), "generation")
    op.create_index("ix_generation_chat_id_message_id", "generation", ["chat_id", "message_id"], unique=True)
    op.drop_column("generation", "beat_at")
