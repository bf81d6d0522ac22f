"""What an error says about installing an extra works where the reader is."""

import shutil
import sys
from pathlib import Path

import pytest

from llamaforge import exceptions
from llamaforge.exceptions import MissingExtraError, how_to_install
from synthora import exceptions as synthora_exceptions


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose code runs."""
    folder = tmp_path.resolve() / "a clone"
    (folder / "src" / "llamaforge").mkdir(parents=True)
    (folder / "start.sh").touch()
    monkeypatch.setattr(exceptions, "__file__", str(folder / "src" / "llamaforge" / "exceptions.py"))
    return folder


def test_in_the_clones_environment_it_is_the_start(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(clone / ".venv"))
    assert how_to_install("llamacpp") == f"OUI_EXTRAS=llamacpp ./start.sh (in {clone})"
    assert str(MissingExtraError("llamacpp", "xllamacpp")) == (
        f"xllamacpp is not installed. Install it with: OUI_EXTRAS=llamacpp ./start.sh (in {clone})"
    )
    said = str(synthora_exceptions.MissingExtraError("synthora", "openai"))
    assert said == f"openai is not installed. Install it with: OUI_EXTRAS=synthora ./start.sh (in {clone})"
    monkeypatch.setattr(sys, "platform", "win32")
    assert "start_windows.bat" in how_to_install("llamacpp")


def test_in_another_environment_it_is_the_clones_path(clone: Path) -> None:
    assert how_to_install("openai") == f"pip install '{clone}[openai]'"


def test_where_no_clone_is_known_it_says_so(clone: Path) -> None:
    shutil.rmtree(clone)
    assert how_to_install("openai") == "pip install '<folder of the clone>[openai]'"
