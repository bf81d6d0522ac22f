"""Many API keys for a person, with limits; service accounts; sessions as people see them.

Revision: 0026, after 0025.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("credential", sa.Column("service", sa.Boolean(), server_default=sa.false(), nullable=False))
    _keys()
    op.create_table(
        "session",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), server_default="", nullable=False),
        sa.Column("auth_method", sa.Text(), server_default="", nullable=False),
        sa.Column("first_address", sa.Text(), server_default="", nullable=False),
        sa.Column("last_address", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_session_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_session")),
    )
    op.create_index("ix_session_expires_at", "session", ["expires_at"])
    op.create_index("ix_session_user_id", "session", ["user_id"])


def _keys() -> None:
    """The table anew: on SQLite the uniqueness of an account's key goes in no other way. The keys there are stay good."""
    former = sa.table("api_key", sa.column("hash"), sa.column("user_id"), sa.column("sealed"), sa.column("created_at"))
    rows = op.get_bind().execute(sa.select(*former.c)).all()
    op.drop_table("api_key")
    made = op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("former_hash", sa.Text(), nullable=True),
        sa.Column("former_until", sa.BigInteger(), nullable=True),
        sa.Column("shown_to", sa.Text(), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("models", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_key_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_key_hash")),
        sa.UniqueConstraint("former_hash", name=op.f("uq_api_key_former_hash")),
        sa.UniqueConstraint("shown_to", name=op.f("uq_api_key_shown_to")),
    )
    op.create_index("ix_api_key_user_id", "api_key", ["user_id"])
    if rows:
        op.bulk_insert(
            made,
            [
                {"id": str(uuid.uuid4()), "user_id": row.user_id, "shown_to": row.user_id, "hash": row.hash, "sealed": row.sealed,
                 "created_at": row.created_at, "updated_at": row.created_at}
                for row in rows
            ],
        )  # fmt: skip
