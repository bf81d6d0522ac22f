"""The tables of passkeys and of fresh proofs; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Seconds, metadata, owner

Column = sa.Column

passkey = sa.Table(
    "passkey",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    # What the authenticator calls it, in base64url without padding: of one account alone.
    Column("credential_id", sa.Text, nullable=False, unique=True),
    # The name of the server for which it was made: it signs for no other one.
    Column("rp_id", sa.Text, nullable=False),
    # In COSE, as base64url. It is no secret.
    Column("public_key", sa.Text, nullable=False),
    # What its owner calls it.
    Column("name", sa.Text, nullable=False),
    # Ways by which a browser reaches it, with blanks between: usb, nfc, ble, hybrid, internal.
    Column("transports", sa.Text, nullable=False),
    # Signatures that it has made, as it says: 0 always where it doesn't count.
    Column("counter", sa.BigInteger, nullable=False),
    # Whether it may be on several devices, and whether it is.
    Column("backup_eligible", sa.Boolean, nullable=False),
    Column("backed_up", sa.Boolean, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("last_used_at", Seconds),
    sa.Index("ix_passkey_user_id", "user_id"),
)

# What passkeys are about to sign, found by the SHA-256 of the token that the page holds. Whoever reads one removes it.
passkey_challenge = sa.Table(
    "passkey_challenge",
    metadata,
    Column("hash", sa.Text, primary_key=True),
    # sign-in, verify, enroll, register or proof.
    Column("purpose", sa.Text, nullable=False),
    # Nobody's in a sign-in by passkey alone: whose it is, the passkey says.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE")),
    # The id of the session that asked; "" for a sign-in.
    Column("jti", sa.Text, nullable=False, server_default=""),
    Column("challenge", sa.Text, nullable=False),
    Column("rp_id", sa.Text, nullable=False),
    Column("expires_at", Seconds, nullable=False, index=True),
    sa.Index("ix_passkey_challenge_user_id", "user_id"),
)

# When the owner of a session last showed, after its beginning, that it is them.
session_proof = sa.Table(
    "session_proof",
    metadata,
    Column("jti", sa.Text, nullable=False),
    # password or factor.
    Column("kind", sa.Text, nullable=False),
    owner(),
    Column("proved_at", Seconds, nullable=False, index=True),
    sa.PrimaryKeyConstraint("jti", "kind"),
    sa.Index("ix_session_proof_user_id", "user_id"),
)
