"""The tables of sign-in by other sites; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, RowNumber, Seconds, metadata, owner

Column = sa.Column

# Who somebody is at a provider. One account may have many; one of a provider's people has one account.
identity = sa.Table(
    "identity",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("provider", sa.Text, nullable=False),
    Column("subject", sa.Text, nullable=False),
    # As the provider said it last; nothing is looked up by it.
    Column("email", sa.Text),
    # Of what the provider said last of the person, without what is another each time.
    Column("claims_digest", sa.Text, nullable=False, server_default=""),
    Column("created_at", Seconds, nullable=False),
    Column("last_used_at", Seconds, nullable=False),
    sa.UniqueConstraint("provider", "subject"),
    sa.Index("ix_identity_user_id", "user_id"),
)

# Sessions that were begun by a provider: the ids of their tokens, so that it can end them.
provider_session = sa.Table(
    "provider_session",
    metadata,
    Column("jti", sa.Text, primary_key=True),
    owner(),
    Column("identity_id", sa.Text, sa.ForeignKey("identity.id", ondelete="CASCADE"), nullable=False),
    Column("provider", sa.Text, nullable=False),
    # What the provider calls the session; empty where it doesn't say.
    Column("sid", sa.Text, nullable=False, server_default=""),
    # The provider's tokens, encrypted for the person; empty once they are taken back.
    Column("sealed", sa.Text, nullable=False),
    Column("expires_at", Seconds, nullable=False, index=True),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_provider_session_user_id", "user_id"),
    sa.Index("ix_provider_session_identity_id", "identity_id"),
    sa.Index("ix_provider_session_sid", "provider", "sid"),
)

# What a directory says of an account (SCIM) beside what the account itself has.
directory_user = sa.Table(
    "directory_user",
    metadata,
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    # Whose the directory's id is (SCIM_AUTH_PROVIDER), and the id; null where it hasn't said any.
    Column("provider", sa.Text, nullable=False),
    Column("external_id", sa.Text),
    Column("user_name", sa.Text, nullable=False),
    # The same in small letters, by which it is found, and is nobody else's.
    Column("user_name_key", sa.Text, nullable=False, unique=True),
    # Its name in parts, and the addresses as they were sent.
    Column("name", Json),
    Column("emails", Json, nullable=False),
    # The addresses for filters, in small letters: the kind of the main one, and of the others a line each, with the address
    # alone, and with its kind and a tab before it.
    Column("email_kind", sa.Text, nullable=False, server_default="work"),
    Column("email_values", sa.Text, nullable=False, server_default=""),
    Column("email_kinds", sa.Text, nullable=False, server_default=""),
    Column("updated_at", Seconds, nullable=False),
    sa.UniqueConstraint("provider", "external_id"),
)

# The same of a group. version: how often the directory has changed it.
directory_group = sa.Table(
    "directory_group",
    metadata,
    Column("group_id", sa.Text, sa.ForeignKey("group.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", sa.Text, nullable=False),
    Column("external_id", sa.Text),
    Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("provider", "external_id"),
)

# The last sign-ins by providers, the refused ones too, for administrators who ask why.
sign_in = sa.Table(
    "sign_in",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("provider", sa.Text, nullable=False),
    # Whose account it was; null where there was none.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
    Column("email", sa.Text),
    Column("allowed", sa.Boolean, nullable=False),
    Column("reason", sa.Text, nullable=False, server_default=""),
    # What the provider said, without secrets, and what each rule made of it.
    Column("claims", Json, nullable=False),
    Column("steps", Json, nullable=False),
    Column("created_at", Seconds, nullable=False),
)
