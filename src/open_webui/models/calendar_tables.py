"""The tables of calendars and automations; `tables` has them, too. All times are nanoseconds since 1970."""

import sqlalchemy as sa

from open_webui.models.base import Json, metadata, owner

Column = sa.Column
Nanoseconds = sa.BigInteger

calendar = sa.Table(
    "calendar",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    Column("color", sa.Text),
    Column("is_default", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("data", Json),
    Column("meta", Json),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_calendar_user_id", "user_id"),
)

calendar_event = sa.Table(
    "calendar_event",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("calendar_id", sa.Text, sa.ForeignKey("calendar.id", ondelete="CASCADE"), nullable=False),
    # Who made it.
    owner(),
    Column("title", sa.Text, nullable=False),
    Column("description", sa.Text),
    Column("start_at", Nanoseconds, nullable=False),
    Column("end_at", Nanoseconds),
    Column("all_day", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("rrule", sa.Text),
    # The IANA zone in which it repeats: at nine o'clock there, summer and winter.
    Column("zone", sa.Text),
    # After this it takes place no more; the largest number where it repeats without an end.
    Column("until_at", Nanoseconds, nullable=False),
    Column("color", sa.Text),
    Column("location", sa.Text),
    Column("data", Json),
    Column("meta", Json),
    Column("is_cancelled", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    # What it is called in the file that it came from; nothing for one that was made here.
    Column("uid", sa.Text),
    # When the next reminder comes; 0 where that is to be found out, nothing where none comes any more.
    Column("alert_at", Nanoseconds),
    sa.Index("ix_calendar_event_calendar_id", "calendar_id", "until_at"),
    sa.Index("ix_calendar_event_uid", "calendar_id", "uid"),
    sa.Index("ix_calendar_event_alert_at", "alert_at"),
    sa.Index("ix_calendar_event_user_id", "user_id"),
)

calendar_event_attendee = sa.Table(
    "calendar_event_attendee",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("event_id", sa.Text, sa.ForeignKey("calendar_event.id", ondelete="CASCADE"), nullable=False),
    owner(),
    Column("status", sa.Text, nullable=False),
    Column("meta", Json),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.UniqueConstraint("event_id", "user_id"),
    sa.Index("ix_calendar_event_attendee_user_id", "user_id"),
)

automation = sa.Table(
    "automation",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("folder_id", sa.Text, sa.ForeignKey("folder.id", ondelete="SET NULL")),
    Column("name", sa.Text, nullable=False),
    Column("data", Json, nullable=False),
    Column("meta", Json),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    # When its rule was given, from which one without a beginning counts, and the IANA zone of its times.
    Column("anchor_at", Nanoseconds, nullable=False),
    Column("zone", sa.Text),
    Column("last_run_at", Nanoseconds),
    Column("next_run_at", Nanoseconds),
    Column("created_at", Nanoseconds, nullable=False),
    Column("updated_at", Nanoseconds, nullable=False),
    sa.Index("ix_automation_user_id", "user_id", "created_at"),
    sa.Index("ix_automation_folder_id", "folder_id"),
)

automation_run = sa.Table(
    "automation_run",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("automation_id", sa.Text, sa.ForeignKey("automation.id", ondelete="CASCADE"), nullable=False),
    # The chat that it made, which may be gone.
    Column("chat_id", sa.Text),
    Column("status", sa.Text, nullable=False),
    Column("error", sa.Text),
    Column("created_at", Nanoseconds, nullable=False),
    sa.Index("ix_automation_run_automation_id", "automation_id", "created_at"),
)
