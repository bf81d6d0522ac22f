"""All hostile plugins once more, with a server that is not root."""

import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from oui_sandbox import kernel

HOSTILE = Path(__file__).with_name("test_plugins.py")


def _become_nobody() -> None:
    """Python may lie in a folder of root's: then the one privilege is kept that it is read with."""
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    head = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=IIIIII", 4, 4, 4, 0, 0, 0)
    kernel.syscall(126, head, ctypes.create_string_buffer(data, len(data)))
    kernel.prctl(47, 2, 2)  # PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0 or kernel.ARCHITECTURE != 0, reason="only root can become somebody else")
def test_all_of_it_with_a_server_that_is_not_root() -> None:
    folder = tempfile.mkdtemp(prefix="oui-nobody-")
    Path(folder).chmod(0o777)
    own = {
        "HOME": folder, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis",
    }  # fmt: skip
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/base"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(HOSTILE)],
        preexec_fn=_become_nobody, env={**os.environ, **own}, cwd=HOSTILE.parents[2],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
