"""Code in its real confined process: what comes of it, what it remembers, and what it can't do however it tries."""

import asyncio
import time

import pytest

from open_webui.errors import TooManyRequests
from open_webui.plugins.source import CODE
from open_webui.principal import Principal
from open_webui.services.code import sandbox
from tests.open_webui.code.conftest import ANN, BOB, Runs
from tests.support.plugins import until

JUNK = """
import os, time
for number in range(3, 30):
    try: os.write(number, b'junk' * 100)
    except OSError: pass
time.sleep(9)
"""
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("code", "stdout", "result", "stderr"),
    [
        ("print('hello')\n1 + 1", "hello\n", "2", ""),
        ("x = 3", "", None, ""),
        ("None", "", None, ""),
        ("def f():\n    return 1 / 0\nf()", "", None, "ZeroDivisionError: division by zero"),
        ("if True\n  pass", "", None, "SyntaxError: expected ':'"),
        ("import sys\nprint('so far')\nsys.exit(2)", "so far\n", None, "It ended with 2."),
        ("raise SystemExit", "", None, ""),
        ("import asyncio\nawait asyncio.sleep(0, 'slept')", "", "'slept'", ""),
        ("import asyncio\nasyncio.run(asyncio.sleep(0, 'slept'))", "", "'slept'", ""),
        ("if __name__ == '__main__':\n    print('main')", "main\n", None, ""),
        ("input('? ')", "? ", None, "EOFError"),
        ("class Odd:\n    def __repr__(self): raise ValueError('no')\nOdd()", "", None, "ValueError: no"),
        ("print('ünï \\ud800')", "ünï ?\n", None, ""),
    ],
)
async def test_what_comes_of_it(ran: Runs, code: str, stdout: str, result: str | None, stderr: str) -> None:
    got = await ran(code, chat="simple")
    assert (got.stdout, got.result) == (stdout, result)
    assert stderr in got.stderr if stderr else got.stderr == ""


async def test_an_error_is_told_by_the_lines_of_the_code_alone(ran: Runs) -> None:
    got = await ran("def f():\n    return {}['a']\nf()", chat="simple")
    assert "return {}['a']" in got.stderr
    assert "notebook.py" not in got.stderr


async def test_a_chat_knows_what_it_named_and_no_other_does(ran: Runs) -> None:
    await ran("secret = 'papaya'\nopen('note.txt', 'w').write(secret)", chat="c1")
    assert (await ran("secret, open('note.txt').read()", chat="c1")).result == "('papaya', 'papaya')"
    for chat, who in (("c2", None), ("c1", BOB), (None, None)):
        got = await ran(
            "import os\nprint(os.listdir())\nsecret", chat=chat, **({"who": who} if who is not None else {})
        )
        assert (got.stdout, "NameError" in got.stderr) == ("[]\n", True), chat


async def test_files_that_it_writes_come_back(ran: Runs) -> None:
    code = """
    import os
    open('out.csv', 'w').write('a,b')
    os.makedirs('plots'); open('plots/deep.txt', 'w').write('deep')
    open('.hidden', 'w').write('h')
    open('large.bin', 'wb').write(bytes(11 * 2**20))
    os.symlink('/etc/passwd', 'link')
    """
    got = await ran("if True:" + code, chat="files")
    assert got.files == {"out.csv": b"a,b", "deep.txt": b"deep"}
    assert got.left_out == ("large.bin",)
    assert (await ran("1", chat="files")).files == {}
    assert (await ran("_ = open('out.csv', 'a').write('c')", chat="files")).files == {"out.csv": b"a,bc"}


async def test_a_value_that_is_a_picture_is_one(ran: Runs) -> None:
    got = await ran("from PIL import Image\nImage.new('RGB', (4, 4), 'red')", chat="picture")
    assert [picture[:4] for picture in got.pictures] == [b"\x89PNG"], got.stderr


async def test_a_flood_is_cut(ran: Runs) -> None:
    got = await ran("while True: print('x' * 100_000)", chat="flood")
    assert "Code may print 16 million characters" in got.stderr
    assert len(got.stdout) < 110_000
    assert "characters are left out" in got.stdout
    assert len((await ran("'y' * 10**7", chat="flood")).result or "") < 110_000


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("open('/proc/1/environ').read()", "PermissionError"),
        ("open('/proc/self/maps').read()", "PermissionError"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open('/tmp/oui-there', 'w')", "PermissionError"),
        ("import os\nos.listdir('/')", "PermissionError"),
        ("import os\nos.fork()", "PermissionError"),
        ("import subprocess\nsubprocess.run(['ls'])", "PermissionError"),
        ("import ctypes\nctypes.CDLL(None).fork() == -1 or 1 / 0\nraise OSError('no child')", "no child"),
        ("import os\nos.kill(1, 9)", "PermissionError"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "Code that is run here may not use the network."),
        ("import urllib.request\nurllib.request.urlopen('http://example.com')", "may not use the network"),
        ("import multiprocessing as m\nm.Process(target=print).start()", "PermissionError"),
        ("x = bytearray(10**10)", "MemoryError"),
        ("open('big', 'wb').write(bytes(100 * 2**20))", "File too large"),
        ("import open_webui.state", "ImportError"),
    ],
)
async def test_hostile_code_ends_with_a_sentence(ran: Runs, code: str, told: str) -> None:
    got = await ran(code, chat="hostile")
    assert told in got.stderr, got
    assert got.files == {} or told == "File too large"


