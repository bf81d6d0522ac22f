"""0025: who people are at providers is taken over from the column in which Open WebUI has it."""

import importlib
import json

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

revision = importlib.import_module("open_webui.migrations.versions.0025_identities")
PEOPLE = {
    "a": {"oidc": {"sub": "1"}, "google": {"sub": 22}},
    # The older account keeps it.
    "b": {"oidc": {"sub": "1"}, "github": {"sub": "g"}},
    "c": None, "d": ["x"], "e": {"oidc": "x", "google": {"sub": True}, "feishu": {"sub": ""}},
}  # fmt: skip


def test_identities_are_taken_over() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE user (id TEXT PRIMARY KEY, email TEXT, oauth JSON, created_at BIGINT)")
        )
        for number, (user_id, oauth) in enumerate(PEOPLE.items()):
            values = {"id": user_id, "email": f"{user_id}@x.example", "oauth": json.dumps(oauth), "at": number}
            connection.execute(sa.text("INSERT INTO user VALUES (:id, :email, :oauth, :at)"), values)
        with Operations.context(MigrationContext.configure(connection)):
            revision.upgrade()
        rows = connection.execute(sa.text("SELECT user_id, provider, subject, email FROM identity ORDER BY 1, 2")).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [
        ("a", "google", "22", "a@x.example"),
        ("a", "oidc", "1", "a@x.example"),
        ("b", "github", "g", "b@x.example"),
    ]
