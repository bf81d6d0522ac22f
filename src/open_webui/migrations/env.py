"""Alembic's hook: runs the revisions on the connection that the runner hands in."""

from alembic import context

from open_webui.models import tables

connection = context.config.attributes["connection"]
# Tables that SQL made, not the metadata: the full-text index and its shadows.
context.configure(
    connection=connection,
    target_metadata=tables.config.metadata,
    include_name=lambda name, kind, _parents: not (kind == "table" and str(name).startswith("message_fts")),
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
