"""`oui-backend config`: what is in force and where it comes from, without secrets and without touching anything."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llamaforge.exceptions import how_to_install
from tests.open_webui.accounts.test_users_command import command
from tests.support.process import clean_environment
from tests.support.server import Server

MakeServer = Callable[..., Server]
SECRET = "very-secret-word"


def stored(path: Path) -> dict[str, object]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {"tables": database.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall()}


def test_nothing_is_made(make_server: MakeServer) -> None:
    server = make_server()
    done = command(server, "config")
    assert done.returncode == 0
    assert "DATA_DIR=" in done.stdout
    assert 'ui.default_user_role="pending"  (default)' in done.stdout
    assert "not there yet" in done.stderr
    assert list(server.folder.iterdir()) == []


def test_an_older_schema_stays(make_server: MakeServer) -> None:
    server = make_server()
    command(server, "migrate")
    path = Path(server.environment["DATA_DIR"]) / "webui.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
        database.commit()
    before, names = stored(path), sorted(p.name for p in path.parent.iterdir())
    done = command(server, "config")
    assert done.returncode == 0
    assert "schema 0001" in done.stderr
    assert (stored(path), sorted(p.name for p in path.parent.iterdir())) == (before, names)


def test_what_is_stored_is_shown(make_server: MakeServer) -> None:
    server = make_server()
    command(server, "migrate")
    with contextlib.closing(sqlite3.connect(Path(server.environment["DATA_DIR"]) / "webui.db")) as database:
        values = ("ui.name", json.dumps("A name"))
        database.execute("INSERT INTO config (key, value, updated_at) VALUES (?, ?, 0)", values)
        database.commit()
    done = command(server, "config")
    assert 'ui.name="A name"  (stored)' in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://ann:{SECRET}@127.0.0.1:9/x",
        f"postgresql://ann:a%2F{SECRET}@127.0.0.1:9/x",
        f"postgresql://127.0.0.1:9/x?user=ann&password={SECRET}",
        f"mysql://ann:{SECRET}@127.0.0.1/x",
        f"not an address {SECRET}",
    ],
)
def test_a_database_password_is_not_printed(make_server: MakeServer, address: str) -> None:
    done = command(make_server(DATABASE_URL=address), "config")
    assert SECRET not in done.stdout + done.stderr
    assert "***" in done.stdout
    assert "PORT=" in done.stdout
    assert 'ui.name="oui-backend"' in done.stdout
    # The database can't be used: one sentence says so.
    assert done.returncode == 1
    assert done.stderr.count("oui-backend: ") == 1
    assert "Traceback" not in done.stderr


def test_no_other_secret_is_printed(make_server: MakeServer) -> None:
    server = make_server(
        WEBUI_SECRET_KEY=f"{SECRET}-{SECRET}",
        WEBUI_ADMIN_PASSWORD=SECRET,
        OPENAI_API_KEYS=SECRET,
        OPENAI_API_BASE_URLS=f"https://ann:{SECRET}@example.com/v1;https://example.com/v1?api-key={SECRET}",
        OPENAI_API_CONFIGS=json.dumps({"0": {"key": SECRET}}),
        OLLAMA_BASE_URLS=f"http://ann:{SECRET}@127.0.0.1:11434",
        OLLAMA_API_CONFIGS=json.dumps({"0": {"key": SECRET}}),
        DEFAULT_MODEL_PARAMS=json.dumps({"custom_params": {"api_key": SECRET}, "max_tokens": 5}),
    )
    done = command(server, "config")
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    assert '"max_tokens":5' in done.stdout
    assert "http://ann:***@127.0.0.1:11434" in done.stdout


def test_a_malformed_setting_is_one_sentence(make_server: MakeServer) -> None:
    done = command(make_server(PORT="eighty"), "config")
    assert done.returncode == 1
    assert "PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_driver_that_is_missing_is_one_sentence_with_the_way_out(make_server: MakeServer) -> None:
    server = make_server(DATABASE_URL=f"postgresql://ann:{SECRET}@127.0.0.1:9/x")
    for arguments in (["serve"], ["migrate"], ["config"], ["users", "list"]):
        code = f"import sys; sys.modules['asyncpg'] = None; from open_webui.commands import app; app({arguments})"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=server.folder, env=clean_environment(server.environment),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.endswith(
            f"oui-backend: PostgreSQL needs a driver that is not installed. Install it with: {how_to_install('postgres')}\n"
        )
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout
