"""RichOutputHandler in a real terminal: a child process on a pseudo-terminal, its bytes read as a screen has them."""

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, sys
from synthora.callbacks import RichOutputHandler
from synthora.messages import user
from synthora.models import Reply, ScriptedBackend
from synthora.types import Err, Node, NodeType, Ok

handler = RichOutputHandler()
model = ScriptedBackend(name="Ada", handlers=[handler], answers=[
    Reply("A **bold** answer.", delay=0.2),
    Reply(chunks=["# Head", "line\\n\\n", "grows ", "here \\x1b]0;owned\\x07."], delay=0.15),
    Reply(tool_calls=[{"id": "a", "function": {"name": "add", "arguments": "{}"}}]),
    OSError("the wire is cut"),
])
agent, tool = Node(name="agent", type=NodeType.AGENT), Node(name="add", type=NodeType.TOOL)
handler.on_agent_start(agent, user("the task"))
model.run(user("x"))
asyncio.run(asyncio.sleep(0))
list(model.run(user("x"), stream=True))
model.run(user("x"))
try:
    model.run(user("x"))
except OSError:
    pass
handler.on_tool_start(tool, 1, b=2)
handler.on_tool_end(tool, Ok({"sum": 3}))
handler.on_tool_error(tool, Err(KeyError("k"), "no such tool"))
handler.on_agent_end(agent, "the response")
handler.on_agent_error(agent, Err(KeyError("k"), "it failed"))
handler.json_print({"json": [1]})
handler.panel_print("styled", "title", style="green")
handler.update_status("busy"); handler.done_all(); handler.clear()
print("END")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_in_terminal(program: str) -> bytes:
    """All that a program writes to a terminal of 80 x 24."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    data = os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
                written += data
        assert child.wait(5) == 0, written.decode()
    finally:
        child.kill()
        child.wait()
        os.close(master)
    return written


@pytest.fixture(scope="module")
def written() -> str:
    return run_in_terminal(PROGRAM).decode()


def test_it_is_shown(written):
    shown = ESCAPES.sub("", written)
    for text in (
        "the task", "Ada is thinking...", "A bold answer.", "Headline", "grows here", "Ada calls", "add({})",
        "OSError: the wire is cut", '"sum": 3', "no such tool", "the response", "it failed", '"json"', "styled",
        "Calling Tool: add",
    ):  # fmt: skip
        assert text in shown, text
    order = [shown.index(text) for text in ("the task", "Ada is thinking", "A bold answer.", "grows here", "END")]
    assert order == sorted(order)


def test_a_stream_grows_in_place(written):
    assert written.index("Headline") < written.index("grows")
    assert written.count("\x1b[1A") > 3  # the cursor goes up, and the panel is drawn again


def test_a_model_does_not_command_the_terminal(written):
    assert "\x1b]0;" not in written
    assert "\x07" not in written


def test_the_terminal_is_given_back(written):
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0  # the cursor hidden, and shown again
    assert written.rstrip().endswith("END")


def test_without_a_terminal():
    from io import StringIO

    from rich.console import Console

    from synthora.callbacks import RichOutputHandler
    from synthora.messages import user
    from synthora.models import ScriptedBackend

    out = StringIO()
    handler = RichOutputHandler(Console(file=out, width=40))
    model = ScriptedBackend(answers=["a b", "c d"], handlers=[handler])
    list(model.run(user("x"), stream=True))
    model.run(user("x"))
    assert handler._live is None
    assert "a b" in out.getvalue()
    assert "c d" in out.getvalue()
