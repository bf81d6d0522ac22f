"""Plugins that mean harm: each ends with a sentence, has read nothing, and the server goes on.

`test_plugins_not_root.py` runs all of it once more with a server that is not root.
"""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from open_webui.errors import OuiError
from open_webui.plugins.host import Call, PluginFailed, PluginHost, PluginLost, PluginSource
from oui_sandbox import kernel, landlock
from tests.support.plugins import make_host, tool

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not kernel.IS_KNOWN or landlock.version() < 1, reason="there is no Landlock here"),
]
IS_ROOT = os.geteuid() == 0
SECRET = "no-plugin-may-read-this"
FINE = tool("def fine(self):\n    return 'fine'", "fine")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[PluginHost]:
    os.environ["OUI_CANARY"] = SECRET
    made = make_host(plugin_memory_mb=512)
    yield made
    await made.close()
    del os.environ["OUI_CANARY"]


async def told(host: PluginHost, source: PluginSource, method: str = "run", *, seconds: float = 20, **more: Any) -> str:
    """The sentence that a call ends with. The server is well after it."""
    try:
        value = await host.call(source, method, {}, seconds=seconds, **more)
    except OuiError as error:
        sentence = error.detail
    else:
        sentence = f"returned {value!r}"
    assert await host.call(FINE, "fine", {}) == "fine"
    assert SECRET not in sentence
    return sentence


def is_hidden(sentence: str) -> bool:
    return "Permission denied" in sentence or "No such file" in sentence


def let(path: Path | str, mode: int) -> None:
    Path(path).chmod(mode)


def running(body: str, name: str = "hostile", head: str = "") -> PluginSource:
    return tool("def run(self):\n" + "\n".join("    " + line for line in body.splitlines()), name, head)


# -- time and memory


@pytest.mark.parametrize("head", ["def", "async def"])
async def test_an_endless_loop_is_ended(host: PluginHost, head: str) -> None:
    source = tool(f"{head} run(self):\n    while True: pass")
    assert "took longer than 0.5 seconds, and was stopped" in await told(host, source, seconds=0.5)


async def test_an_endless_wait_in_native_code_is_ended(host: PluginHost) -> None:
    source = running("import threading\nthreading.Event().wait()")
    assert "was stopped" in await told(host, source, seconds=0.3)


async def test_an_endless_import_is_ended(host: PluginHost) -> None:
    with pytest.raises(PluginLost, match="was stopped"):
        await host.load(tool("pass", head="while True: pass"), seconds=0.3)
    assert await host.call(FINE, "fine", {}) == "fine"


async def test_what_ignores_its_end_is_ended(host: PluginHost) -> None:
    source = tool(
        """
        async def run(self):
            while True:
                try:
                    await asyncio.sleep(100)
                except BaseException:
                    pass
        """
    )
    assert "was stopped" in await told(host, source, seconds=0.3)


async def test_memory_has_an_end(host: PluginHost) -> None:
    assert await told(host, running("return len(bytearray(8 << 30))")) == "It raised MemoryError."
    hoard = running("kept = []\nwhile True: kept.append(bytearray(1 << 20))")
    assert "MemoryError" in await told(host, hoard) or "was lost" in await told(host, hoard)


async def test_memory_that_is_no_process_address_has_an_end_too(host: PluginHost) -> None:
    assert "not permitted" in await told(host, running("os.memfd_create('x')"))
    head = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)"
    shared = running("return [libc.shmget(0, 1 << 20, 0o1600), ctypes.get_errno()]", head=head)
    assert await told(host, shared) == "returned [-1, 1]"


# -- other processes


async def test_no_process_is_started(host: PluginHost) -> None:
    sentence = "A plugin can't start other programs."
    for body in ("os.fork()", "os.system('id')", "import subprocess\nsubprocess.run(['id'])", "os.execv('/bin/sh', ['sh'])",
                 "import multiprocessing\nmultiprocessing.Process(target=print).start()"):  # fmt: skip
        assert await told(host, running(body)) == sentence


async def test_no_thousand_processes(host: PluginHost) -> None:
    body = "libc = __import__('ctypes').CDLL(None)\nreturn {libc.fork() for _ in range(1000)}"
    assert await told(host, running(body)) == "returned [-1]"


@pytest.mark.skipif(not IS_ROOT, reason="threads are counted where each plugin has a user of its own")
async def test_threads_have_an_end(host: PluginHost) -> None:
    body = "from threading import Event, Thread\nwait = Event().wait\nfor _ in range(999): Thread(None, wait).start()"
    assert "can't start new thread" in await told(host, running(body))


