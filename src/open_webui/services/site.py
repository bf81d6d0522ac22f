"""What the page is told about this server: name, features that are on, defaults; encoded once per configuration."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Literal, Protocol

import msgspec

from open_webui import constants
from open_webui.access.oauth.providers import providers
from open_webui.access.second_factor import signs_in
from open_webui.access.trusted_headers import trusted_headers
from open_webui.config import Config
from open_webui.config.code import shown
from open_webui.env import Settings
from open_webui.internal.db import Database
from open_webui.models import users
from open_webui.principal import Principal
from open_webui.services.audio import settings as audio_settings

# How much of it somebody sees: nobody's session, an account that waits to be let in, an account.
Level = Literal["anonymous", "pending", "user"]

# Features of the wire that this server doesn't have. Each leaves this list with the resource that brings it.
ABSENT: Final = (
    "slim enable_signup_password_confirmation enable_version_update_check"
    " enable_pyodide_file_persistence enable_easter_eggs"
    " enable_encrypted_channels enable_context_compaction"
    " enable_community_sharing"
    " enable_google_drive_integration enable_onedrive_integration"
).split()
# Features that a setting switches.
SWITCHED: Final = {
    "enable_api_keys": "auth.enable_api_keys",
    "enable_password_change_form": "ui.enable_password_change_form",
    "enable_mfa": "auth.mfa.enable",
    "enable_direct_connections": "direct.enable",
    "enable_direct_integrations": "direct.integrations.enable",
    "enable_folders": "folders.enable",
    "enable_channels": "channels.enable",
    "enable_apps": "apps.enable",
    "enable_memories": "memories.enable",
    "enable_subagents": "subagents.enable",
    "enable_notes": "notes.enable",
    "enable_calendar": "calendar.enable",
    "enable_automations": "automations.enable",
    "enable_autocomplete_generation": "task.autocomplete.enable",
    "enable_title_generation": "task.title.enable",
    "enable_follow_up_generation": "task.follow_up.enable",
    "enable_tags_generation": "task.tags.enable",
    "enable_user_status": "users.enable_status",
    "enable_user_webhooks": "ui.enable_user_webhooks",
    "enable_message_rating": "ui.enable_message_rating",
    "enable_web_search": "web.search.enable",
    "enable_image_generation": "image_generation.enable",
    "enable_code_execution": "code_execution.enable",
    "enable_code_interpreter": "code_interpreter.enable",
    "enable_web_search_confirmation": "web.search.confirmation.enable",
}
# What somebody without a session is told, of the lists above.
PUBLIC_ABSENT: Final = ("slim", "enable_signup_password_confirmation")


class Presence(Protocol):
    """Who is connected, and which models are being used right now."""

    def user_ids(self) -> Collection[str]: ...

    def models_in_use(self) -> list[str]: ...


class Site:
    """Answers what the page asks before anything else."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        database: Database,
        presence: Presence,
        renew: Callable[[], Awaitable[None]],
    ) -> None:
        """renew: takes over what is stored of the configuration."""
        self._settings = settings
        self._config = config
        self._database = database
        self._presence = presence
        self._renew = renew
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
        inhabited = await self._has_users()
        onboarding = level == "anonymous" and not inhabited
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
                found = await users.any_exists(connection)
            if found:
                # Whoever made the first account has closed sign-up, and on SQLite nobody tells of it: it may have been a command.
                await self._renew()
            self._inhabited = found
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
            "oauth": {
                "providers": {one.id: one.label for one in providers(config).values()},
                "auto_redirect": config["oauth.auto_redirect"],
            },
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
            "auth_trusted_header": trusted_headers(self._settings) is not None,
            "enable_ldap": config["ldap.enable"],
            "enable_signup": onboarding or config["ui.enable_signup"],
            "enable_login_form": config["ui.enable_login_form"],
            "enable_websocket": self._settings.enable_websocket_support,
        }
        if signs_in(config, self._settings):
            # Ours: a page that doesn't know it shows no button.
            features["enable_passkey_sign_in"] = True
        if level == "anonymous":
            return features
        settings = self._settings
        plugins = settings.enable_plugins and not settings.safe_mode
        features |= dict.fromkeys(ABSENT, False)
        features |= {name: config[key] for name, key in SWITCHED.items()}
        return features | {
            "enable_public_active_users_count": True,
            "enable_tool_servers": self._settings.enable_tool_servers,
            "enable_terminal_servers": bool(config["terminal_server.connections"]),
            "enable_tool_permissions": True,
            "enable_plugins": plugins,
            "enable_tools": plugins and settings.enable_tools,
            "enable_functions": plugins and settings.enable_functions,
            "enable_admin_chat_access": self._settings.enable_admin_chat_access,
            "enable_admin_export": self._settings.enable_admin_export and self._settings.enable_admin_chat_access,
            "enable_admin_analytics": self._settings.enable_admin_analytics,
            "folder_max_file_count": config["folders.max_file_count"],
            "web_search_confirmation_content": config["web.search.confirmation.content"],
        }

    def _files(self) -> dict[str, Any]:
        """What a page may attach, and how small it makes pictures before."""
        config = self._config
        size = {side: config[f"file.image_compression_{side}"] for side in ("width", "height")}
        limits = {name: config[f"rag.file.{name}"] for name in ("max_size", "max_count")}
        return {**limits, "image_compression": size}

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
            "code": {
                "engine": shown(config["code_execution.engine"]),
                "interpreter_engine": shown(config["code_interpreter.engine"]),
            },
            "audio": audio_settings.shown(config, self._settings),
            "file": self._files(),
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
