"""Threads share what the C library keeps, so that a large value leaves it behind once and not in each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Eight threads that hold something at once; then glibc tells of its arenas.
CODE = """
import ctypes, sys, threading
from open_webui.internal.trimming import share_arenas
if sys.argv[2] == "shared":
    share_arenas()
gate = threading.Barrier(9)
def hold():
    kept = [bytearray(2_000) for _ in range(50)]
    gate.wait()
    gate.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
gate.wait()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fopen(sys.argv[1].encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
gate.wait()
"""


def arenas(folder: Path, how: str, **variables: str) -> int:
    told = folder / "told.xml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    subprocess.run([sys.executable, "-c", CODE, str(told), how], env=environment, check=True)
    return len(re.findall("<heap nr=", told.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_threads_share_what_the_library_keeps(tmp_path: Path) -> None:
    assert arenas(tmp_path, "shared") <= 2 < arenas(tmp_path, "alone")
    # The operator's word counts.
    assert arenas(tmp_path, "shared", MALLOC_ARENA_MAX="5") > 2
