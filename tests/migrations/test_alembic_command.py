"""`alembic` in a clone, as the seed writes it: on the server's database, with numbered revisions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from open_webui.migrations import HEAD
from tests.support.process import ROOT, clean_environment


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What alembic needs of a clone, for it writes into it."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "src/open_webui/migrations", folder / "src/open_webui/migrations")
    shutil.copy(ROOT / "alembic.ini", folder)
    return folder


def alembic(clone: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment({"DATABASE_URL": url, "DATA_DIR": str(clone / "data")})
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=clone, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_upgrade_and_revision_as_the_seed_writes_them(clone: Path, empty_database_url: str) -> None:
    done = alembic(clone, empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert HEAD in alembic(clone, empty_database_url, "current").stdout
    # The migrated schema and the tables say the same.
    checked = alembic(clone, empty_database_url, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = alembic(clone, empty_database_url, "revision", "--autogenerate", "-m", "Description")
    assert done.returncode == 0, done.stderr
    # The next number, wherever in the line the greatest one stands.
    (made,) = (clone / "src/open_webui/migrations/versions").glob("*_description.py")
    assert int(made.name[:4]) > int(HEAD)
    assert f"after {HEAD}" in made.read_text()
    assert alembic(clone, empty_database_url, "upgrade", "head").returncode == 0
    assert made.name[:4] in alembic(clone, empty_database_url, "current").stdout


@pytest.mark.parametrize("url", ["mysql://localhost/x", "what is this"])
def test_a_database_that_cannot_be_used_is_one_sentence(clone: Path, url: str) -> None:
    done = alembic(clone, url, "upgrade", "head")
    assert done.returncode != 0
    assert "FAILED: DATABASE_URL" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX's")
def test_the_database_it_makes_is_private(clone: Path) -> None:
    assert alembic(clone, "", "upgrade", "head").returncode == 0
    assert (clone / "data" / "webui.db").stat().st_mode & 0o077 == 0
    assert (clone / "data").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name == "nt", reason="the lock that is held here is flock")
def test_a_file_that_a_server_uses_is_left_alone(clone: Path) -> None:
    import fcntl

    (clone / "data").mkdir()
    with (clone / "data" / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = alembic(clone, "", "upgrade", "head")
    assert done.returncode != 0
    assert "is using" in done.stdout + done.stderr
    assert not (clone / "data" / "webui.db").exists()
