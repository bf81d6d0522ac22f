"""Engines that are processes of their own: they answer through the pool, and end with the worker or with this process."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from llamaforge.pool import Limits, Pool, Spec
from tests.support.process import clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups are ended, marks are read in /proc")

BACKENDS = '''
import subprocess, sys, time
from pathlib import Path

from llamaforge.backends.base import BaseBackend, Endpoint

SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("content-length", 0))
        asked = json.loads(self.rfile.read(length) or "null")
        body = json.dumps({"path": self.path, "key": self.headers.get("authorization"), "asked": asked}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *_): ...
weights = bytearray(b"x" * 60_000_000)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

class Served(BaseBackend):
    """As one for vLLM or SGLang would be: the engine is another server."""
    def load_model(self, model_path, parameters=None):
        self.options = dict(parameters or {})
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True,
                                        start_new_session=bool(self.options.get("session")))
        self.port = int(self.process.stdout.readline())
        Path(model_path).write_text(str(self.process.pid))
    def generate(self, prompt, parameters=None): return prompt
    def generate_stream(self, prompt, parameters=None): yield prompt
    def is_model_loaded(self): return True
    def unload(self):
        if not self.options.get("careless"):
            self.process.terminate()
    @property
    def endpoint(self):
        return Endpoint(f"http://127.0.0.1:{self.port}/", "engine-key")
'''


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Makes specs; `pid()` is the number of the engine's process."""
    (tmp_path / "served_backends.py").write_text(BACKENDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    note = tmp_path / "pid"

    def make(name="m", **options):
        return Spec(name, str(note), "served_backends:Served", options)

    make.pid = lambda: int(note.read_text())
    make.folder = tmp_path
    yield make
    if note.exists() and runs(make.pid()):
        os.kill(make.pid(), signal.SIGKILL)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(pid, seconds=10.0):
    deadline = time.monotonic() + seconds
    while runs(pid):
        assert time.monotonic() < deadline, "it is still there"
        await asyncio.sleep(0.02)


async def test_a_backend_that_is_another_server_answers_through_the_pool(engine):
    async with Pool(limits=Limits(health_seconds=0.1)) as pool, aiohttp.ClientSession() as http:
        async with pool.lease(engine()) as lease:
            url, headers = lease.url + "/v1/chat/completions", {"authorization": f"Bearer {lease.key}"}
            async with http.post(url, json={"model": lease.model}, headers=headers) as response:
                answer = await response.json(content_type=None)
            assert answer == {"path": "/v1/chat/completions", "key": "Bearer engine-key", "asked": {"model": "m"}}
            await asyncio.sleep(0.5)  # some checks of its health
            assert not lease.failed.is_set()
            status = pool.status()[0]
            assert status.pid != engine.pid()
            assert status.memory > 60_000_000  # that of the engine's process counts
        assert await pool.unload("m") is True
        await until_gone(engine.pid())


@pytest.mark.parametrize("options", [{}, {"session": True}], ids=["in the group", "in a session of its own"])
async def test_an_engine_ends_with_its_worker_whatever_ends_that(engine, options):
    async with Pool() as pool:
        async with pool.lease(engine(**options)) as lease:
            os.kill(pool.status()[0].pid, signal.SIGKILL)
            assert "crashed (SIGKILL)" in str(await lease.failure(timeout=5))
        await until_gone(engine.pid())
        await pool.load(engine(**options, careless=True))
        await pool.unload("m")
        await until_gone(engine.pid())


@pytest.mark.parametrize("options", [{}, {"session": True}], ids=["in the group", "in a session of its own"])
@pytest.mark.parametrize("ended", ["killed", "killed while a fork of it runs on", "left without closing"])
def test_an_engine_ends_with_this_process(engine, options, ended):
    program = f"""
import asyncio, os, sys, time
from llamaforge.pool import Pool, Spec
sys.path.insert(0, {str(engine.folder)!r})
async def main():
    pool = Pool()
    await pool.load(Spec("m", {str(engine.folder / "pid")!r}, "served_backends:Served", {options!r}))
    if "fork" in {ended!r}:
        if not os.fork():
            sys.stdout.close()
            time.sleep(8)
            os._exit(0)
    print(pool.status()[0].pid, flush=True)
    if "left" in {ended!r}:
        os._exit(0)
    time.sleep(60)
asyncio.run(main())
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as parent:
        worker, pid = int(parent.stdout.readline()), engine.pid()
        if ended != "left without closing":
            assert runs(pid)
            parent.kill()
        asyncio.run(until_gone(pid, 5))
        asyncio.run(until_gone(worker, 5))


async def test_a_supervisor_that_was_killed_is_replaced(engine):
    async with Pool() as pool:
        await pool.load(engine())
        supervisor = pool._supervisor._process
        supervisor.kill()
        supervisor.wait()
        await pool.load(Spec("other", "doctor", "eliza"))
        assert pool._supervisor._process.poll() is None
        assert set(pool._supervisor._watched) == {status.pid for status in pool.status()}
        replaced = pool._supervisor._process
    assert replaced.poll() is not None
    await until_gone(engine.pid())


async def test_the_supervisor_is_small_and_knows_nothing_of_the_server():
    async with Pool() as pool:
        await pool.load(Spec("m", "doctor", "eliza"))
        process = psutil.Process(pool._supervisor._process.pid)
        assert process.memory_info().rss < 20 * 10**6
        assert process.cwd() == "/"
        assert len(process.open_files()) == 0
        assert Path(process.cmdline()[3]).name == "supervisor.py"


async def test_the_workers_import_path_is_whole(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "relative", *sys.path])
    async with Pool() as pool:
        await pool.load(Spec("m", "doctor", "eliza"))
        path = psutil.Process(pool.status()[0].pid).environ()["PYTHONPATH"].split(os.pathsep)
        assert path[0] == str(tmp_path / "relative")
        assert all(Path(entry).is_absolute() for entry in path)
