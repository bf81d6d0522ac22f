"""Every table. Kept together because they refer to each other; their repositories are one file each."""

import sqlalchemy as sa

from open_webui.models.app_tables import app, channel_app
from open_webui.models.audit_tables import audit_entry, audit_pending
from open_webui.models.base import Json, RowNumber, Seconds, metadata, owner
from open_webui.models.budget_tables import budget, budget_use
from open_webui.models.calendar_tables import (
    automation,
    automation_run,
    calendar,
    calendar_event,
    calendar_event_attendee,
)
from open_webui.models.channel_tables import (
    channel,
    channel_file,
    channel_member,
    channel_message,
    channel_reaction,
    channel_webhook,
)
from open_webui.models.document_tables import (
    chunk,
    document,
    document_vectors,
    embedding_model,
    knowledge,
    knowledge_directory,
    knowledge_file,
)
from open_webui.models.evaluation_tables import feedback, feedback_snapshot
from open_webui.models.factor_tables import factor, recovery_code, sign_in_challenge
from open_webui.models.identity_tables import directory_group, directory_user, identity, provider_session, sign_in
from open_webui.models.key_tables import api_key, session
from open_webui.models.memory_tables import memory
from open_webui.models.note_tables import note, note_chat, note_update, pinned_note
from open_webui.models.notification_tables import event_webhook, notification_target
from open_webui.models.passkey_tables import passkey, passkey_challenge, session_proof
from open_webui.models.plugin_tables import function, tool, user_valves, version
from open_webui.models.prompt_tables import prompt
from open_webui.models.role_tables import role_set, role_set_group, role_set_holder
from open_webui.models.skill_tables import skill, skill_file

Column = sa.Column
TRUE, FALSE = sa.true(), sa.false()
__all__ = [
    "api_key", "app", "audit_entry", "audit_pending", "automation", "automation_run", "budget", "budget_use", "calendar",
    "calendar_event", "calendar_event_attendee", "channel", "channel_app", "channel_file", "channel_member",
    "channel_message", "channel_reaction", "channel_webhook", "chunk", "directory_group", "directory_user", "document",
    "document_vectors", "embedding_model", "event_webhook", "factor", "feedback", "feedback_snapshot", "function",
    "identity", "knowledge", "knowledge_directory", "knowledge_file", "memory", "note", "note_chat", "note_update",
    "notification_target", "passkey", "passkey_challenge", "pinned_note", "prompt", "provider_session", "recovery_code",
    "role_set", "role_set_group", "role_set_holder", "session", "session_proof", "sign_in", "sign_in_challenge", "skill",
    "skill_file", "tool", "user_valves", "version",
]  # fmt: skip

config = sa.Table(
    "config",
    metadata,
    Column("key", sa.Text, primary_key=True),
    Column("value", Json),
    Column("updated_at", Seconds, nullable=False),
)

# One row is inserted by the first sign-up, in its transaction: the primary key makes the first administrator unique
# over all sign-up ways and replicas.
singleton = sa.Table(
    "singleton", metadata, Column("name", sa.Text, primary_key=True), Column("value", sa.Text, nullable=False)
)

