"""The processes of plugins: when they come, when they go, and what happens when one of them is lost."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from open_webui.plugins.host import PluginLost
from tests.support.plugins import make_host, tool, until

pytestmark = pytest.mark.asyncio(loop_scope="function")
PID = tool("def pid(self):\n    return os.getpid()\nasync def wait(self):\n    await asyncio.Event().wait()")
SERVER = """
import asyncio
from open_webui.env import Settings
from open_webui.plugins.host import PluginHost, PluginSource
async def main():
    host = PluginHost(Settings(env="test"))
    await host.load(PluginSource(id="t", kind="tool", content="class Tools:\\n  pass"))
    print(*host.processes(), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def is_there(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_when_nobody_has_needed_them_for_a_while_all_are_gone() -> None:
    host = make_host(plugin_idle_seconds=0.01)
    pid = await host.call(PID, "pid", {})

    async def is_quiet() -> bool:
        return host.processes() == []

    await until(is_quiet)
    assert not is_there(pid)
    assert await host.call(PID, "pid", {}) != pid
    await host.close()


async def test_a_lost_zygote_takes_its_workers_along_and_another_comes() -> None:
    host = make_host()
    pid = await host.call(PID, "pid", {})
    zygote = host.processes()[0]
    waiting = asyncio.create_task(host.call(PID, "wait", {}))
    await asyncio.sleep(0)
    os.kill(zygote, signal.SIGKILL)
    with pytest.raises(PluginLost, match="was lost"):
        await waiting
    assert await host.call(PID, "pid", {}) != pid
    assert not is_there(pid)
    await host.close()


async def test_nothing_outlives_a_server_that_is_killed() -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=subprocess.PIPE)
    assert server.stdout is not None
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    assert len(pids) == 2
    server.kill()
    await server.wait()

    async def are_gone() -> bool:
        return not any(map(is_there, pids))

    await until(are_gone)


async def test_what_is_unloaded_while_it_starts_does_not_stay() -> None:
    host = make_host()
    await host.call(PID, "pid", {})
    other = tool("def pid(self):\n    return os.getpid()", "other")
    starting = asyncio.create_task(host.call(other, "pid", {}))
    await asyncio.sleep(0)
    host.unload("tool", "other")
    pid = await starting

    async def is_gone() -> bool:
        return pid not in host.processes()

    await until(is_gone)
    await host.close()


async def test_one_that_is_closed_while_it_starts_leaves_none() -> None:
    host, mine = make_host(), psutil.Process()
    before = set(mine.children())
    load = asyncio.create_task(host.load(PID))

    async def begins() -> bool:
        return bool(set(mine.children()) - before)

    await until(begins)
    (zygote,) = set(mine.children()) - before
    await host.close()
    assert not is_there(zygote.pid)
    with pytest.raises((PluginLost, asyncio.CancelledError)):
        await load
