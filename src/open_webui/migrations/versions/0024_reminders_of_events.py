"""Events of calendars: what they are called in files, and when those whom they concern are reminded.

Revision: 0024, after 0023.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("calendar_event", sa.Column("uid", sa.Text(), nullable=True))
    op.add_column("calendar_event", sa.Column("alert_at", sa.BigInteger(), nullable=True))
    # When the reminders of what is there already come is found out by the job that tells them: zero is due at once.
    op.execute("UPDATE calendar_event SET alert_at = 0")
    op.create_index("ix_calendar_event_uid", "calendar_event", ["calendar_id", "uid"])
    op.create_index("ix_calendar_event_alert_at", "calendar_event", ["alert_at"])
