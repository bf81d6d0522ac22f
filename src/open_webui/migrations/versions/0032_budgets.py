"""Budgets of API keys and of accounts.

Revision: 0032, after 0031.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_LIMITS = ("requests_a_day", "tokens_a_day", "requests_a_month", "tokens_a_month")


def upgrade() -> None:
    op.create_table(
        "budget",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _LIMITS),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_budget_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget")),
    )
    op.create_index(op.f("ix_budget_user_id"), "budget", ["user_id"])
    op.create_table(
        "budget_use",
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["budget_id"], ["budget.id"], name=op.f("fk_budget_use_budget_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("budget_id", "period", name=op.f("pk_budget_use")),
    )
    for table in ("api_key", "credential"):
        # What a key is kept to goes with a budget's row: whoever removes one looks for those that name it.
        op.add_column(table, sa.Column("budget_id", sa.Text(), nullable=True))
        op.create_index(op.f(f"ix_{table}_budget_id"), table, ["budget_id"])
