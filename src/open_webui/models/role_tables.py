"""The tables of role sets: parts of what administrators may do, for some people; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata

Column = sa.Column

role_set = sa.Table(
    "role_set",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("name", sa.Text, nullable=False, unique=True),
    Column("description", sa.Text, nullable=False, server_default=""),
    # A list of `principal.RIGHTS`.
    Column("rights", Json, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

# The groups whose people a role set is about.
role_set_group = sa.Table(
    "role_set_group",
    metadata,
    Column("role_set_id", sa.Text, sa.ForeignKey("role_set.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", sa.Text, sa.ForeignKey("group.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# Who holds one: a person, or all people of a group.
role_set_holder = sa.Table(
    "role_set_holder",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("role_set_id", sa.Text, sa.ForeignKey("role_set.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
    Column("group_id", sa.Text, sa.ForeignKey("group.id", ondelete="CASCADE"), index=True),
)
