"""Knowledge bases, the documents that files are read into, their chunks, and vectors.

Revision: 0011, after 0010.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from open_webui.utils import accents

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _models_and_services()
    _bases_and_documents()
    _directories_and_chunks()
    _vectors_and_places()


def _models_and_services() -> None:
    op.add_column("file", sa.Column("status", sa.Text(), nullable=True))
    pending = sa.text("status IN ('pending', 'processing')")
    op.create_index("ix_file_pending", "file", ["id"], sqlite_where=pending, postgresql_where=pending)
    op.create_index(op.f("ix_file_hash"), "file", ["hash"], unique=False)
    op.create_table(
        "embedding_model",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_embedding_model")),
        sa.UniqueConstraint("signature", "store", name="uq_embedding_model_signature_store"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "knowledge_connection",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("capabilities", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_connection")),
    )


def _bases_and_documents() -> None:
    op.create_table(
        "knowledge",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("connection_id", sa.Text(), nullable=True),
        sa.Column(
            "revision",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["knowledge_connection.id"], name=op.f("fk_knowledge_connection_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_knowledge_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge")),
    )
    op.create_index("ix_knowledge_user_id", "knowledge", ["user_id"], unique=False)
    op.create_index(op.f("ix_knowledge_connection_id"), "knowledge", ["connection_id"], unique=False)
    op.create_table(
        "document",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("collection", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("splitting", sa.Text(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_document_file_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_document_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_document")),
        sa.UniqueConstraint("file_id", name=op.f("uq_document_file_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_document_collection", "document", ["collection", "user_id"], unique=False)
    op.create_index(op.f("ix_document_hash"), "document", ["hash"], unique=False)
    op.create_index(op.f("ix_document_user_id"), "document", ["user_id"], unique=False)


def _directories_and_chunks() -> None:
    op.create_table(
        "knowledge_directory",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("knowledge_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge_id"], ["knowledge.id"], name=op.f("fk_knowledge_directory_knowledge_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["knowledge_directory.id"], name=op.f("fk_knowledge_directory_parent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_knowledge_directory_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_directory")),
        sa.UniqueConstraint("knowledge_id", "parent_id", "name", name="uq_knowledge_directory_name"),
    )
    op.create_index(op.f("ix_knowledge_directory_parent_id"), "knowledge_directory", ["parent_id"], unique=False)
    op.create_index("ix_knowledge_directory_user_id", "knowledge_directory", ["user_id"], unique=False)
    op.create_table(
        "chunk",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("document_n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["document_n"], ["document.n"], name=op.f("fk_chunk_document_n"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_chunk")),
    )
    op.create_index("ix_chunk_document_n", "chunk", ["document_n"], unique=False)
    op.create_index("ix_chunk_hash", "chunk", ["hash"], unique=False)


def _vectors_and_places() -> None:
    op.create_table(
        "document_vectors",
        sa.Column(
            "document_n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("model_n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_n"], ["document.n"], name=op.f("fk_document_vectors_document_n"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_n"], ["embedding_model.n"], name=op.f("fk_document_vectors_model_n"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("document_n", "model_n", name=op.f("pk_document_vectors")),
    )
    op.create_index("ix_document_vectors_model_n", "document_vectors", ["model_n"], unique=False)
    op.create_table(
        "knowledge_file",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("knowledge_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("directory_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["directory_id"],
            ["knowledge_directory.id"],
            name=op.f("fk_knowledge_file_directory_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_knowledge_file_file_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["knowledge_id"], ["knowledge.id"], name=op.f("fk_knowledge_file_knowledge_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_knowledge_file_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_file")),
        sa.UniqueConstraint("knowledge_id", "file_id", name="uq_knowledge_file_pair"),
    )
    op.create_index("ix_knowledge_file_list", "knowledge_file", ["knowledge_id", "directory_id", "updated_at", "id"])
    op.create_index("ix_knowledge_file_user_id", "knowledge_file", ["user_id"], unique=False)
    op.create_index(op.f("ix_knowledge_file_directory_id"), "knowledge_file", ["directory_id"], unique=False)
    op.create_index("ix_knowledge_file_file_id", "knowledge_file", ["file_id", "knowledge_id"], unique=False)
    _full_text(op.get_bind().dialect.name)


# The index holds no texts: `words`, or else `text`, are in the table.
SQLITE_FTS = (
    """CREATE VIRTUAL TABLE chunk_fts USING fts5(
        title, body, content='', tokenize='porter unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER chunk_fts_insert AFTER INSERT ON chunk BEGIN
        INSERT INTO chunk_fts(rowid, title, body) VALUES (new.n, new.title, coalesce(new.words, new.text)); END""",
    """CREATE TRIGGER chunk_fts_delete AFTER DELETE ON chunk BEGIN
        INSERT INTO chunk_fts(chunk_fts, rowid, title, body)
        VALUES ('delete', old.n, old.title, coalesce(old.words, old.text)); END""",
    """CREATE TRIGGER chunk_fts_change AFTER UPDATE OF title, text, words ON chunk BEGIN
        INSERT INTO chunk_fts(chunk_fts, rowid, title, body)
        VALUES ('delete', old.n, old.title, coalesce(old.words, old.text));
        INSERT INTO chunk_fts(rowid, title, body) VALUES (new.n, new.title, coalesce(new.words, new.text)); END""",
)
# What SQLite's tokenizer takes for the end of a word, PostgreSQL mostly takes for a part of it.
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def _postgres_fts() -> tuple[str, str]:
    accented, plain = accents.letters()
    marks, blanks = (accented + SIGNS).replace("'", "''"), plain + " " * len(SIGNS)

    def vector(text: str, weight: str) -> str:
        return f"setweight(to_tsvector('english', translate({text}, '{marks}', '{blanks}')), '{weight}')"

    # A tsvector holds at most 1 MB.
    body = vector("left(coalesce(words, text), 100000)", "D")
    return (
        f"""ALTER TABLE chunk ADD COLUMN search tsvector GENERATED ALWAYS AS
        ({vector("left(title, 10000)", "A")} || {body}) STORED""",
        "CREATE INDEX ix_chunk_search ON chunk USING gin (search)",
    )


def _full_text(dialect: str) -> None:
    connection = op.get_bind()
    for statement in _postgres_fts() if dialect == "postgresql" else SQLITE_FTS:
        connection.exec_driver_sql(statement)
