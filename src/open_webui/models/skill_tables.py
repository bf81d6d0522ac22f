"""The tables of skills; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, Seconds, metadata, owner

Column = sa.Column

skill = sa.Table(
    "skill",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    Column("description", sa.Text),
    # Its SKILL.md.
    Column("content", sa.Text, nullable=False),
    # Its other files: path, size, encoding and hash of each.
    Column("files", Json, nullable=False),
    Column("meta", Json, nullable=False),
    Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    Column("version_id", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_skill_user_id", "user_id"),
)
# What stands in files of a skill and its versions, each content once.
skill_file = sa.Table(
    "skill_file",
    metadata,
    Column("skill_id", sa.Text, sa.ForeignKey("skill.id", ondelete="CASCADE"), primary_key=True),
    # SHA-256 of the content.
    Column("hash", sa.Text, primary_key=True),
    Column("size", sa.BigInteger, nullable=False),
    Column("content", sa.LargeBinary, nullable=False),
)
