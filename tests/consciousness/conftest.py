"""What these tests share: a text-generation-webui, tiny models, and an environment without settings of one's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import tiny_gguf as writers
from tests.support.tiny_transformers import write_model
from tests.support.webui import WebUI, serve


@pytest.fixture(autouse=True)
def _a_users_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tmp_path / "models"))
    for name in ("OOBABOOGA_BASE_URL", "OOBABOOGA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def webui() -> AsyncIterator[WebUI]:
    async with serve() as server:
        yield server


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says "Hello from the tiny test model."."""
    return writers.write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a Transformers folder."""
    return write_model(tmp_path_factory.mktemp("transformers") / "model")
