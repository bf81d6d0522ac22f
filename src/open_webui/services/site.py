"""What the page is told about this server: name, features that are on, defaults; encoded once per configuration."""

from collections.abc import Collection
from typing import Any, Final, Literal, Protocol

import msgspec

from open_webui import constants
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.internal.db import Database
from open_webui.models import users
from open_webui.principal import Principal

# How much of it somebody sees: nobody's session, an account that waits to be let in, an account.
Level = Literal["anonymous", "pending", "user"]

# Features of the wire that this server doesn't have. Each leaves this list with the resource that brings it.
ABSENT: Final = (
    "slim auth_trusted_header enable_signup_password_confirmation enable_ldap enable_version_update_check"
    " enable_pyodide_file_persistence enable_easter_eggs enable_direct_connections enable_direct_integrations"
    " enable_plugins enable_tools enable_functions enable_tool_servers enable_terminal_servers enable_channels"
    " enable_encrypted_channels enable_apps enable_calendar enable_automations enable_notes enable_context_compaction"
    " enable_tool_permissions enable_web_search enable_web_search_confirmation enable_code_execution"
    " enable_code_interpreter enable_image_generation enable_community_sharing enable_message_rating"
    " enable_user_webhooks enable_admin_analytics enable_google_drive_integration"
    " enable_onedrive_integration enable_memories enable_subagents"
).split()
# Features that a setting switches.
SWITCHED: Final = {
    "enable_api_keys": "auth.enable_api_keys",
    "enable_password_change_form": "ui.enable_password_change_form",
    "enable_folders": "folders.enable",
    "enable_autocomplete_generation": "task.autocomplete.enable",
    "enable_title_generation": "task.title.enable",
    "enable_follow_up_generation": "task.follow_up.enable",
    "enable_tags_generation": "task.tags.enable",
    "enable_user_status": "users.enable_status",
}
# What somebody without a session is told, of the lists above.
PUBLIC_ABSENT: Final = ("slim", "auth_trusted_header", "enable_signup_password_confirmation", "enable_ldap")


class Presence(Protocol):
    """Who is connected, and which models are being used right now."""

    def user_ids(self) -> Collection[str]: ...

    def models_in_use(self) -> list[str]: ...


class Site:
    """Answers what the page asks before anything else."""

    def __init__(self, settings: Settings, config: Config, database: Database, presence: Presence) -> None:
        self._settings = settings
        self._config = config
        self._database = database
        self._presence = presence
        self._encoded: dict[tuple[Level, bool], bytes] = {}
        # Once there is somebody there always is: the first administrator can't be deleted.
        self._inhabited = False
        config.on_change(lambda _keys: self._encoded.clear())

    @property
    def name(self) -> str:
        name: str = self._config["ui.name"]
        return name

    async def describe(self, principal: Principal | None) -> bytes:
        """JSON of what the caller may know about this server."""
        level: Level = "anonymous"
        if principal is not None:
            level = "user" if principal.is_active else "pending"
        onboarding = level == "anonymous" and not await self._has_users()
        encoded = self._encoded.get((level, onboarding))
        if encoded is None:
            encoded = self._encoded[level, onboarding] = msgspec.json.encode(self._build(level, onboarding))
        return encoded

    def usage(self, principal: Principal) -> dict[str, Any]:
        """How many people are connected; which models they use is for admins, since not everybody may see every model."""
        models = self._presence.models_in_use() if principal.is_admin else []
        return {"model_ids": models, "user_count": len(self._presence.user_ids())}

    async def _has_users(self) -> bool:
        if not self._inhabited:
            async with self._database.read() as connection:
                self._inhabited = await users.any_exists(connection)
        return self._inhabited

    def _build(self, level: Level, onboarding: bool) -> dict[str, Any]:
        config = self._config
        out: dict[str, Any] = {"onboarding": True} if onboarding else {}
        out |= {
            "status": True,
            "name": self.name,
            "version": constants.WIRE_VERSION,
            "default_locale": config["ui.default_locale"],
            "i18n": config["ui.i18n"],
            "oauth": {"providers": {}, "auto_redirect": False},
            "features": self._features(level, onboarding),
        }
        if level == "pending":
            out["ui"] = self._overlay()
        elif level == "user":
            out |= self._for_users()
        return out

    def _features(self, level: Level, onboarding: bool) -> dict[str, Any]:
        config = self._config
        features: dict[str, Any] = dict.fromkeys(PUBLIC_ABSENT, False)
        features |= {
            "auth": True,
            "enable_signup": onboarding or config["ui.enable_signup"],
            "enable_login_form": config["ui.enable_login_form"],
            "enable_websocket": self._settings.enable_websocket_support,
        }
        if level == "anonymous":
            return features
        features |= dict.fromkeys(ABSENT, False)
        features |= {name: config[key] for name, key in SWITCHED.items()}
        return features | {
            "enable_public_active_users_count": True,
            "enable_admin_chat_access": self._settings.enable_admin_chat_access,
            "enable_admin_export": self._settings.enable_admin_export and self._settings.enable_admin_chat_access,
            "folder_max_file_count": config["folders.max_file_count"],
            "web_search_confirmation_content": "",
        }

    def _overlay(self) -> dict[str, Any]:
        keys = ("pending_user_overlay_title", "pending_user_overlay_content")
        return {key: self._config[f"ui.{key}"] for key in keys}

    def _for_users(self) -> dict[str, Any]:
        config = self._config
        return {
            "default_models": config["ui.default_models"],
            "default_pinned_models": config["ui.default_pinned_models"],
            "default_prompt_suggestions": config["ui.prompt_suggestions"],
            "default_prompt_suggestions_i18n": config["ui.prompt_suggestions_i18n"],
            "code": {"engine": "", "interpreter_engine": ""},
            # "" and "web" name the browser's own voices and ears: this server has none.
            "audio": {
                "realtime": {"enabled": False, "model": "", "voice": ""},
                "tts": {"engine": "", "voice": "", "split_on": "punctuation"},
                "stt": {"engine": "web"},
            },
            "file": {"max_size": None, "max_count": None, "image_compression": {"width": None, "height": None}},
            "permissions": config["user.permissions"],
            "google_drive": {"client_id": "", "api_key": ""},
            "onedrive": dict.fromkeys(
                ("client_id_personal", "client_id_business", "sharepoint_url", "sharepoint_tenant_id"), ""
            ),
            "ui": self._overlay()
            | {
                "default_interface_settings": config["ui.default_interface_settings"],
                "visibility": config["ui.visibility"],
                "response_watermark": config["ui.watermark"],
                "iframe_csp": "",
            },
            "license_metadata": None,
        }
