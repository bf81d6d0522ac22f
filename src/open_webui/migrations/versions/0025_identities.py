"""Sign-in by other sites: who people are there, sessions that were begun there, and what came of sign-ins.

Revision: 0025, after 0024.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("claims_digest", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_identity_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_identity_provider_subject")),
    )
    op.create_index("ix_identity_user_id", "identity", ["user_id"])
    op.create_table(
        "provider_session",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("identity_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("sid", sa.Text(), server_default="", nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_provider_session_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["identity_id"], ["identity.id"], name=op.f("fk_provider_session_identity_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_provider_session")),
    )
    op.create_index("ix_provider_session_expires_at", "provider_session", ["expires_at"])
    op.create_index("ix_provider_session_user_id", "provider_session", ["user_id"])
    op.create_index("ix_provider_session_identity_id", "provider_session", ["identity_id"])
    op.create_index("ix_provider_session_sid", "provider_session", ["provider", "sid"])
    op.create_table(
        "sign_in",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("claims", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("steps", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_sign_in_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_sign_in")),
    )
    op.create_index("ix_sign_in_user_id", "sign_in", ["user_id"])
    _take_over()


def _take_over() -> None:
    """Accounts that came from Open WebUI carry who they are at providers in a JSON column."""
    connection = op.get_bind()
    person = sa.table("user", sa.column("id"), sa.column("email"), sa.column("oauth"), sa.column("created_at"))
    known: set[tuple[str, str]] = set()
    made: list[dict[str, Any]] = []
    query = sa.select(person.c.id, person.c.email, sa.cast(person.c.oauth, sa.Text), person.c.created_at)
    for user_id, email, text, at in connection.execute(query.where(person.c.oauth.is_not(None)).order_by("created_at")):
        for provider, subject in _subjects(text):
            if (provider, subject) not in known:
                known.add((provider, subject))
                row = {"provider": provider, "subject": subject, "email": email, "created_at": at, "last_used_at": at}
                made.append(row | {"id": str(uuid.uuid4()), "user_id": user_id, "claims_digest": ""})
    if made:
        columns: list[sa.Column[Any]] = [sa.Column(name) for name in made[0]]
        op.bulk_insert(sa.Table("identity", sa.MetaData(), *columns), made)


def _subjects(text: str | None) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return
    for provider, said in found.items() if isinstance(found, dict) else ():
        subject = said.get("sub") if isinstance(said, dict) else None
        if isinstance(subject, str | int) and not isinstance(subject, bool) and subject != "":
            yield provider, str(subject)