async def test_the_environment_holds_no_secret(ran: Runs) -> None:
    got = await ran("import os\nsorted(set(os.environ) - {'LANG', 'LC_ALL', 'TZ', 'SSL_CERT_FILE', 'SSL_CERT_DIR'})")
    assert got.result == str(
        ["DATA_DIR", "HOME", "MPLBACKEND", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "TMPDIR"]
    )


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(1000)",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import asyncio\nawait asyncio.sleep(1000)",
    ],
)
async def test_what_does_not_end_is_ended(ran: Runs, code: str) -> None:
    began = time.monotonic()
    got = await ran(code, chat="endless", seconds=0.3)
    assert got.stderr == "The code took longer than 0.3 seconds, and was stopped."
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\nos._exit(3)", "its process ended by itself (with 3)"),
        ("import ctypes\nctypes.string_at(0)", "ended by signal"),
        (JUNK, "The code was lost"),
    ],
)  # fmt: skip
async def test_a_process_that_is_lost_is_replaced_at_once(ran: Runs, code: str, told: str) -> None:
    chat = f"lost {told}"
    await ran("a = 1", chat=chat)
    for _ in range(3):
        assert told in (await ran(code, chat=chat)).stderr
    got = await ran("a", chat=chat)
    assert ("NameError" in got.stderr, got.notes) == (True, (sandbox.FORGOT,))
    assert (await ran("1", chat=chat)).notes == ()


async def test_what_it_says_of_itself_is_looked_at(ran: Runs) -> None:
    code = """
import sys
notebook = sys._getframe()
while 'self' not in notebook.f_locals or type(notebook.f_locals['self']).__name__ != 'Pipe':
    notebook = notebook.f_back
"""
    kind = f"{code}kind = type(notebook.f_locals['self'])\nkind.pipe = lambda self, code, files: "
    assert (await ran(f"{kind}{{'stdout': 7}}", chat="liar")).stderr == ""
    with pytest.raises(Exception, match="broke the process"):
        await ran("1", chat="liar")
    whole = (
        "dict(stdout='', stderr='', result=None, pictures=[], left_out=[], files={'../../etc/x': 'AAAA', '/a\\0b': ''})"
    )
    await ran(f"{kind}{whole}", chat="liar 2")
    assert set((await ran("1", chat="liar 2")).files) == {"x", "a_b"}


async def test_a_person_has_some_and_the_oldest_idle_one_goes(ran: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_OF_A_PERSON", 2)
    who = Principal(id="eve", role="user", name="Eve", email="eve@example.com")
    await ran("a = 1", chat="1", who=who)
    await ran("a = 2", chat="2", who=who)
    await ran("a = 3", chat="3", who=who)
    assert [(await ran("a", chat=chat, who=who)).result for chat in ("2", "3")] == ["2", "3"]
    busy = [asyncio.create_task(ran("import time; time.sleep(600)", chat=chat, who=who)) for chat in ("2", "3")]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="in 2 chats already"):
        await ran("a", chat="4", who=who)
    for task in busy:
        task.cancel()
    await asyncio.wait(busy)


async def test_a_stop_ends_it(ran: Runs) -> None:
    task = asyncio.create_task(ran("while True: pass", chat="stopped"))
    entries = ran.sandbox._deps.plugins._entries

    async def runs() -> bool:
        entry = entries.get((CODE, "ann/stopped"))
        return entry is not None and entry.worker is not None and entry.worker.is_busy

    await until(runs)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ran("1 + 1", chat="stopped")).result == "2"


async def test_where_no_memory_is_left_an_idle_one_goes_and_a_busy_one_stays(
    ran: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another person's too: what counts is which one nobody has used for longest."""
    monkeypatch.setattr(ran.sandbox, "_most", len(ran.sandbox._notebooks) + 2)
    await ran("a = 1", chat="idle", who=BOB)
    busy = asyncio.create_task(ran("import time; time.sleep(600)", chat="busy", who=ANN))
    await asyncio.sleep(0)
    monkeypatch.setattr(ran.sandbox, "_most", 2)
    kept = {key for key, notebook in ran.sandbox._notebooks.items() if not notebook.waiting}
    for key in kept - {"bob/idle"}:
        ran.sandbox._drop(key)
    assert (await ran("a = 2", chat="next", who=Principal(id="cy", role="user", name="Cy", email="c@x"))).stderr == ""
    assert set(ran.sandbox._notebooks) == {"ann/busy", "cy/next"}
    other = asyncio.create_task(ran("import time; time.sleep(600)", chat="next 2", who=BOB))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="memory for 2 pieces of code at once") as refused:
        await ran("1", chat="third", who=Principal(id="dee", role="user", name="Dee", email="d@x"))
    assert "CODE_MEMORY_MB" in refused.value.detail
    for task in (busy, other):
        task.cancel()
    await asyncio.wait([busy, other])
