"""`oui-backend import` as it is typed: what it prints, what it writes, and how it ends."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.foreign_database import sample
from tests.support.process import clean_environment, die_with_parent
from tests.support.server import Server

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def run(server: Server, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "open_webui.cli", *arguments], cwd=server.folder, stdin=subprocess.DEVNULL, text=True,
        env=clean_environment(server.environment | environment), capture_output=True, check=False,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_from_a_folder_with_a_report(make_server: Any, database_url: str, tmp_path: Path) -> None:
    server = make_server(DATABASE_URL=database_url)
    theirs = sample(tmp_path / "theirs")
    theirs.foreign.sqlite(tmp_path / "theirs" / "webui.db")
    report = tmp_path / "report.json"
    code, said = run(
        server, "import", "open-webui", "--dry-run", "--report", str(report), IMPORT_SOURCE=str(theirs.uploads.parent)
    )
    assert code == 0, said
    assert "would be taken" in said
    assert "Nothing was written." in said
    assert "they were left: api_key (1)" in said
    written = json.loads(report.read_bytes())
    assert (written["dry_run"], written["finished"], written["tables"]["chat"]["taken"]) == (True, True, 3)
    code, said = run(
        server, "import", "open-webui", str(theirs.uploads.parent), "--report", str(tmp_path / "no" / "x.json")
    )
    assert (code, "The report can't be written" in said, "ada@example.com is the first account" in said) == (
        1,
        True,
        True,
    )
    code, said = run(server, "users", "list")
    assert next(line.split()[:2] for line in said.splitlines()[1:]) == ["ada@example.com", "admin"]
    export = tmp_path / "lines.jsonl"
    export.write_text('{"messages": [{"role": "user", "content": "Hello"}]}\n')
    code, said = run(server, "import", "chats", str(export), "--for", "uwe@example.com")
    assert code == 0, said
    assert said.splitlines()[1].split() == ["chats", "1", "0", "0"]


def test_what_is_said_of_mistakes(make_server: Any, database_url: str, tmp_path: Path) -> None:
    server = make_server(DATABASE_URL=database_url)
    for arguments, expected in [
        (("open-webui", str(tmp_path / "none.db")), "There is no file"),
        (("open-webui", "postgresql://nobody:secret@127.0.0.1:1/x"), "can't be read"),
        (("chats", str(tmp_path / "none.json"), "--for", "a@example.com"), "can't be read"),
    ]:
        code, said = run(server, "import", *arguments)
        assert (code, said.startswith("oui-backend: "), expected in said) == (1, True, True), said
        assert "secret" not in said
        assert "Traceback" not in said


def test_out_and_in_again(make_server: Any, database_url: str, tmp_path: Path) -> None:
    server = make_server(DATABASE_URL=database_url)
    theirs = sample(tmp_path / "theirs")
    theirs.foreign.sqlite(tmp_path / "theirs" / "webui.db")
    code, said = run(server, "import", "open-webui", str(theirs.uploads.parent))
    assert code == 0, said
    archive = tmp_path / "all.zip"
    code, said = run(server, "export", str(archive))
    assert code == 0, said
    assert "Passwords' hashes and keys to other services are left out" in said
    code, said = run(server, "export", str(archive))
    assert (code, "is there already" in said) == (1, True)
    code, said = run(server, "import", "archive", str(archive), "--dry-run")
    assert code == 0, said
    assert "Nothing was written." in said
    code, said = run(server, "import", "archive", str(tmp_path / "theirs" / "webui.db"))
    assert (code, "is no archive of" in said) == (1, True)
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as opened:
        opened.execute("UPDATE memory SET content = CAST(x'ff41' AS TEXT)")
    opened.close()
    code, said = run(server, "export", str(tmp_path / "damaged.zip"))
    assert (code, "left out: memory" in said, "1 things could not be read" in said) == (3, True, True)
    assert (tmp_path / "damaged.zip").exists()