user = sa.Table(
    "user",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("email", sa.Text, nullable=False, unique=True),
    Column("name", sa.Text, nullable=False),
    Column("role", sa.Text, nullable=False),
    Column("username", sa.Text),
    Column("profile_image_url", sa.Text, nullable=False, server_default="/user.png"),
    Column("profile_banner_image_url", sa.Text),
    Column("bio", sa.Text),
    Column("gender", sa.Text),
    Column("date_of_birth", sa.Text),
    Column("timezone", sa.Text),
    Column("presence_state", sa.Text),
    Column("status_emoji", sa.Text),
    Column("status_message", sa.Text),
    Column("status_expires_at", Seconds),
    Column("settings", Json),
    Column("info", Json),
    Column("variables", Json),
    Column("oauth", Json),
    Column("scim", Json),
    Column("last_active_at", Seconds, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_user_created_at", "created_at", "id"),
)

# Apart from the profile, so that no query for people ever carries a hash.
credential = sa.Table(
    "credential",
    metadata,
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("password_hash", sa.Text),
    Column("active", sa.Boolean, nullable=False, server_default=TRUE),
    # Part of every session token; a new value ends all sessions.
    Column("session_stamp", sa.Text, nullable=False),
    # A service account: keys get into it, people do not.
    Column("service", sa.Boolean, nullable=False, server_default=FALSE),
    Column("budget_id", sa.Text, index=True),
)

# Single sessions that signed out before their time.
revoked_token = sa.Table(
    "revoked_token",
    metadata,
    Column("jti", sa.Text, primary_key=True),
    Column("expires_at", Seconds, nullable=False, index=True),
)

# Attempts to sign in, by a hash of what they are counted for: their times, and the last one, in seconds of the database's
# clock. Used where several processes share the database (PostgreSQL).
attempt = sa.Table(
    "attempt",
    metadata,
    Column("key", sa.Text, primary_key=True),
    Column("times", Json, nullable=False),
    Column("at", sa.Double, nullable=False),
)

# Sealed for the person. renewing_until: seconds until which one process makes them anew, so that no other does.
tool_server_token = sa.Table(
    "tool_server_token",
    metadata,
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("server", sa.Text, primary_key=True),
    Column("sealed", sa.Text, nullable=False),
    Column("renewing_until", Seconds, nullable=False, server_default="0"),
    Column("updated_at", Seconds, nullable=False),
)

group = sa.Table(
    "group",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("name", sa.Text, nullable=False),
    Column("description", sa.Text, nullable=False, server_default=""),
    Column("data", Json),
    Column("meta", Json),
    Column("permissions", Json),
    # With whom its members may share: nobody, groups or everybody. Null where it says nothing.
    Column("share_with", sa.Text),
    Column("parent_group_id", sa.Text, sa.ForeignKey("group.id", ondelete="SET NULL")),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

group_member = sa.Table(
    "group_member",
    metadata,
    Column("group_id", sa.Text, sa.ForeignKey("group.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("created_at", Seconds, nullable=False),
)

access_grant = sa.Table(
    "access_grant",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("resource_type", sa.Text, nullable=False),
    Column("resource_id", sa.Text, nullable=False),
    Column("principal_type", sa.Text, nullable=False),
    Column("principal_id", sa.Text, nullable=False),
    Column("permission", sa.Text, nullable=False),
    Column("created_at", Seconds, nullable=False),
    sa.UniqueConstraint(
        "resource_type", "resource_id", "principal_type", "principal_id", "permission", name="uq_access_grant_all"
    ),
    sa.Index("ix_access_grant_principal", "principal_type", "principal_id", "resource_type", "permission"),
)

model = sa.Table(
    "model",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("base_model_id", sa.Text),
    Column("name", sa.Text, nullable=False),
    Column("params", Json, nullable=False),
    Column("meta", Json, nullable=False),
    Column("is_active", sa.Boolean, nullable=False, server_default=TRUE),
    Column("version_id", sa.Text),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

folder = sa.Table(
    "folder",
    metadata,
    Column("id", sa.Text, primary_key=True),
    owner(),
    Column("parent_id", sa.Text, sa.ForeignKey("folder.id", ondelete="CASCADE")),
    Column("name", sa.Text, nullable=False),
    Column("items", Json),
    Column("meta", Json),
    Column("data", Json),
    Column("is_expanded", sa.Boolean, nullable=False, server_default=FALSE),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.Index("ix_folder_user_id", "user_id", "parent_id"),
)

chat = sa.Table(
    "chat",
    metadata,
    # The high bits of its messages' row numbers: full-text search finds the chats of its hits without a look-up.
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("id", sa.Text, nullable=False, unique=True),
    owner(),
    Column("title", sa.Text, nullable=False),
    # What the page keeps in the chat document beside title and history (models, params, files, tags ...), verbatim.
    Column("body", Json, nullable=False),
    Column("current_message_id", sa.Text),
    Column("next_position", sa.Integer, nullable=False, server_default="0"),
    Column("meta", Json, nullable=False),
    Column("variables", Json),
    Column("tasks", Json),
    Column("summary", sa.Text),
    Column("archived", sa.Boolean, nullable=False, server_default=FALSE),
    Column("pinned", sa.Boolean, nullable=False, server_default=FALSE),
    Column("folder_id", sa.Text, sa.ForeignKey("folder.id", ondelete="SET NULL"), index=True),
    Column("share_id", sa.Text, unique=True),
    Column("last_read_at", Seconds),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    # Since when nobody sees it: it is being put together in portions, or removed. None for a chat.
    Column("hidden_at", Seconds),
    sa.Index("ix_chat_list", "user_id", "archived", "updated_at", "id"),
    # The index of those few that are hidden is in the migrations: its condition, said here, would load both databases'
    # dialects, 3 MB in every process.
    # A number is never used twice, so no stale index entry can point at a new chat.
    sqlite_autoincrement=True,
)

message = sa.Table(
    "chat_message",
    metadata,
    # chat.n << MESSAGE_BITS | position
    Column("n", RowNumber, primary_key=True, autoincrement=False),
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), nullable=False),
    Column("id", sa.Text, nullable=False),
    # The owner's id without dashes, one word for the full-text index.
    Column("owner", sa.Text, nullable=False),
    Column("parent_id", sa.Text),
    Column("role", sa.Text, nullable=False),
    Column("content", sa.Text, nullable=False),
    # False while the answer is being written; such a row is not indexed yet.
    Column("done", sa.Boolean, nullable=False, server_default=TRUE),
    Column("model_id", sa.Text),
    # Every other field of the wire's message, verbatim.
    Column("body", Json, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
    sa.UniqueConstraint("chat_id", "id"),
    # Answers that are being written, or that a process left behind: few at any time.
    # The index of answers that are not done is in the migrations, as that of hidden chats.
)

tag = sa.Table(
    "tag",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("name", sa.Text, nullable=False),
    Column("meta", Json),
)

chat_tag = sa.Table(
    "chat_tag",
    metadata,
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", sa.Text, primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_chat_tag_user_id", "user_id", "tag_id"),
)

shared_chat = sa.Table(
    "shared_chat",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), nullable=False, unique=True),
    owner(),
    Column("title", sa.Text, nullable=False),
    # "snapshot": the document as it was; "continue": the live chat, `chat` is empty.
    Column("mode", sa.Text, nullable=False),
    Column("chat", Json),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

# A row while a model answers. What is left after a crash tells which messages were interrupted.
# A process's lease, where several may share the database. All times are by the database's clock.
process = sa.Table(
    "process",
    metadata,
    Column("instance", sa.Text, primary_key=True),
    Column("host", sa.Text, nullable=False),
    Column("started_at", Seconds, nullable=False),
    Column("beat_at", Seconds, nullable=False),
    # Since when it has beaten without a gap.
    Column("steady_at", Seconds, nullable=False),
)

generation = sa.Table(
    "generation",
    metadata,
    Column("task_id", sa.Text, primary_key=True),
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", sa.Text, nullable=False),
    owner(),
    # The process that writes it. No reference: SQLite's one process has no lease.
    Column("instance", sa.Text, nullable=False),
    # One answer at a time is written into a message.
    sa.Index("ix_generation_chat_id_message_id", "chat_id", "message_id", unique=True),
)

# What was written of a running answer since the part before: utils.answer_parts.Part.
generation_part = sa.Table(
    "generation_part",
    metadata,
    Column("task_id", sa.Text, sa.ForeignKey("generation.task_id", ondelete="CASCADE"), primary_key=True),
    Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    Column("data", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

usage = sa.Table(
    "usage",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    # No reference: what was used stays on record when its user is gone.
    Column("user_id", sa.Text, nullable=False),
    Column("model_id", sa.Text, nullable=False),
    Column("connection", sa.Text, nullable=False),
    # "chat", "api", "task" or "embedding".
    Column("kind", sa.Text, nullable=False),
    Column("chat_id", sa.Text),
    Column("message_id", sa.Text),
    Column("status", sa.Integer, nullable=False),
    Column("prompt_tokens", sa.Integer),
    Column("completion_tokens", sa.Integer),
    # Those of the prompt's that a cache held, and those of the completion's that were thoughts.
    Column("cached_tokens", sa.Integer),
    Column("reasoning_tokens", sa.Integer),
    Column("duration_ms", sa.Integer, nullable=False),
    Column("created_at", Seconds, nullable=False),
    sa.Index("ix_usage_user_id", "user_id", "created_at"),
    sa.Index("ix_usage_created_at", "created_at"),
)

# The same summed by day, written with it: what budgets ask and reports show.
usage_day = sa.Table(
    "usage_day",
    metadata,
    Column("user_id", sa.Text, primary_key=True),
    # Days since the epoch, UTC.
    Column("day", sa.Integer, primary_key=True, autoincrement=False),
    Column("model_id", sa.Text, primary_key=True),
    Column("connection", sa.Text, primary_key=True),
    Column("kind", sa.Text, primary_key=True),
    Column("calls", sa.BigInteger, nullable=False),
    # Those that failed; one that was stopped has not.
    Column("errors", sa.BigInteger, nullable=False),
    Column("prompt_tokens", sa.BigInteger, nullable=False),
    Column("completion_tokens", sa.BigInteger, nullable=False),
    Column("cached_tokens", sa.BigInteger, nullable=False),
    Column("reasoning_tokens", sa.BigInteger, nullable=False),
    Column("duration_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A model of this machine that an admin added. Those that merely lie in DATA_DIR/models have no row.
local_model = sa.Table(
    "local_model",
    metadata,
    Column("name", sa.Text, primary_key=True),
    # What the admin gave: a path, "hf:..." or "ollama:...".
    Column("source", sa.Text, nullable=False),
    # Where it lies; null until it is downloaded.
    Column("path", sa.Text),
    # Null: told by what lies there.
    Column("backend", sa.Text),
    Column("parameters", Json, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

# What a blob store keeps: bytes under their SHA-256. Files refer to them, and a blob without a file is collected.
blob = sa.Table(
    "blob",
    metadata,
    Column("hash", sa.Text, primary_key=True),
    Column("size", RowNumber, nullable=False),
    # By its first bytes.
    Column("mime", sa.Text, nullable=False),
    Column("created_at", Seconds, nullable=False),
    # When somebody last put the same content: it is not collected for a while after that.
    Column("touched_at", Seconds, nullable=False),
)

file = sa.Table(
    "file",
    metadata,
    Column("id", sa.Text, primary_key=True),
    # A file that others still use outlives its owner.
    Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="SET NULL"), index=True),
    Column("filename", sa.Text, nullable=False),
    Column("blob", sa.Text, sa.ForeignKey("blob.hash"), nullable=False, index=True),
    # True: it came inside a document and goes with the last thing that uses it. False: it was uploaded, and stays.
    Column("embedded", sa.Boolean, nullable=False),
    # The wire's `hash`: of the text that was taken out of it, which is a blob of this name.
    Column("hash", sa.Text, index=True),
    # Of what takes its text out: "pending", "completed" or "failed"; None where nobody asked for it.
    Column("status", sa.Text),
    Column("data", Json),
    Column("meta", Json),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)

# What uses a file: exactly one of the columns says it. The use goes with the thing, by the foreign keys; a file can't go
# while it is used.
file_use = sa.Table(
    "file_use",
    metadata,
    Column("n", RowNumber, primary_key=True, autoincrement=True),
    Column("file_id", sa.Text, sa.ForeignKey("file.id"), nullable=False, index=True),
    Column("message_n", RowNumber, sa.ForeignKey("chat_message.n", ondelete="CASCADE"), index=True),
    Column("chat_id", sa.Text, sa.ForeignKey("chat.id", ondelete="CASCADE"), index=True),
    Column("share_id", sa.Text, sa.ForeignKey("shared_chat.id", ondelete="CASCADE"), index=True),
    Column("folder_id", sa.Text, sa.ForeignKey("folder.id", ondelete="CASCADE"), index=True),
    Column("model_id", sa.Text, sa.ForeignKey("model.id", ondelete="CASCADE"), index=True),
    # What a person shows to others, and what they keep for themselves.
    Column("profile_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
    Column("settings_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), index=True),
)

# Work that is done in the background, once over all processes. Times are milliseconds since 1970 by the database's clock.
job = sa.Table(
    "job",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("kind", sa.Text, nullable=False),
    # What it is about: of those that wait or run, one has it. They have it in the second column, too.
    Column("key", sa.Text),
    Column("live_key", sa.Text, unique=True),
    # JSON of the kind's payload.
    Column("payload", sa.Text, nullable=False),
    Column("priority", sa.Integer, nullable=False),
    # "waiting", "running", "done", "failed" or "cancelled".
    Column("state", sa.Text, nullable=False),
    # When something is to happen next: it may run; its lease is over; the row is removed.
    Column("due_at", RowNumber, nullable=False),
    # How often it was begun, a number that never comes again, and how often it may be.
    Column("attempts", sa.Integer, nullable=False),
    Column("allowed", sa.Integer, nullable=False),
    # Which process runs it, and whether that one is to stop.
    Column("instance", sa.Text),
    Column("is_cancelled", sa.Boolean, nullable=False, server_default=FALSE),
    Column("progress", sa.Float),
    Column("note", sa.Text),
    # Why it failed last.
    Column("error", sa.Text),
    Column("created_at", RowNumber, nullable=False),
    Column("started_at", RowNumber),
    Column("finished_at", RowNumber),
    sa.Index("ix_job_due_at", "due_at"),
)
# An outside service that knowledge is found in.
knowledge_connection = sa.Table(
    "knowledge_connection",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("name", sa.Text, nullable=False),
    # "qdrant", "milvus" or "pgvector".
    Column("provider", sa.Text, nullable=False),
    # Without a password.
    Column("endpoint", sa.Text, nullable=False),
    # JSON of what only the server reads, encrypted.
    Column("sealed", sa.Text),
    Column("config", Json),
    Column("capabilities", Json),
    Column("enabled", sa.Boolean, nullable=False),
    Column("created_at", Seconds, nullable=False),
    Column("updated_at", Seconds, nullable=False),
)
