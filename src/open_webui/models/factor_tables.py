"""The tables of second factors; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Seconds, metadata, owner

Column = sa.Column

# By what else than a password somebody proves who they are. One account may have several, of several kinds.
factor = sa.Table(
    "factor",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("kind", sa.Text, nullable=False),
    # What its owner calls it.
    Column("name", sa.Text, nullable=False, server_default=""),
    # What the kind needs to check it, encrypted for the person.
    Column("sealed", sa.Text, nullable=False),
    # What only grows with each use, so that none counts twice: of `totp` the last step of time that was accepted.
    Column("counter", sa.BigInteger, nullable=False, server_default="-1"),
    # Wrong codes since the last right one, and until when none is looked at because of them.
    Column("failed", sa.Integer, nullable=False, server_default="0"),
    Column("wait_until", Seconds, nullable=False, server_default="0"),
    Column("created_at", Seconds, nullable=False),
    Column("last_used_at", Seconds),
    sa.Index("ix_factor_user_id", "user_id"),
)

# What replaces a factor that is lost, each once: their SHA-256.
recovery_code = sa.Table(
    "recovery_code",
    metadata,
    owner(),
    Column("hash", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("user_id", "hash"),
)

# Sign-ins that wait for the second step, found by the SHA-256 of the token that their pages hold.
sign_in_challenge = sa.Table(
    "sign_in_challenge",
    metadata,
    Column("hash", sa.Text, primary_key=True),
    owner(),
    # The account's session stamp at its beginning: what ends sessions ends it, too.
    Column("stamp", sa.Text, nullable=False),
    # verify, enroll or recover.
    Column("step", sa.Text, nullable=False),
    Column("auth_method", sa.Text, nullable=False),
    # The id that the session's token is to have.
    Column("jti", sa.Text, nullable=False),
    # The id of the session that sets a factor up; "" for a sign-in.
    Column("renews", sa.Text, nullable=False, server_default=""),
    # The factor that makes place for the new one; "" where there is none.
    Column("replaces", sa.Text, nullable=False, server_default=""),
    # The new factor's secret, encrypted for the person; "" until it is made.
    Column("sealed", sa.Text, nullable=False, server_default=""),
    Column("expires_at", Seconds, nullable=False, index=True),
    sa.Index("ix_sign_in_challenge_user_id", "user_id"),
)
