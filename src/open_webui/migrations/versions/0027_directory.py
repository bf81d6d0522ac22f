"""What a directory says of accounts and groups (SCIM).

Revision: 0027, after 0026.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "directory_user",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("user_name_key", sa.Text(), nullable=False),
        sa.Column("name", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("emails", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("email_kind", sa.Text(), server_default="work", nullable=False),
        sa.Column("email_values", sa.Text(), server_default="", nullable=False),
        sa.Column("email_kinds", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_directory_user_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_directory_user")),
        sa.UniqueConstraint("provider", "external_id", name=op.f("uq_directory_user_provider_external_id")),
        sa.UniqueConstraint("user_name_key", name=op.f("uq_directory_user_user_name_key")),
    )
    op.create_table(
        "directory_group",
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["group.id"], name=op.f("fk_directory_group_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_directory_group")),
        sa.UniqueConstraint("provider", "external_id", name=op.f("uq_directory_group_provider_external_id")),
    )
