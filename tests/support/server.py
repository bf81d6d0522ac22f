"""The real server: the command line in a process of its own, which can be killed and started again on the same data."""

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support import template
from tests.support.process import clean_environment, die_with_parent, free_port
from tests.support.starter import Started, Starter

START_SECONDS = 30
SECRET = "a secret that is long enough for tests"
# What an interpreter, its libraries or an import reads before the server does.
_READ_EARLY = ("PYTHON", "LD_", "MALLOC_", "UV_")
_starter = Starter()
Process = subprocess.Popen[bytes] | Started


class Server:
    """`python -m open_webui.cli serve` on a free port. `environment` adds to what it starts with; see `start`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """`folder` takes the data (in `data/`), the log and the working directory, where no `.env` lies."""
        # What is run; another one brings the same commands.
        self.module = "open_webui.cli"
        # Whether its start is that of a program, with all imports, and a database of its own is made by migrations: for tests
        # of starts, and of memory.
        self.from_nothing = False
        self.folder = folder
        self.port = free_port()
        self.log_path = folder / "server.log"
        self.environment = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(folder / "data"),
            "WEBUI_SECRET_KEY": SECRET,
            **(environment or {}),
        }
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All it has printed, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def launch(self, *arguments: str) -> Process:
        """Starts the process and returns at once."""
        assert self._process is None or self._process.poll() is not None, "the server runs already"
        environment = clean_environment(self.environment)
        with self.log_path.open("ab") as log:
            if arguments or self.from_nothing or self._reads_early():
                self._process = subprocess.Popen(
                    [sys.executable, "-m", self.module, *(arguments or ("serve",))],
                    cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
                )  # fmt: skip
            else:
                if "DATABASE_URL" not in environment and "DATA_DIR" in environment:
                    template.put(Path(environment["DATA_DIR"]))
                self._process = _starter.start(self.module, ["serve"], self.folder, environment, log.fileno())
        return self._process

    def _reads_early(self) -> bool:
        return any(name.startswith(_READ_EARLY) and name != "PYTHONPATH" for name in self.environment)

    def start(self) -> "Server":
        """Starts it and waits until /health answers. Raises RuntimeError with its log when it does not."""
        process = self.launch()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self.healthy():
                return self
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"The server did not start (exit {process.returncode}).\n{self.log}")

    def healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL, as a crash or a power cut: nothing is flushed, nothing is said."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)

    def stop(self, timeout: float = 20) -> int:
        """SIGTERM, as `docker stop`. Returns the exit status."""
        assert self._process is not None, "the server was not started"
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=timeout)

    def wait(self, timeout: float = START_SECONDS) -> int:
        """Waits for it to end by itself, as it does when it can't start. Returns the exit status."""
        assert self._process is not None, "the server was not started"
        return self._process.wait(timeout=timeout)
