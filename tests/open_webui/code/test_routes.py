"""The page about running code, and blocks that people run."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.config.code import DEFAULT
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CONFIG = "/api/v1/configs/code_execution"
EXECUTE = "/api/v1/utils/code/execute"


async def test_settings_are_shown_and_stored(admin: Actor, user: Actor) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    assert (len(shown), shown["CODE_INTERPRETER_ENGINE"], shown["ENABLE_CODE_EXECUTION"]) == (15, DEFAULT, True)
    form = shown | {
        "CODE_INTERPRETER_ENGINE": "jupyter",
        "CODE_INTERPRETER_JUPYTER_URL": " http://localhost:8888 ",
        "CODE_INTERPRETER_JUPYTER_AUTH": "token",
        "CODE_INTERPRETER_JUPYTER_AUTH_TOKEN": "s3cret",
        "CODE_INTERPRETER_JUPYTER_TIMEOUT": None,
        "CODE_INTERPRETER_PROMPT_TEMPLATE": None,
        "CODE_EXECUTION_ENGINE": "pyodide",
    }
    stored = (await admin.client.post(CONFIG, json=form)).json()
    assert stored == form | {
        "CODE_INTERPRETER_JUPYTER_URL": "http://localhost:8888",
        "CODE_INTERPRETER_JUPYTER_TIMEOUT": 60,
        "CODE_INTERPRETER_PROMPT_TEMPLATE": "",
    }
    assert (await admin.client.get(CONFIG)).json() == stored
    site = (await user.client.get("/api/config")).json()
    assert site["code"] == {"engine": "pyodide", "interpreter_engine": "jupyter"}
    assert (site["features"]["enable_code_execution"], site["features"]["enable_code_interpreter"]) == (True, True)
    assert "s3cret" not in str(site)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENGINE", "perl"), ("ENGINE", None), ("JUPYTER_URL", "ftp://x"), ("JUPYTER_URL", "http://a b"), ("JUPYTER_URL", 7),
        ("JUPYTER_AUTH", "magic"), ("JUPYTER_TIMEOUT", 0), ("JUPYTER_TIMEOUT", 10**30), ("JUPYTER_TIMEOUT", "soon"),
        ("JUPYTER_AUTH_TOKEN", "x" * 10**6), ("JUPYTER_AUTH_TOKEN", [1]),
    ],
)  # fmt: skip
async def test_what_can_not_be_is_refused_by_name(admin: Actor, name: str, value: Any) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    for area in ("CODE_EXECUTION", "CODE_INTERPRETER"):
        reply = await admin.client.post(CONFIG, json=shown | {f"{area}_{name}": value})
        assert (reply.status_code, f"{area}_{name}" in reply.text) == (422, True)
    assert (await admin.client.get(CONFIG)).json() == shown


async def test_a_jupyter_server_needs_an_address(admin: Actor) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    form = shown | {"CODE_EXECUTION_ENGINE": "jupyter"}
    reply = await admin.client.post(CONFIG, json=form)
    assert (reply.status_code, "CODE_EXECUTION_JUPYTER_URL is missing" in reply.json()["detail"]) == (422, True)
    assert (await admin.client.post(CONFIG, json=form | {"ENABLE_CODE_EXECUTION": False})).status_code == 200
    assert (await admin.client.post(CONFIG, json={})).status_code == 422
    nul = await admin.client.post(CONFIG, json=shown | {"CODE_EXECUTION_JUPYTER_AUTH_TOKEN": "a\0b"})
    assert nul.status_code in {200, 400, 422}


async def test_a_block_is_run_each_time_anew(user: Actor) -> None:
    run = user.client.post
    assert (await run(EXECUTE, json={"code": "x = 4\nprint('hi')\nx"})).json() == {
        "stdout": "hi\n", "stderr": "", "result": "4",
    }  # fmt: skip
    assert "NameError" in (await run(EXECUTE, json={"code": "x"})).json()["stderr"]
    drawn = (await run(EXECUTE, json={"code": "from PIL import Image\nImage.new('L', (3, 3))"})).json()
    assert drawn["result"].splitlines()[-1].startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize("body", [{}, {"code": 7}, {"code": ""}, {"code": "a\0b"}, {"code": "x" * 300_000}])
async def test_what_is_no_code_is_refused(user: Actor, body: dict[str, Any]) -> None:
    assert (await user.client.post(EXECUTE, json=body)).status_code in {400, 422}


async def test_it_takes_the_setting_and_the_permission(live: Live, admin: Actor, user: Actor) -> None:
    save = live.app.state.oui.save_config
    await save({"code_execution.engine": "pyodide"})
    reply = await user.client.post(EXECUTE, json={"code": "1"})
    assert (reply.status_code, "'pyodide'" in reply.json()["detail"]) == (400, True)
    await save({"code_execution.engine": "nonsense"})
    assert (await user.client.post(EXECUTE, json={"code": "1"})).status_code == 400
    await save({"code_execution.engine": "jupyter"})
    assert "address is missing" in (await user.client.post(EXECUTE, json={"code": "1"})).json()["detail"]
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["features"]["code_interpreter"] = False
    await admin.client.post("/api/v1/users/default/permissions", json=permissions)
    assert (await user.client.post(EXECUTE, json={"code": "1"})).status_code == 403
    await save({"code_execution.enable": False})
    assert (await admin.client.post(EXECUTE, json={"code": "1"})).status_code == 403


async def test_a_machine_that_can_not_confine_says_so(
    make_live: Callable[..., Awaitable[Live]], user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_webui.plugins.starting.sys.platform", "darwin")
    reply = await user.client.post(EXECUTE, json={"code": "1"})
    assert (reply.status_code, "Linux only" in reply.json()["detail"]) == (503, True)
