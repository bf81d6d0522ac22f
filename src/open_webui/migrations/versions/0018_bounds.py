"""How many bytes each rating takes, so that those of one person can be bounded.

Revision: 0018, after 0017.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("feedback", sa.Column("size", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE feedback SET size = coalesce(length(CAST(data AS TEXT)), 0) + coalesce(length(CAST(meta AS TEXT)), 0)"
        " + coalesce((SELECT length(CAST(s.snapshot AS TEXT)) FROM feedback_snapshot AS s WHERE s.feedback_id = feedback.id), 0)"
    )
    # A person's ratings are counted and summed up from the index alone.
    op.create_index("ix_feedback_size", "feedback", ["user_id", "id", "size"])
