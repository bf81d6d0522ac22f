"""How many notebooks there is memory for."""

import pytest

from open_webui.env import Settings
from open_webui.services.code import sandbox


@pytest.mark.parametrize(
    ("machine", "settings", "places"),
    [
        (4 * 2**30, {}, 2), (64 * 2**30, {}, 24), (2**30, {}, 1), (None, {}, 24), (64 * 2**30, {"code_memory_mb": 3_000}, 2),
        (64 * 2**30, {"code_memory_mb": 100}, 1), (16 * 2**30, {"uvicorn_workers": 4}, 2),
        (16 * 2**30, {"plugin_memory_mb": 512}, 16),
    ],
)  # fmt: skip
def test_there_is_memory_for_so_many(
    monkeypatch: pytest.MonkeyPatch, machine: int | None, settings: dict[str, int], places: int
) -> None:
    """Half of the machine's, over all processes, unless an admin says otherwise; and always for one."""
    monkeypatch.setattr(sandbox, "machine_memory", lambda: machine)
    assert sandbox.room_for(Settings(env="test", **settings)) == places  # type: ignore[arg-type]
