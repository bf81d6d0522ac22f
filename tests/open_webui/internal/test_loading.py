import asyncio
import builtins
import sys
import threading
from pathlib import Path

import pytest

from open_webui.utils.loading import load

# Names of builtins are those that both can see.
PART = """import builtins
builtins.begun.set()
builtins.go_on.wait(30)
def ready(): return True
"""


async def test_a_module_that_another_thread_imports_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(builtins, "begun", begun, raising=False)
    monkeypatch.setattr(builtins, "go_on", go_on, raising=False)
    (tmp_path / "oui_loaded_late.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    first = asyncio.create_task(load("oui_loaded_late"))
    try:
        await asyncio.to_thread(begun.wait, 30)
        assert not hasattr(sys.modules["oui_loaded_late"], "ready")
        second = asyncio.create_task(load("oui_loaded_late"))
        await asyncio.sleep(0)
    finally:
        go_on.set()
    assert (await first).ready()
    assert (await second) is await first
    assert await load("oui_loaded_late") is await first
    del sys.modules["oui_loaded_late"]
