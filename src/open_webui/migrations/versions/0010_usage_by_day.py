"""Usage summed by day, from the rows there are.

Revision: 0010, after 0009.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "usage_day",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "model_id", "connection", "kind", name=op.f("pk_usage_day")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO usage_day (user_id, day, model_id, connection, kind, calls, errors, prompt_tokens,"
        " completion_tokens, cached_tokens, reasoning_tokens, duration_ms)"
        " SELECT user_id, created_at / 86400, model_id, connection, kind, count(*),"
        " sum(CASE WHEN status >= 400 AND status <> 499 THEN 1 ELSE 0 END), coalesce(sum(prompt_tokens), 0),"
        " coalesce(sum(completion_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(reasoning_tokens), 0),"
        " sum(duration_ms) FROM usage GROUP BY user_id, created_at / 86400, model_id, connection, kind"
    )
