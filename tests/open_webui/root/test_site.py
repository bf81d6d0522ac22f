"""What pages and machines ask of the server itself: health, configuration by level, names."""

import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable

import httpx
import pytest

from open_webui import constants
from open_webui.failures import NOTHING
from open_webui.services.changelog import parse
from open_webui.services.site import ABSENT, SWITCHED
from tests.support.carriers import Wire
from tests.support.live import Actor, Live, sign_up

sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

ANONYMOUS = {"status", "name", "version", "default_locale", "i18n", "oauth", "features"}
USER = ANONYMOUS | {
    "default_models", "default_pinned_models", "default_prompt_suggestions", "default_prompt_suggestions_i18n", "code",
    "audio", "file", "permissions", "google_drive", "onedrive", "ui", "license_metadata",
}  # fmt: skip
OPEN_FEATURES = {
    "slim", "auth", "auth_trusted_header", "enable_signup_password_confirmation", "enable_ldap", "enable_signup",
    "enable_login_form", "enable_websocket",
}  # fmt: skip
FEATURES = OPEN_FEATURES | {
    "enable_api_keys", "enable_password_change_form", "enable_version_update_check", "enable_pyodide_file_persistence",
    "enable_public_active_users_count", "enable_easter_eggs", "enable_direct_connections",
    "enable_mfa",
    "enable_direct_integrations", "enable_plugins", "enable_tools", "enable_functions", "enable_tool_servers",
    "enable_terminal_servers", "enable_folders", "folder_max_file_count", "enable_channels",
    "enable_encrypted_channels", "enable_apps", "enable_calendar", "enable_automations", "enable_notes",
    "enable_context_compaction", "enable_tool_permissions", "enable_web_search", "enable_web_search_confirmation",
    "web_search_confirmation_content", "enable_code_execution", "enable_code_interpreter", "enable_image_generation",
    "enable_autocomplete_generation", "enable_title_generation", "enable_follow_up_generation",
    "enable_tags_generation", "enable_community_sharing", "enable_message_rating", "enable_user_webhooks",
    "enable_user_status", "enable_admin_export", "enable_admin_chat_access", "enable_admin_analytics",
    "enable_google_drive_integration", "enable_onedrive_integration", "enable_memories", "enable_subagents",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/health", "/health/db", "/ready"])
async def test_health(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.json()) == (200, {"status": True})


@sqlite_only
async def test_a_server_that_lost_its_database_lives_but_is_not_ready(live: Live, client: httpx.AsyncClient) -> None:
    state = live.app.state.oui
    database = state.database
    try:
        state.database = type(database)(_Broken(), _Broken(), "postgresql")
        for path in ("/ready", "/health/db"):
            reply = await client.get(path)
            assert reply.status_code == 503
            assert reply.json() == {"detail": "The database does not answer."}
            assert reply.headers["retry-after"] == "1"
        assert (await client.get("/health")).status_code == 200
    finally:
        state.database = database


@sqlite_only
async def test_a_server_without_news_of_others_is_ready_and_says_so(live: Live, client: httpx.AsyncClient) -> None:
    state = live.app.state.oui
    wire = Wire()
    bus, state.bus = state.bus, wire.bus()
    try:
        await state.bus.open()
        await wire.stop()
        for path in ("/ready", "/health/db"):
            reply = await client.get(path)
            assert (reply.status_code, reply.json()) == (200, {"status": True, "bus": False})
        await wire.start()
        assert (await client.get("/ready")).json() == {"status": True}
        await state.bus.close()
    finally:
        state.bus = bus


class _Broken:
    """An engine whose server is gone."""

    def connect(self) -> None:
        raise ConnectionRefusedError


@sqlite_only
async def test_before_the_first_account(client: httpx.AsyncClient) -> None:
    config = (await client.get("/api/config")).json()
    assert config.keys() == ANONYMOUS | {"onboarding"}
    assert config["onboarding"] is True
    assert config["features"].keys() == OPEN_FEATURES
    assert config["features"]["enable_signup"] is True
    assert (config["name"], config["version"]) == (constants.PRODUCT, constants.WIRE_VERSION)


async def test_the_first_account_ends_the_onboarding(live: Live, client: httpx.AsyncClient) -> None:
    assert "onboarding" in (await client.get("/api/config")).json()
    actor = await sign_up(live, "Admin One")
    await actor.client.aclose()
    assert (await client.get("/api/config")).json().keys() == ANONYMOUS


@sqlite_only
@pytest.mark.parametrize("token", ["nonsense", ""])
async def test_a_bad_token_is_answered_as_nobody(live: Live, admin: Actor, token: str) -> None:
    async with live.client(token) as client:
        assert (await client.get("/api/config")).json().keys() == ANONYMOUS


@sqlite_only
async def test_who_is_not_let_in_yet_sees_the_overlay(pending: Actor) -> None:
    config = (await pending.client.get("/api/config")).json()
    assert config.keys() == ANONYMOUS | {"ui"}
    assert config["features"].keys() == FEATURES
    assert config["ui"] == {"pending_user_overlay_title": "", "pending_user_overlay_content": ""}


@sqlite_only
async def test_accounts_see_everything(user: Actor, admin: Actor) -> None:
    for actor in (user, admin):
        config = (await actor.client.get("/api/config")).json()
        assert config.keys() == USER
        assert config["features"].keys() == FEATURES
        assert config["ui"].keys() == {
            "default_interface_settings", "visibility", "pending_user_overlay_title", "pending_user_overlay_content",
            "response_watermark", "iframe_csp",
        }  # fmt: skip


@sqlite_only
async def test_what_is_not_there_is_reported_off(user: Actor) -> None:
    features = (await user.client.get("/api/config")).json()["features"]
    assert {name for name in ABSENT if features[name] is not False} == set()
    assert not set(ABSENT) & SWITCHED.keys()
    for name in ("enable_folders", "enable_title_generation", "enable_websocket", "enable_user_status"):
        assert features[name] is True, name


@sqlite_only
async def test_a_changed_setting_shows_at_once(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    before = (await user.client.get("/api/config")).json()
    assert before["features"]["enable_folders"] is True
    await state.save_config({"folders.enable": False, "ui.name": "Ours", "ui.default_models": "eliza"})
    after = (await user.client.get("/api/config")).json()
    assert (after["features"]["enable_folders"], after["name"], after["default_models"]) == (False, "Ours", "eliza")


@sqlite_only
async def test_no_secret_is_told(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    await live.app.state.oui.save_config({"ollama.api_configs": {"0": {"key": "canary-secret"}}})
    for who in (user.client, client):
        text = (await who.get("/api/config")).text
        assert "canary" not in text
        assert "sk-upstream" not in text


@sqlite_only
async def test_version_stays_the_same_while_running(
    make_live: Callable[..., Awaitable[Live]], client: httpx.AsyncClient
) -> None:
    assert (await client.get("/api/version")).json() == {"version": constants.WIRE_VERSION, "deployment_id": ""}
    deployed = await make_live(deployment_id="blue")
    async with deployed.client() as other:
        assert (await other.get("/api/version")).json()["deployment_id"] == "blue"


@sqlite_only
async def test_wrong_methods_and_unknown_paths_are_errors_in_json(client: httpx.AsyncClient) -> None:
    assert (await client.patch("/api/version")).status_code == 405
    assert (await client.patch("/api/version")).json() == {"detail": "This address does not take PATCH."}
    assert (await client.patch("/api/version")).headers["allow"] == "GET"
    unknown = await client.post("/api/v1/does-not-exist", json={})
    assert (unknown.status_code, unknown.json()) == (404, {"detail": NOTHING})
    assert "allow" not in unknown.headers
    for path in ("/api/v1/does-not-exist", "/api/nothing", "/ws/nothing", "/_app/nothing", "/cache"):
        reply = await client.get(path)
        assert (reply.status_code, list(reply.json())) == (404, ["detail"]), path


@sqlite_only
async def test_updates_changelog_and_cache(user: Actor, client: httpx.AsyncClient) -> None:
    news = (await client.get("/api/changelog")).json()
    assert list(news) == ["0.1.0"]
    assert "listens on 127.0.0.1" in news["0.1.0"]["changed"][0]["content"]
    updates = (await user.client.get("/api/version/updates")).json()
    assert updates == {"current": constants.WIRE_VERSION, "latest": constants.WIRE_VERSION}
    assert (await client.get("/cache/a.png")).status_code == 401
    assert (await user.client.get("/cache/a.png")).status_code == 404


def test_a_changelog_becomes_releases_and_points() -> None:
    points = "- `A` is <b>, see\n  [there](docs/a.md).\n- B.\n\n**More**\n- C.\n"
    found = parse(f"# Changelog\n\n## 1.1 (2026-12-01)\n\nWords.\n\n{points}\n## 1.0\n")
    assert {version: release["date"] for version, release in found.items()} == {"1.1": "2026-12-01", "1.0": ""}
    assert [point["content"] for point in found["1.1"]["changed"]] == ["A is <b>, see there.", "B.", "C."]
    assert found["1.1"]["changed"][0]["raw"] == "<code>A</code> is &lt;b&gt;, see there."
    assert found["1.0"]["changed"] == []


@sqlite_only
@pytest.mark.parametrize(
    ("settings_", "offered"),
    [({}, True), ({"enable_admin_export": False}, False), ({"enable_admin_chat_access": False}, False)],
)
async def test_the_export_of_all_chats_is_offered_where_it_is_allowed(
    make_live: Callable[..., Awaitable[Live]], settings_: dict[str, bool], offered: bool
) -> None:
    live = await make_live(**settings_)
    admin = await sign_up(live, "Admin One")
    async with admin.client:
        features = (await admin.client.get("/api/config")).json()["features"]
        assert features["enable_admin_export"] is offered
        assert (await admin.client.get("/api/v1/chats/all/db")).is_success is offered


@sqlite_only
async def test_usage_counts_people_and_tells_models_to_admins_only(live: Live, user: Actor, admin: Actor) -> None:
    presence = live.app.state.sockets.presence
    assert (await user.client.get("/api/usage")).json() == {"model_ids": [], "user_count": 0}
    presence.use_model("a socket", "secret-model")
    assert (await user.client.get("/api/usage")).json()["model_ids"] == []
    assert (await admin.client.get("/api/usage")).json()["model_ids"] == ["secret-model"]


@sqlite_only
async def test_names_for_browsers(live: Live, client: httpx.AsyncClient) -> None:
    await live.app.state.oui.save_config({"ui.name": "Ours & <theirs>"})
    manifest = (await client.get("/manifest.json")).json()
    assert (manifest["name"], manifest["start_url"]) == ("Ours & <theirs>", "/")
    for icon in manifest["icons"]:
        assert (await client.get(icon["src"])).headers["content-type"] == "image/png"
    reply = await client.get("/opensearch.xml")
    assert reply.headers["content-type"] == "application/xml"
    root = ET.fromstring(reply.content)
    space = "{http://a9.com/-/spec/opensearch/1.1/}"
    assert root.findtext(f"{space}ShortName") == "Ours & <theirs>"
    url = root.find(f"{space}Url")
    assert url is not None
    assert url.attrib["template"] == f"{live.url}/?q={{searchTerms}}"
    assert (await client.get("/robots.txt")).text == "User-agent: *\nDisallow: /\n"


@sqlite_only
async def test_metrics_are_an_administrators(client: httpx.AsyncClient, user: Actor, admin: Actor) -> None:
    reply = await admin.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert reply.headers["cache-control"] == "no-store"
    counted = next(line for line in reply.text.splitlines() if line.startswith("oui_loop_turn_cpu_seconds_count "))
    assert int(counted.split()[1]) > 0
    for who in (client, user.client):
        refused = await who.get("/metrics", headers={"accept": "text/html"})
        assert refused.status_code == 401
        assert "for administrators only" in refused.json()["detail"]


@sqlite_only
async def test_a_hostile_host_header_stays_text(client: httpx.AsyncClient) -> None:
    reply = await client.get("/opensearch.xml", headers={"host": 'x"/><script>'})
    ET.fromstring(reply.content)
    assert b"<script>" not in reply.content


@sqlite_only
async def test_the_interface_is_described_to_developers_only(
    make_live: Callable[..., Awaitable[Live]], client: httpx.AsyncClient
) -> None:
    assert (await client.get("/openapi.json")).status_code == 404
    assert "swagger" not in (await client.get("/docs")).text
    developed = await make_live(env="dev")
    async with developed.client() as developer:
        assert "swagger" in (await developer.get("/docs")).text
        paths = (await developer.get("/openapi.json")).json()["paths"]
        assert {"/api/config", "/health", "/api/v1/tools/"} <= paths.keys()
