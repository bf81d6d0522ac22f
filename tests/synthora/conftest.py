"""What the tests of synthora share: providers, found by the environment or not, and a tiny model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tiny_gguf as writers
from tests.support.upstream import Upstream
from tests.synthora.support import Provider


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in ("API_KEY", "BASE_URL"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    for name in ("API_KEY", "ENDPOINT", "API_VERSION"):
        monkeypatch.delenv(f"AZURE_OPENAI_{name}", raising=False)


@pytest.fixture
def openai(upstream: Upstream, monkeypatch) -> Upstream:
    """The usual provider, which backends find by the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return upstream


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says "Hello from the tiny test model."."""
    return writers.write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