async def test_other_processes_are_not_ended(host: PluginHost) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:  # noqa: ASYNC220
        for pid in (other.pid, os.getpid(), os.getppid(), -1, 0):
            for number in (signal.SIGKILL, signal.SIGTERM):
                assert "not permitted" in await told(host, running(f"os.kill({pid}, {number})"))
        for name, arguments in (("tgkill", f"{other.pid}, {other.pid}, 9"), ("tkill", f"{other.pid}, 9")):
            assert await told(host, calling(name, arguments)) == "returned [-1, 1]"
        assert other.poll() is None
        other.communicate()
    assert other.returncode == 1  # by its end of input


async def test_other_processes_are_not_slowed_or_bound(host: PluginHost) -> None:
    pid = os.getpid()
    assert "not permitted" in await told(host, running(f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)"))
    assert "not permitted" in await told(host, running(f"os.sched_setaffinity({pid}, [0])"))
    body = f"import resource\nresource.prlimit({pid}, resource.RLIMIT_NOFILE, (3, 3))"
    assert "not permitted" in await told(host, running(body)) or "Permission denied" in await told(host, running(body))


NUMBERS = {
    "socket": 41, "execve": 59, "unshare": 272, "ptrace": 101, "mount": 165, "setns": 308, "bpf": 321, "io_uring_setup": 425,
    "process_vm_readv": 310, "keyctl": 250, "open_by_handle_at": 304, "perf_event_open": 298, "userfaultfd": 323, "clone": 56,
    "tgkill": 234, "tkill": 200, "setuid": 105, "chroot": 161, "pidfd_open": 434, "connect": 42, "bind": 49,
}  # fmt: skip


def calling(name: str, arguments: str) -> PluginSource:
    head = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)"
    return running(f"return [libc.syscall({NUMBERS[name]}, {arguments}), ctypes.get_errno()]", head=head)


@pytest.mark.skipif(kernel.ARCHITECTURE != 0, reason="the numbers are those of x86-64")
@pytest.mark.parametrize("name", sorted(NUMBERS))
async def test_system_calls_are_refused(host: PluginHost, name: str) -> None:
    assert await told(host, calling(name, "0, 0, 0, 0, 0")) == "returned [-1, 1]"


@pytest.mark.skipif(kernel.ARCHITECTURE != 0, reason="the numbers are those of x86-64")
async def test_calls_that_nobody_knows_are_not_there(host: PluginHost) -> None:
    head = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)"
    # clone3; one that is newer than the list; one of x32.
    for number in (435, 500, 0x40000000 + 41):
        source = running(f"return [libc.syscall({number}, 0), ctypes.get_errno()]", head=head)
        assert await told(host, source) == "returned [-1, 38]"


async def test_a_process_can_not_be_debugged(host: PluginHost) -> None:
    body = f"return open('/proc/{os.getpid()}/mem', 'rb').read(1)"
    assert "Permission denied" in await told(host, running(body))


# -- files


async def test_no_file_of_the_server_is_read(host: PluginHost, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "webui.db").write_text(SECRET)
    let(tmp_path, 0o755)
    let(data / "webui.db", 0o644)
    for path in (data / "webui.db", "/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/cmdline", "/proc/self/maps",
                 Path(__file__), "/root/.bashrc", "/dev/mem", "/sys/kernel/notes"):  # fmt: skip
        assert is_hidden(await told(host, running(f"return open({str(path)!r}, 'rb').read()"))), path
    for folder in ("/", "/tmp", "/proc", str(data), "/etc", "/root"):
        assert "Permission denied" in await told(host, running(f"return os.listdir({folder!r})"))


async def test_nothing_is_written_but_in_its_folder(host: PluginHost, tmp_path: Path) -> None:
    let(tmp_path, 0o777)
    for path in (tmp_path / "x", "/tmp/oui-hostile", "/dev/shm/x", "/var/tmp/x"):
        assert "Permission denied" in await told(host, running(f"open({str(path)!r}, 'w').write('x')"))
    inside = "import json\nopen('x', 'w').write('y')\nopen(json.__file__, 'a')"
    assert "Permission denied" in await told(host, running(inside))
    assert not (tmp_path / "x").exists()


async def test_the_environment_is_empty(host: PluginHost) -> None:
    shown = await told(host, running("return sorted(os.environ)"))
    assert set(eval(shown.removeprefix("returned "))) <= {
        "DATA_DIR", "HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ"
    }  # fmt: skip
    head = "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.getenv.restype = ctypes.c_char_p"
    assert await told(host, running("return libc.getenv(b'OUI_CANARY')", head=head)) == "returned None"


