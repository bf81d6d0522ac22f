"""The page's pure modules (tree, stream, blocks, turns) have their tests in JavaScript; Node runs them here."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def test_the_pure_modules() -> None:
    node = shutil.which("node")
    assert node is not None, "These tests need Node 20 or newer: install the system package `nodejs`."
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
