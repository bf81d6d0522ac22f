"""Calendars with their events, and automations with their runs.

Revision: 0019, after 0018.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _json() -> sa.JSON:
    return sa.JSON(none_as_null=True)


def _common(table: str) -> list[Any]:
    """What each table has: its key, whose a row is, and its times."""
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("meta", _json(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f(f"fk_{table}_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    ]


def _belongs(table: str, column: str, other: str, ondelete: str = "CASCADE") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"), ondelete=ondelete)


def upgrade() -> None:
    _calendars()
    _automations()


def _calendars() -> None:
    op.create_table(
        "calendar",
        *_common("calendar"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("is_default", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("data", _json(), nullable=True),
    )
    op.create_index("ix_calendar_user_id", "calendar", ["user_id"])
    op.create_table(
        "calendar_event",
        *_common("calendar_event"),
        sa.Column("calendar_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=True),
        sa.Column("all_day", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("rrule", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("data", _json(), nullable=True),
        sa.Column("is_cancelled", sa.Boolean(), server_default=sa.false(), nullable=False),
        _belongs("calendar_event", "calendar_id", "calendar"),
    )
    op.create_index("ix_calendar_event_calendar_id", "calendar_event", ["calendar_id", "until_at"])
    op.create_index("ix_calendar_event_user_id", "calendar_event", ["user_id"])
    op.create_table(
        "calendar_event_attendee",
        *_common("calendar_event_attendee"),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        _belongs("calendar_event_attendee", "event_id", "calendar_event"),
        sa.UniqueConstraint("event_id", "user_id", name=op.f("uq_calendar_event_attendee_event_id_user_id")),
    )
    op.create_index("ix_calendar_event_attendee_user_id", "calendar_event_attendee", ["user_id"])


def _automations() -> None:
    op.create_table(
        "automation",
        *_common("automation"),
        sa.Column("folder_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data", _json(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("anchor_at", sa.BigInteger(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.Column("next_run_at", sa.BigInteger(), nullable=True),
        _belongs("automation", "folder_id", "folder", "SET NULL"),
    )
    op.create_index("ix_automation_user_id", "automation", ["user_id", "created_at"])
    op.create_index("ix_automation_folder_id", "automation", ["folder_id"])
    op.create_table(
        "automation_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("automation_id", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        _belongs("automation_run", "automation_id", "automation"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_automation_run")),
    )
    op.create_index("ix_automation_run_automation_id", "automation_run", ["automation_id", "created_at"])