async def test_a_link_out_of_its_folder_leads_nowhere(host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let(tmp_path, 0o755)
    body = f"os.symlink({str(tmp_path)!r}, 'out')\nreturn open('out/secret').read()"
    assert "Permission denied" in await told(host, running(body))
    body = f"os.link({str(tmp_path / 'secret')!r}, 'hard')\nreturn open('hard').read()"
    sentence = await told(host, running(body))
    assert any(text in sentence for text in ("Permission denied", "cross-device", "not permitted")), sentence
    assert (tmp_path / "secret").read_text() == SECRET


async def test_plugins_do_not_see_each_others_files(host: PluginHost) -> None:
    one = running(
        "open('mine', 'w').write('secret')\nos.chmod('.', 0o777)\nos.chmod('mine', 0o666)\nreturn os.getcwd()", "one"
    )
    folder = eval((await told(host, one)).removeprefix("returned "))
    assert is_hidden(await told(host, running(f"return open({folder + '/mine'!r}).read()", "two")))
    assert "Permission denied" in await told(host, running(f"return os.listdir({str(Path(folder).parent)!r})", "two"))


async def test_the_disk_is_not_filled(host: PluginHost) -> None:
    one = await told(host, running("open('x', 'wb').write(bytes(200 << 20))"))
    assert "File too large" in one
    many = "for n in range(100):\n    with open(str(n), 'wb') as file:\n        for _ in range(32): file.write(bytes(1 << 20))"
    told_of = await told(host, running(many))
    assert "No space left" in told_of or "was lost" in told_of


async def test_files_and_names_have_an_end(host: PluginHost) -> None:
    assert "Too many open files" in await told(host, running("kept = [open('/dev/null') for _ in range(10_000)]"))


async def test_what_it_prints_has_an_end(host: PluginHost) -> None:
    assert "may print 8 MB in a call" in await told(host, running("for _ in range(1024): print('x' * (1 << 20))"))
    raw = "for _ in range(1024): os.write(1, bytes(1 << 20))"
    assert "File too large" in await told(host, running(raw))
    assert await told(host, running("return sys.stdout.write('y')")) == "returned 1"


# -- the network


async def test_nothing_of_this_machine_is_reached(host: PluginHost, tmp_path: Path) -> None:
    folder = tempfile.mkdtemp(prefix="oui-socket-")
    let(folder, 0o777)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        port = server.getsockname()[1]
        local.bind(f"{folder}/s")
        let(f"{folder}/s", 0o777)
        local.listen()
        server.settimeout(0.05)
        local.settimeout(0.05)
        for address in (
            "127.0.0.1",
            "localhost",
            "::1",
            "0.0.0.0",
        ):
            body = f"import socket\nsocket.create_connection(({address!r}, {port}), 2)"
            sentence = await told(host, running(body))
            assert any(text in sentence for text in ("no public address", "can't be reached", "is not known")), sentence
        refused = {
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))": "TCP only",
            f"socket.socket(socket.AF_UNIX).connect({folder + '/s'!r})": "can't reach other processes",
            "socket.socket().bind(('0.0.0.0', 8080))": "can't listen",
            "socket.create_server(('', 0))": "can't listen",
            f"import _socket; _socket.socket().connect(('127.0.0.1', {port}))": "not permitted",
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)": "not permitted",
        }
        for body, why in refused.items():
            assert why in await told(host, running(f"import socket\n{body}")), body
        for listening in (server, local):
            with pytest.raises(TimeoutError):
                listening.accept()


async def test_a_pair_of_its_own_leads_nowhere_else(host: PluginHost) -> None:
    """What it sends over the control socket is checked: not a socket of its own making, not two, not rubbish."""
    body = """
import socket, json
from oui_sandbox import sockets
control = sockets._network.control
answers = []
for message, count in ((b"rubbish", 1), (b"{}", 1), (b'{"host": "x", "port": "y"}', 1), (b"[]", 2), (b"x", 0)):
    pairs = [sockets._pair() for _ in range(count)]
    if count: socket.send_fds(control, [message], [theirs.fileno() for _, theirs in pairs])
    else: control.send(message)
    for ours, theirs in pairs:
        theirs.close()
        ours.settimeout(5)
        answers.append(ours.recv(100).decode())
return answers
"""
    assert await told(host, running(body)) == f"returned {[chr(1) + 'This is no address.'] * 3 + ['', '']!r}"


# -- the pipe


