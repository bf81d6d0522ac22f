"""Usage stays on record when its user is gone, and knows cached and reasoning tokens.

Revision: 0004, after 0003.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("usage") as usage:
        usage.drop_constraint(op.f("fk_usage_user_id"), type_="foreignkey")
        usage.add_column(sa.Column("cached_tokens", sa.Integer(), nullable=True))
        usage.add_column(sa.Column("reasoning_tokens", sa.Integer(), nullable=True))
