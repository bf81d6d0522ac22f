"""Settings that nothing reads yet: each of Open WebUI's acts, is kept, or is refused by name. None is taken and forgotten."""

from pathlib import Path

import pytest

from open_webui.config import BY_KEY, SETTINGS, Config, effect, kept, refusal
from tests.support.live import Actor, Live

KEYS = (Path(__file__).parents[2] / "contract" / "setting_keys.txt").read_text(encoding="utf-8").split()
GENERAL = "/api/v1/auths/admin/config"
CHATS = "/api/v1/chats/config"
SUBAGENTS = "/api/v1/configs/subagents"
IMPORT = "/api/v1/configs/import"
EXPORT = "/api/v1/configs/export"


def test_of_every_setting_it_is_said_what_becomes_of_it() -> None:
    assert len(KEYS) == len(set(KEYS)) == 432
    known = {key: effect(key) for key in KEYS}
    assert [key for key, what in known.items() if not what] == []
    declared = {s.key for s in SETTINGS}
    assert {key for key, what in known.items() if what == "acts"} <= declared
    for key, what in known.items():
        assert (key in BY_KEY) is (what != "refused"), key
        assert what != "refused" or refusal(key, ""), key


def test_what_is_kept_has_a_default_that_it_may_be_stored_with() -> None:
    config = Config({})
    for setting in kept.SETTINGS:
        assert setting.accepts(setting.default), setting.key
        assert config.storable({setting.key: setting.default}) == {setting.key: setting.default}
    assert kept.PART.keys() >= kept.SWITCHES
    assert BY_KEY["ldap.server.app_password"].secret
    assert not BY_KEY["audio.tts.voice"].secret


def test_a_part_that_comes_declares_its_settings_and_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "chat.tool_search.enable"
    monkeypatch.setattr("open_webui.config._DECLARED", {key: BY_KEY[key]})
    assert effect(key) == "acts"
    assert refusal(key, True) is None


def test_the_command_line_shows_of_them_what_is_stored() -> None:
    config = Config({})
    assert "onedrive.enable" not in {key for key, _, _ in config.describe()}
    config.load({"onedrive.enable": False, "google_drive.api_key": "secret"})
    shown = {key: (value, source) for key, value, source in config.describe()}
    assert (shown["onedrive.enable"], shown["google_drive.api_key"]) == ((False, "stored"), ("***", "stored"))


async def test_a_file_of_open_webui_is_taken_and_given_back(admin: Actor) -> None:
    given = {
        "audio": {"tts": {"voice": "nova", "openai": {"params": {"speed": 2}}}},
        "notes.enable": False,
        "ui": {"watermark": "W"},
    }
    reply = (await admin.client.post(IMPORT, json={"config": given})).json()
    assert "refused" not in reply
    exported = (await admin.client.get(EXPORT)).json()
    for shown in (reply, exported):
        assert (shown["audio.tts.voice"], shown["audio.tts.openai.params"]) == ("nova", {"speed": 2})
        assert (shown["notes.enable"], shown["ui.watermark"]) == (False, "W")
    assert {key for key in KEYS if key in exported} == {key for key in KEYS if effect(key) in {"acts", "kept"}}
    # What was given out is taken again, whole.
    again = (await admin.client.post(IMPORT, json={"config": exported})).json()
    assert again == exported


async def test_what_is_not_taken_is_named_with_the_reason(admin: Actor) -> None:
    given = {
        "oauth": {"client_idea": "canary"}, "chat.tool_permissions.enable": True, "x": {"y": 1, "z": {}},
        "subagents": {"background_enabled": True, "max_async": 3}, "channels.encryption.enable": False,
        "chat.tool_search.enable": True,
    }  # fmt: skip
    reply = await admin.client.post(IMPORT, json={"config": given})
    assert reply.status_code == 200
    refused = reply.json()["refused"]
    assert sorted(refused) == [
        "chat.tool_permissions.enable",
        "chat.tool_search.enable",
        "oauth.client_idea",
        "x.y",
        "x.z",
    ]
    assert "no such setting" in refused["oauth.client_idea"]
    assert "can't be switched on" in refused["chat.tool_permissions.enable"]
    assert "no such setting" in refused["x.y"]
    assert "canary" not in reply.text
    shown = (await admin.client.get(EXPORT)).json()
    shown = [
        shown[name] for name in ("chat.tool_permissions.enable", "subagents.background_enabled", "subagents.max_async")
    ]
    assert shown == [False, True, 3]


