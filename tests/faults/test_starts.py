"""Starts that can't be: one clear sentence, a non-zero exit, nothing left behind."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.s3 import KEYS, S3Server
from tests.support.server import Server

MakeServer = Callable[..., Server]
pytestmark = pytest.mark.fault


def refused(server: Server) -> str:
    """The one sentence with which a start ended."""
    assert server.launch().wait(timeout=30) != 0
    said = [line for line in server.log.splitlines() if line.startswith("oui-backend: ")]
    assert len(said) == 1, server.log
    assert "Traceback" not in server.log
    return said[0]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "mysql://localhost/x"}, "only SQLite and PostgreSQL"),
        ({"DATABASE_URL": "what is this"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:9/x"}, "can't be used"),
        ({"WEBUI_SECRET_KEY": "short"}, "WEBUI_SECRET_KEY"),
        ({"PORT": "eighty"}, "PORT"),
        ({"PORT": "70000"}, "PORT"),
        ({"HOST": "no.such.host.invalid"}, "Can't listen"),
        ({"ENABLE_SIGNUP": "perhaps"}, "ENABLE_SIGNUP"),
        ({"OPENAI_API_CONFIGS": "{"}, "OPENAI_API_CONFIGS"),
        ({"GLOBAL_LOG_LEVEL": "LOUD"}, "GLOBAL_LOG_LEVEL"),
        ({"LOG_LEVELS": "open_webui"}, "LOG_LEVELS"),
        ({"STORAGE_PROVIDER": "gcs"}, "STORAGE_PROVIDER: Input should be"),
        ({"STORAGE_PROVIDER": "s3"}, "S3_BUCKET_NAME"),
        ({"S3_KEY_PREFIX": "a/../b"}, "S3_KEY_PREFIX"),
        ({"S3_ADDRESSING_STYLE": "sideways"}, "S3_ADDRESSING_STYLE"),
        ({"FRONTEND_BUILD_DIR": "/nowhere/at/all"}, "FRONTEND_BUILD_DIR"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    make_server: MakeServer, environment: dict[str, str], said: str
) -> None:
    sentence = refused(make_server(**environment))
    assert said in sentence
    assert "geheim" not in sentence


def test_a_taken_port_is_named(make_server: MakeServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused(make_server(PORT=str(port)))
    assert f"Can't listen on 127.0.0.1:{port}" in sentence


def test_a_server_that_reloads_names_what_it_cannot_listen_on(make_server: MakeServer) -> None:
    server = make_server(HOST="no.such.host.invalid")
    assert server.launch("serve", "--reload").wait(timeout=30) == 1
    assert "HOST must be an address of this machine" in server.log
    assert "listens on" not in server.log
    assert "Traceback" not in server.log


def test_a_data_folder_that_cannot_be_written_to_is_named(make_server: MakeServer, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere but below a file.
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "data"
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
    assert str(folder) in refused(make_server(DATA_DIR=str(folder)))


def test_a_damaged_secret_key_is_named(make_server: MakeServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret-key").write_text("x")
    assert "secret-key" in refused(make_server(DATA_DIR=str(data), WEBUI_SECRET_KEY=""))


def test_a_start_with_a_bucket_that_is_not_there(make_server: MakeServer, s3_server: S3Server) -> None:
    named = {"STORAGE_PROVIDER": "s3", "S3_BUCKET_NAME": "no-such-bucket", "S3_ENDPOINT_URL": s3_server.url}
    said = refused(make_server(**named, **{name.upper(): value for name, value in KEYS.items()}))
    assert "The bucket no-such-bucket at http" in said
    assert "NoSuchBucket" in said
