"""Servers from a process that has their modules are those that the command starts."""

import os
import signal
import subprocess
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.support.server import Server
from tests.support.starter import Started

MakeServer = Callable[..., Server]


def test_it_has_its_own_environment_folder_and_log(make_server: MakeServer) -> None:
    first, second = (
        make_server(WEBUI_NAME=name, TZ=zone).start() for name, zone in (("One", "UTC"), ("Two", "Asia/Tokyo"))
    )
    for server, named in ((first, "One"), (second, "Two")):
        process = psutil.Process(server.pid)
        assert process.cwd() == str(server.folder)
        assert f":{server.port}" in server.log
        assert str(second.port if server is first else first.port) not in server.log
        assert {file.path for file in process.open_files()} <= {str(path) for path in server.folder.rglob("*")}
        assert httpx.get(f"{server.url}/api/config", trust_env=False).json()["name"].startswith(named)
    assert first.pid != second.pid != os.getpid()


def test_ends_are_told_as_the_system_tells_them(make_server: MakeServer) -> None:
    ends = []
    for from_nothing in (False, True):
        refused = make_server(PORT="eighty")
        refused.from_nothing = from_nothing
        ends.append((refused.launch().wait(30), refused.log))
    assert ends[0] == ends[1] != (0, "")
    server = make_server().start()
    process = server._process
    assert isinstance(process, Started)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    server.kill()
    assert process.returncode == -signal.SIGKILL
    assert server.start().stop() == 0


def test_what_is_read_early_starts_from_nothing(make_server: MakeServer) -> None:
    server = make_server(PYTHONWARNINGS="error::ImportWarning")
    assert isinstance(server.launch(), subprocess.Popen)