@pytest.mark.parametrize(
    "config", [{"audio.tts.voice": 3}, {"subagents": {"max_async": "many"}}, {"notes.enable": None}]
)
async def test_a_value_of_the_wrong_type_takes_the_whole_file_with_it(admin: Actor, config: dict[str, object]) -> None:
    reply = await admin.client.post(IMPORT, json={"config": {"ui.watermark": "W"} | config})
    assert (reply.status_code, "must be of type" in reply.json()["detail"]) == (400, True)
    assert (await admin.client.get(EXPORT)).json()["ui.watermark"] == ""


async def test_a_file_without_end_is_refused(admin: Actor) -> None:
    deep: object = 1
    for _ in range(150):
        deep = {"a": deep}
    assert (await admin.client.post(IMPORT, json={"config": deep})).status_code == 400
    many = {f"n{number}": 1 for number in range(2_000)}
    assert len((await admin.client.post(IMPORT, json={"config": many})).json()["refused"]) == 500


async def test_the_general_page_keeps_what_is_to_come(live: Live, admin: Actor) -> None:
    shown = (await admin.client.get(GENERAL)).json()
    given = shown | {
        "ENABLE_CHANNELS": True, "ENABLE_NOTES": False, "AUTOMATION_MAX_COUNT": 5, "SKILL_CONTENT_MAX_CHARS": 1_000,
        "CHANNEL_MODEL_RESPONSE_MODE": "reply",
    }  # fmt: skip
    saved = await admin.client.post(GENERAL, json=given)
    assert saved.json() == given | {"AUTOMATION_MAX_COUNT": "5", "sessions_revoked": False}
    assert (await admin.client.get(GENERAL)).json() == given | {"AUTOMATION_MAX_COUNT": "5"}
    for bad in ({"SKILL_PREVIEW_MAX_CHARS": 0}, {"ENABLE_NOTES": "perhaps"}, {"AUTOMATION_MAX_COUNT": "9" * 30}):
        assert (await admin.client.post(GENERAL, json=given | bad)).status_code == 422, bad
    reply = await admin.client.post(
        GENERAL, json=given | {"ENABLE_ENCRYPTED_CHANNELS": True, "RESPONSE_WATERMARK": "W"}
    )
    assert (reply.status_code, "ncrypted channels" in reply.json()["detail"]) == (400, True)
    assert (await admin.client.get(GENERAL)).json()["RESPONSE_WATERMARK"] == ""


async def test_the_pages_about_chats_and_subagents_keep_what_is_set(admin: Actor) -> None:
    shown = (await admin.client.get(CHATS)).json()
    assert (shown["CONTEXT_COMPACTION_TOKEN_CAP"], shown["CONTEXT_COMPACTION_TOKEN_THRESHOLD"]) == (80_000, 80_000)
    given = shown | {
        "CONTEXT_COMPACTION_TOKEN_CAP": 9_000,
        "TOOL_SEARCH_ALWAYS_LOADED": ["clock"],
        "CONTEXT_COMPACTION_MODEL": None,
    }
    assert (await admin.client.post(CHATS, json=given)).json() == given | {"CONTEXT_COMPACTION_MODEL": ""}
    for switch in ("ENABLE_CONTEXT_COMPACTION", "ENABLE_TOOL_PERMISSIONS", "ENABLE_TOOL_SEARCH"):
        reply = await admin.client.post(CHATS, json=given | {switch: True})
        assert (reply.status_code, "yet" in reply.json()["detail"]) == (400, True)
    for bad in (
        {"CONTEXT_COMPACTION_TOKEN_CAP": 0},
        {"CONTEXT_COMPACTION_RETENTION_PERCENTAGE": 101},
        {"TOOL_SEARCH_ALWAYS_LOADED": "x"},
    ):
        assert (await admin.client.post(CHATS, json=given | bad)).status_code == 422, bad
    about = (await admin.client.get(SUBAGENTS)).json() | {
        "SUBAGENTS_MAX_CONCURRENT": 7,
        "SUBAGENTS_BACKGROUND_ENABLED": True,
        "SUBAGENTS_SYSTEM_PROMPT": "Be brief.",
    }
    assert (await admin.client.post(SUBAGENTS, json=about)).json() == about
    assert (await admin.client.get(SUBAGENTS)).json() == about
    assert (await admin.client.post(SUBAGENTS, json=about | {"SUBAGENTS_MAX_ASYNC": -1})).status_code == 422
