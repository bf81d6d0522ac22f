"""What the tests of the engines share: tiny models, each written once a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import tiny_gguf as writers


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says "Hello from the tiny test model."."""
    return writers.write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def gguf_that_says(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a model that says `text`; other arguments are those of `tests.support.tiny_gguf.write_gguf`."""
    folder = tmp_path_factory.mktemp("gguf")
    written: dict[str, Path] = {}

    def make(text: str = writers.HELLO, **others: object) -> Path:
        key = repr((text, sorted(others.items())))
        if key not in written:
            written[key] = writers.write_gguf(folder / f"model{len(written)}.gguf", says=text, **others)  # type: ignore[arg-type]
        return written[key]

    return make
