"""The tables of knowledge bases, documents and vectors; `tables` has them, too."""

import sqlalchemy as sa

from open_webui.models.base import Json, RowNumber, Seconds, metadata, owner

Column = sa.Column
TRUE, FALSE = sa.true(), sa.false()

knowledge = sa.Table(
    "knowledge",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    Column("description", sa.Text, nullable=False),
    Column("meta", Json),
    # Where it is found, of one that holds no files.
    Column("connection_id", sa.Text, sa.ForeignKey("knowledge_connection.id"), index=True),
    # Rises whenever a document comes into it, leaves it or changes: what is cached of its index is of one revision.
    Column("revision", RowNumber, nullable=False, server_default=sa.text("0")),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_knowledge_user_id", "user_id"),
)
knowledge_directory = sa.Table(
    "knowledge_directory",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("knowledge_id", sa.Text, sa.ForeignKey("knowledge.id", ondelete="CASCADE"), nullable=False),
    Column("parent_id", sa.Text, sa.ForeignKey("knowledge_directory.id", ondelete="CASCADE"), index=True),
    Column("name", sa.Text, nullable=False),
    # Who made it.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL")),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.UniqueConstraint("knowledge_id", "parent_id", "name", name="uq_knowledge_directory_name"),
    sa.Index("ix_knowledge_directory_user_id", "user_id"),
)
knowledge_file = sa.Table(
    "knowledge_file",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("knowledge_id", sa.Text, sa.ForeignKey("knowledge.id", ondelete="CASCADE"), nullable=False),
    Column("file_id", sa.Text, sa.ForeignKey("file.id", ondelete="CASCADE"), nullable=False),
    # Who put it there.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL")),
    Column("directory_id", sa.Text, sa.ForeignKey("knowledge_directory.id", ondelete="SET NULL"), index=True),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.UniqueConstraint("knowledge_id", "file_id", name="uq_knowledge_file_pair"),
    sa.Index("ix_knowledge_file_file_id", "file_id", "knowledge_id"),
    sa.Index("ix_knowledge_file_list", "knowledge_id", "directory_id", "updated_at", "id"),
    sa.Index("ix_knowledge_file_user_id", "user_id"),
)
document = sa.Table(
    "document",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    # What was taken out of a file, or a text that has none: then it is of a collection of somebody's, or a memory. Of none of
    # these: it is being written, and nobody finds it yet.
    Column("file_id", sa.Text, sa.ForeignKey("file.id", ondelete="CASCADE"), unique=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
    Column("collection", sa.Text),
    Column("name", sa.Text, nullable=False),
    # Where a page of the web was found.
    Column("url", sa.Text),
    # Of its text, which is a blob; and how it was split.
    Column("hash", sa.Text, nullable=False, index=True),
    Column("splitting", sa.Text, nullable=False),
    Column("chunks", sa.Integer, nullable=False),
    Column("meta", Json, nullable=False),
    # When it goes by itself.
    Column("expires_at", Seconds),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    # Whose words it has: a memory's document goes with it.
    Column("memory_id", sa.Text, sa.ForeignKey("memory.id", ondelete="CASCADE")),
    sa.Index("ix_document_collection", "collection", "user_id"),
    sa.Index("ix_document_memory_id", "memory_id", unique=True),
    # A number never comes again: what is cached of a document's vectors is of its number.
    sqlite_autoincrement=True,
)
chunk = sa.Table(
    "chunk",
    metadata,
    # document.n << CHUNK_BITS | position
    Column("n", RowNumber, primary_key=True, autoincrement=False),
    Column("document_n", RowNumber, sa.ForeignKey("document.n", ondelete="CASCADE"), nullable=False),
    Column("text", sa.Text, nullable=False),
    # The document's name and the headings over it, a line each; indexed with the text.
    Column("title", sa.Text, nullable=False),
    # The text as it is indexed, where that is another: in scripts without blanks between words.
    Column("words", sa.Text),
    # Of its text: vectors are taken over from a chunk with the same.
    Column("hash", sa.LargeBinary, nullable=False),
    # From 1; None where there are no pages.
    Column("page", sa.Integer),
    # Characters of the document's text, from the start to before the end.
    Column("start", sa.Integer, nullable=False),
    Column("end", sa.Integer, nullable=False),
    sa.Index("ix_chunk_document_n", "document_n"),
    sa.Index("ix_chunk_hash", "hash"),
)
embedding_model = sa.Table(
    "embedding_model",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    # Engine, model and whatever else makes its vectors others.
    Column("signature", sa.Text, nullable=False),
    # Where its vectors lie: "packed", "pgvector", "qdrant:" and a word that its collections are named with.
    Column("store", sa.Text, nullable=False),
    Column("dimensions", sa.Integer),
    # Whether searches use it: one does, or none.
    Column("is_active", sa.Boolean, nullable=False, server_default=FALSE),
    Column("created_at", Seconds, nullable=False),
    sa.UniqueConstraint("signature", "store", name="uq_embedding_model_signature_store"),
    sqlite_autoincrement=True,
)
# That a document has vectors of a model. data: where they are packed, those of all its chunks in order, float32, little-endian.
document_vectors = sa.Table(
    "document_vectors",
    metadata,
    Column(
        "document_n", RowNumber, sa.ForeignKey("document.n", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column(
        "model_n",
        RowNumber,
        sa.ForeignKey("embedding_model.n", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("data", sa.LargeBinary, nullable=False),
    sa.Index("ix_document_vectors_model_n", "model_n"),
)
