"""Role sets, and with whom the members of a group may share.

Revision: 0031, after 0030.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("group", sa.Column("share_with", sa.Text(), nullable=True))
    op.create_table(
        "role_set",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("rights", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_set")),
        sa.UniqueConstraint("name", name=op.f("uq_role_set_name")),
    )
    op.create_table(
        "role_set_group",
        sa.Column("role_set_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_set_id"], ["role_set.id"], name=op.f("fk_role_set_group_role_set_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["group.id"], name=op.f("fk_role_set_group_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role_set_id", "group_id", name=op.f("pk_role_set_group")),
    )
    op.create_index(op.f("ix_role_set_group_group_id"), "role_set_group", ["group_id"])
    op.create_table(
        "role_set_holder",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role_set_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["role_set_id"], ["role_set.id"], name=op.f("fk_role_set_holder_role_set_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_role_set_holder_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["group_id"], ["group.id"], name=op.f("fk_role_set_holder_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_set_holder")),
    )
    for column in ("role_set_id", "user_id", "group_id"):
        op.create_index(op.f(f"ix_role_set_holder_{column}"), "role_set_holder", [column])