async def test_a_process_that_ends_itself_is_lost_with_a_sentence(host: PluginHost) -> None:
    source = running("os._exit(0)", "exits")
    assert await told(host, source) == "The tool 'exits' was lost: its process ended by itself (with 0)."
    abort = running("os.abort()", "aborts")
    assert await told(host, abort) == "The tool 'aborts' was lost: its process was ended by signal 6."


async def test_one_that_always_crashes_is_left_alone_for_a_while(host: PluginHost) -> None:
    source = running("os._exit(1)", "crashing")
    for _ in range(2):
        assert "was lost" in await told(host, source)
    assert "has crashed several times, and is started again in" in await told(host, source)
    # Another text is another chance.
    host.unload("tool", "crashing")
    assert await told(host, running("return 1", "crashing")) == "returned 1"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff\xff\xff\xff",
        struct.pack("<I", 3) + b"abc",
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 2) + b"{}",
        struct.pack("<I", 11) + b'{"op":"ask"',
        struct.pack("<I", 12) + b'{"op":"ask"}',
        struct.pack("<I", 26) + b'{"op":"result","id":[1, 2]}'[:26],
        struct.pack("<I", 200_002) + b"[" * 100_001 + b"]" * 100_001,
        struct.pack("<I", 24) + b'{"op":"chunk","id":"no"}',
    ],
)
async def test_rubbish_over_the_pipe_ends_it(host: PluginHost, rubbish: bytes) -> None:
    source = running(f"os.write(3, {rubbish!r})\ntime.sleep(5)", "rubbish")
    sentence = await told(host, source, seconds=0.5)
    assert "was lost: It sent" in sentence or "was stopped" in sentence


async def test_an_answer_for_another_call_is_its_own_plugins_matter_only(host: PluginHost) -> None:
    body = """os.write(3, b''.join(len(f).to_bytes(4, "little") + f for f in
    (b'{"op":"result","id":%d,"value":"forged"}' % n for n in range(1000))))\nreturn 'mine'"""
    fine = asyncio.create_task(host.call(FINE, "fine", {}))
    assert await told(host, running(body, "forges")) in {"returned 'forged'", "returned 'mine'"}
    assert await fine == "fine"


async def test_a_flood_of_questions_is_held_up(host: PluginHost) -> None:
    at_once, most = 0, 0

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    source = tool(
        """
        async def run(self, __event_emitter__):
            await asyncio.gather(*(__event_emitter__({"n": n}) for n in range(5_000)))
        """
    )
    assert await told(host, source, answer=answer) == "returned None"
    assert most <= 64


async def test_questions_without_end_end_with_the_call(host: PluginHost) -> None:
    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        return "x" * 1000

    source = tool(
        """
        async def run(self, __event_emitter__):
            while True:
                asyncio.ensure_future(__event_emitter__({}))
                await asyncio.sleep(0)
        """
    )
    assert "was stopped" in await told(host, source, answer=answer, seconds=1)


async def test_what_does_not_read_its_answers_is_ended(host: PluginHost) -> None:
    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        return "x" * (4 << 20)

    source = tool(
        """
        async def run(self):
            # It holds the loop's thread, which would read the answers.
            pipe = socket.socket(fileno=os.dup(3))
            pipe.setblocking(True)
            for n in range(1_000):
                pipe.sendall(pack({"op": "ask", "ask": n + 10_000, "id": CALL.get(), "name": "x", "arguments": {}}))
        """,
        "deaf",
        head="import socket\nfrom oui_sandbox.channel import CALL\nfrom oui_sandbox.protocol import pack",
    )
    sentence = await told(host, source, answer=answer, seconds=5)
    assert "did not read" in sentence or "was stopped" in sentence


async def test_an_answer_too_long_is_refused(host: PluginHost) -> None:
    assert "at most 16,777,216 may be sent at once" in await told(host, running("return 'x' * (20 << 20)"))
    assert "nested too deeply" in await told(host, running("x = []\nfor _ in range(100_000): x = [x]\nreturn x"))
    assert "Circular" in await told(host, running("x = []\nx.append(x)\nreturn x"))


async def test_patches_stay_where_they_are_made(host: PluginHost) -> None:
    body = "import json, socket, builtins, oui_sandbox.channel\njson.loads = json.dumps = builtins.len = None\nreturn 1"
    assert await told(host, running(body, "patches"))
    assert await told(host, running("import json\nreturn json.loads('[1]')", "other")) == "returned [1]"


async def test_the_servers_own_code_is_not_imported(host: PluginHost) -> None:
    for name in ("open_webui.state", "open_webui.models.auths", "open_webui.internal"):
        with pytest.raises(PluginFailed, match=f"{name} is not there for plugins of this server"):
            await host.load(tool("pass", "importer", head=f"import {name}"))
