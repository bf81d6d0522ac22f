"""The strict provider of OpenID (npm `oidc-provider`), started for a test; tests/support/mcp_server.py brings it here."""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support import mcp_server

PROGRAM = mcp_server.WANTED / "oidc-provider.mjs"
CLIENT, SECRET = "oui", "a-secret-of-tests"


class StrictProvider:
    """The running provider."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def person(self, **claims: Any) -> None:
        """Who signs in next."""
        httpx.post(f"{self.url}/control/person", json=claims, trust_env=False).raise_for_status()

    def sign_out(self, subject: str, sid: str) -> None:
        """Tells its client that somebody signed out. The client has to be in another process or thread."""
        told = {"sub": subject, "sid": sid}
        httpx.post(f"{self.url}/control/logout", json=told, trust_env=False, timeout=30).raise_for_status()


@contextmanager
def strict_provider(port: int, base: str) -> Iterator[StrictProvider]:
    """One at this port, for a server at this address."""
    node, _ = mcp_server.conformance()
    # Modules are looked for beside the program.
    program = mcp_server.CACHE / PROGRAM.name
    program.write_bytes(PROGRAM.read_bytes())
    places = [f"{base}/oauth/oidc/callback", f"{base}/oauth/backchannel-logout", f"{base}/auth"]
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [node, str(program), str(port), *places],
        env={"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
    )  # fmt: skip
    try:
        for _ in range(1_000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"The provider does not start: {said.read().decode(errors='replace')}")
            time.sleep(0.02)
        else:
            raise TimeoutError("The provider does not come up.")
        yield StrictProvider(port)
    finally:
        process.kill()
        process.wait()
        said.close()
