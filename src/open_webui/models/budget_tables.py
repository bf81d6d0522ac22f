"""The tables of budgets of API keys; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Seconds, metadata

Column = sa.Column

# What keys may spend, by day and by month; null for no limit.
budget = sa.Table(
    "budget",
    metadata,
    Column("id", sa.Text, primary_key=True),
    # Null for one of the server's, which administrators make.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
    Column("name", sa.Text, nullable=False),
    Column("requests_a_day", sa.BigInteger),
    Column("tokens_a_day", sa.BigInteger),
    Column("requests_a_month", sa.BigInteger),
    Column("tokens_a_month", sa.BigInteger),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

# What was spent, and is set aside for calls that go on. period: a day or a month of UTC, "2026-12-01" or "2026-12".
budget_use = sa.Table(
    "budget_use",
    metadata,
    Column("budget_id", sa.Text, sa.ForeignKey("budget.id", ondelete="CASCADE"), primary_key=True),
    Column("period", sa.Text, primary_key=True),
    Column("requests", sa.BigInteger, nullable=False),
    Column("tokens", sa.BigInteger, nullable=False),
)
