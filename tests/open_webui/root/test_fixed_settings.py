"""What the environment fixes can't be changed by a page, and is never said to be saved."""

from typing import Any

import pytest

from open_webui.config import Config
from tests.support.live import Actor, Live

GENERAL = "/api/v1/auths/admin/config"
URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fixed here."""
    monkeypatch.setenv("ENABLE_SIGNUP", "true")
    monkeypatch.setenv("OPENAI_API_BASE_URL", f"{URL}/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("TASK_MODEL_EXTERNAL", "small")


async def test_a_change_of_what_is_fixed_is_refused_by_name(live: Live, admin: Actor) -> None:
    shown = (await admin.client.get(GENERAL)).json()
    reply = await admin.client.post(GENERAL, json=shown | {"ENABLE_SIGNUP": False, "DEFAULT_USER_ROLE": "user"})
    assert reply.status_code == 400
    assert "ui.enable_signup (by ENABLE_SIGNUP)" in reply.json()["detail"]
    assert "Nothing was saved" in reply.json()["detail"]
    assert (await admin.client.get(GENERAL)).json() == shown
    # What a page posts back as it was is no change.
    reply = await admin.client.post(GENERAL, json=shown | {"DEFAULT_USER_ROLE": "user"})
    assert (reply.status_code, reply.json()["DEFAULT_USER_ROLE"]) == (200, "user")


async def test_connections_say_which_variable_fixes_them(live: Live, admin: Actor) -> None:
    post = admin.client.post
    form: dict[str, Any] = {"OPENAI_API_BASE_URLS": [URL], "OPENAI_API_KEYS": ["sk-1"], "OPENAI_API_CONFIGS": {}}
    saved = await post("/openai/config/update", json=form | {"ENABLE_OPENAI_API": False})
    assert (saved.status_code, saved.json()["ENABLE_OPENAI_API"]) == (200, False)
    more = {"OPENAI_API_BASE_URLS": [URL, "http://other/v1"], "OPENAI_API_KEYS": ["sk-1", "sk-secret"]}
    reply = await post("/openai/config/update", json=form | more)
    assert reply.status_code == 400
    assert "OPENAI_API_BASE_URL)" in reply.json()["detail"]
    assert "OPENAI_API_KEY)" in reply.json()["detail"]
    assert "sk-" not in reply.json()["detail"]
    tasks = (await admin.client.get("/api/v1/tasks/config")).json()
    reply = await post("/api/v1/tasks/config/update", json=tasks | {"TASK_MODEL_EXTERNAL": "large"})
    assert (reply.status_code, "TASK_MODEL_EXTERNAL" in reply.json()["detail"]) == (400, True)


async def test_a_file_of_settings_is_taken_as_far_as_it_may(live: Live, admin: Actor) -> None:
    given = {"config": {"ui": {"enable_signup": False, "watermark": "Ours"}}}
    reply = (await admin.client.post("/api/v1/configs/import", json=given)).json()
    assert (reply["ui.enable_signup"], reply["ui.watermark"]) == (True, "Ours")


async def test_pages_are_told_what_is_fixed(live: Live, admin: Actor, user: Actor) -> None:
    fixed = (await admin.client.get("/api/v1/configs/fixed")).json()
    assert fixed["ui.enable_signup"] == "ENABLE_SIGNUP"
    assert fixed["openai.api_keys"] == "OPENAI_API_KEY"
    assert "ui.name" not in fixed
    assert (await user.client.get("/api/v1/configs/fixed")).status_code == 401


@pytest.mark.parametrize(
    ("variable", "text", "key", "value", "refused"),
    [
        ("OPENAI_API_KEYS", "a;", "openai.api_keys", ["a", "", ""], False),
        ("OPENAI_API_KEYS", "a;", "openai.api_keys", ["", "a"], True),
        ("OLLAMA_BASE_URLS", "http://x/", "ollama.base_urls", ["http://x"], False),
        ("OLLAMA_BASE_URLS", "http://x", "ollama.base_urls", [], True),
        ("ADMIN_EMAIL", "", "auth.admin.email", None, False),
        ("ENABLE_SIGNUP", "false", "ui.enable_signup", None, True),
        ("ENABLE_SIGNUP", "false", "ui.enable_signup", False, False),
        ("OLLAMA_API_CONFIGS", "{}", "ollama.api_configs", {"0": {}}, True),
    ],
)
def test_what_counts_as_a_change(variable: str, text: str, key: str, value: object, refused: bool) -> None:
    assert Config({variable: text}).refused({key: value}) == ({key: variable} if refused else {})
