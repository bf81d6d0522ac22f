"""The tables of notes; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, RowNumber, Seconds, metadata, owner

Column = sa.Column

note = sa.Table(
    "note",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("title", sa.Text, nullable=False),
    # The text as Markdown, which lists show and searches look into.
    Column("md", sa.Text, nullable=False),
    # The text in its two other forms, `html` and `json`.
    Column("content", Json, nullable=False),
    # What pages keep with a note besides its text.
    Column("data", Json, nullable=False),
    Column("meta", Json),
    # How many updates of its document the text was made of, and the newest of them. None: the note has no document yet.
    Column("made_of", sa.BigInteger),
    Column("made_up_to", sa.BigInteger),
    # When its last version was kept, in nanoseconds.
    Column("version_at", sa.BigInteger, nullable=False, server_default="0"),
    # Nanoseconds.
    Column("created_at", sa.BigInteger, nullable=False),
    Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index("ix_note_user_id", "user_id", "updated_at"),
)

# What was written into the documents of notes, in the order in which it came. Rows are added, and many made one.
note_update = sa.Table(
    "note_update",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("note_id", sa.Text, sa.ForeignKey("note.id", ondelete="CASCADE"), nullable=False),
    # Whose hand it was; nobody's where several updates were made one.
    Column("user_id", sa.Text),
    Column("data", sa.LargeBinary, nullable=False),
    Column("size", sa.BigInteger, nullable=False),
    Column("created_at", Seconds, nullable=False),
    sa.Index("ix_note_update_note_id", "note_id", "n", "size"),
    # How far a text is made is told by the number of the last update: none comes twice.
    sqlite_autoincrement=True,
)

pinned_note = sa.Table(
    "pinned_note",
    metadata,
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("note_id", sa.Text, sa.ForeignKey("note.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", Seconds, nullable=False),
    sa.Index("ix_pinned_note_note_id", "note_id"),
)

# Chats that were begun beside a note, each of one person's.
note_chat = sa.Table(
    "note_chat",
    metadata,
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True),
    Column("note_id", sa.Text, sa.ForeignKey("note.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_note_chat_note_id", "note_id"),
)
