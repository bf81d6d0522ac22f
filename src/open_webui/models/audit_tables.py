"""The tables of the audit record; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import RowNumber, metadata

Column = sa.Column

# Entries that are stored with what they tell of, and not linked yet.
audit_pending = sa.Table(
    "audit_pending",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("entry", sa.Text, nullable=False),
    # Of the entry, by the process that wrote it: what somebody puts here is told from it.
    Column("seal", sa.Text, nullable=False),
)

# The chain. `entry` is what counts; the columns beside it are its fields, to be searched by.
audit_entry = sa.Table(
    "audit_entry",
    metadata,
    Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    # Milliseconds since the epoch.
    Column("at", sa.BigInteger, nullable=False, index=True),
    # Not a foreign key: the record outlives the account.
    Column("actor_id", sa.Text, nullable=False),
    Column("actor", sa.Text, nullable=False),
    Column("action", sa.Text, nullable=False),
    Column("resource", sa.Text, nullable=False),
    Column("resource_id", sa.Text, nullable=False),
    Column("outcome", sa.Text, nullable=False),
    Column("entry", sa.Text, nullable=False),
    # SHA-256 of the hash before, the number and the entry; its HMAC under a key, and which key that is.
    Column("hash", sa.Text, nullable=False),
    Column("seal", sa.Text, nullable=False),
    Column("epoch", sa.Text, nullable=False),
    sa.Index("ix_audit_entry_actor_id_seq", "actor_id", "seq"),
    sa.Index("ix_audit_entry_actor_seq", "actor", "seq"),
    sa.Index("ix_audit_entry_resource_resource_id_seq", "resource", "resource_id", "seq"),
)
