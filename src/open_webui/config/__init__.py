"""What an admin may change while the server runs: each setting declared once, resolved environment > stored > default."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from open_webui.config import (
    audio,
    calendars,
    code,
    factors,
    images,
    kept,
    ldap,
    memories,
    notes,
    oauth,
    retrieval,
    subagents,
)
from open_webui.config.setting import Json, Setting, flag, parse_list
from open_webui.errors import StartupError
from open_webui.utils import unused_variables

OPENAI_URL: Final = "https://api.openai.com/v1"


DEFAULT_PERMISSIONS: Final[dict[str, dict[str, bool]]] = {
    "workspace": dict.fromkeys(
        (
            "models knowledge prompts tools skills models_import models_export models_hidden prompts_import"
            " prompts_export tools_import tools_export skills_import skills_export"
        ).split(),
        False,
    ),
    "sharing": dict.fromkeys(
        (
            "models public_models knowledge public_knowledge prompts public_prompts tools public_tools skills"
            " public_skills notes public_notes folders public_chats open_chats public_calendars"
        ).split(),
        False,
    ),
    "access_grants": {"allow_users": True, "allow_groups": True},
    "chat": dict.fromkeys(
        (
            "controls valves system_prompt params file_upload web_upload delete delete_message continue_response"
            " regenerate_response rate_response edit share export import stt tts call multiple_models temporary"
        ).split(),
        True,
    )
    | {"temporary_enforced": False},
    "features": {
        "api_keys": False,
        "notes": True,
        "folders": True,
        "channels": True,
        "encrypted_channels": False,
        "direct_tool_servers": False,
        "web_search": True,
        "image_generation": True,
        "code_interpreter": True,
        "memories": True,
        "automations": False,
        "calendar": True,
        "webhooks": False,
    },
    "settings": {"interface": True},
}

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("auth.admin.email", str, None, ("ADMIN_EMAIL",), nullable=True),
    flag("auth.admin.show", "SHOW_ADMIN_DETAILS", True),
    flag("auth.enable_api_keys", "ENABLE_API_KEYS", False),
    flag("auth.api_key.endpoint_restrictions", "ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS", False),
    Setting("auth.api_key.allowed_endpoints", str, "", ("API_KEYS_ALLOWED_ENDPOINTS",)),
    Setting("auth.jwt_expiry", str, "4w", ("JWT_EXPIRES_IN",)),
    flag("ui.enable_signup", "ENABLE_SIGNUP", True),
    flag("ui.enable_login_form", "ENABLE_LOGIN_FORM", True),
    flag("ui.enable_password_change_form", "ENABLE_PASSWORD_CHANGE_FORM", True),
    flag("ui.enable_community_sharing", "ENABLE_COMMUNITY_SHARING", False),
    flag("ui.enable_message_rating", "ENABLE_MESSAGE_RATING", True),
    flag("users.enable_status", "ENABLE_USER_STATUS", True),
    Setting("ui.default_user_role", str, "pending", ("DEFAULT_USER_ROLE",)),
    Setting("ui.default_group_id", str, "", ("DEFAULT_GROUP_ID",)),
    Setting("ui.default_locale", str, "", ("DEFAULT_LOCALE",)),
    Setting("ui.default_models", str, None, ("DEFAULT_MODELS",), nullable=True),
    Setting("ui.default_pinned_models", str, None, ("DEFAULT_PINNED_MODELS",), nullable=True),
    Setting("ui.default_interface_settings", dict, {}),
    Setting("ui.i18n", dict, {}),
    Setting("ui.visibility", dict, {}),
    Setting("ui.banners", list, [], ("WEBUI_BANNERS",)),
    Setting("ui.model_order_list", list, []),
    Setting("ui.prompt_suggestions", list, None, ("DEFAULT_PROMPT_SUGGESTIONS",), nullable=True),
    Setting("ui.prompt_suggestions_i18n", dict, {}),
    Setting("ui.pending_user_overlay_title", str, ""),
    Setting("ui.pending_user_overlay_content", str, ""),
    Setting("ui.watermark", str, ""),
    Setting("ui.name", str, "oui-backend", ("WEBUI_NAME",)),
    Setting("webui.url", str, "", ("WEBUI_URL",)),
    Setting("user.permissions", dict, DEFAULT_PERMISSIONS),
    flag("openai.enable", "ENABLE_OPENAI_API", True),
    Setting("openai.api_base_urls", list, [], ("OPENAI_API_BASE_URLS", "OPENAI_API_BASE_URL"), parse_list(";")),
    Setting("openai.api_keys", list, [], ("OPENAI_API_KEYS", "OPENAI_API_KEY"), parse_list(";"), secret=True),
    Setting("openai.api_configs", dict, {}, ("OPENAI_API_CONFIGS",), secret=True),
    flag("ollama.enable", "ENABLE_OLLAMA_API", True),
    Setting("ollama.base_urls", list, [], ("OLLAMA_BASE_URLS", "OLLAMA_BASE_URL"), parse_list(";")),
    Setting("ollama.api_configs", dict, {}, ("OLLAMA_API_CONFIGS",), secret=True),
    flag("direct.enable", "ENABLE_DIRECT_CONNECTIONS", False),
    flag("direct.integrations.enable", "ENABLE_DIRECT_INTEGRATIONS", False),
    Setting("tool_server.connections", list, [], ("TOOL_SERVER_CONNECTIONS",), secret=True),
    Setting("terminal_server.connections", list, [], ("TERMINAL_SERVER_CONNECTIONS",), secret=True),
    flag("models.base_models_cache", "ENABLE_BASE_MODELS_CACHE", True),
    Setting("models.default_metadata", dict, {}, ("DEFAULT_MODEL_METADATA",)),
    Setting("models.default_params", dict, {}, ("DEFAULT_MODEL_PARAMS",)),
    Setting("models.builtin", str, "auto", ("BUILTIN_MODEL",)),
    flag("evaluation.arena.enable", "ENABLE_EVALUATION_ARENA_MODELS", False),
    Setting("evaluation.arena.models", list, [], ("EVALUATION_ARENA_MODELS",)),
    Setting("task.model.default", str, "", ("TASK_MODEL",)),
    Setting("task.model.external", str, "", ("TASK_MODEL_EXTERNAL",)),
    Setting("task.model.params", dict, {}),
    flag("task.title.enable", "ENABLE_TITLE_GENERATION", True),
    Setting("task.title.prompt_template", str, "", ("TITLE_GENERATION_PROMPT_TEMPLATE",)),
    flag("task.tags.enable", "ENABLE_TAGS_GENERATION", True),
    Setting("task.tags.prompt_template", str, "", ("TAGS_GENERATION_PROMPT_TEMPLATE",)),
    flag("task.follow_up.enable", "ENABLE_FOLLOW_UP_GENERATION", True),
    Setting("task.follow_up.prompt_template", str, "", ("FOLLOW_UP_GENERATION_PROMPT_TEMPLATE",)),
    flag("task.autocomplete.enable", "ENABLE_AUTOCOMPLETE_GENERATION", False),
    Setting("task.autocomplete.input_max_length", int, -1),
    Setting("task.autocomplete.prompt_template", str, ""),
    flag("task.query.search.enable", "ENABLE_SEARCH_QUERY_GENERATION", True),
    flag("task.query.retrieval.enable", "ENABLE_RETRIEVAL_QUERY_GENERATION", True),
    Setting("task.query.prompt_template", str, "", ("QUERY_GENERATION_PROMPT_TEMPLATE",)),
    Setting("task.image.prompt_template", str, "", ("IMAGE_PROMPT_GENERATION_PROMPT_TEMPLATE",)),
    flag("tools.builtin.enable", "ENABLE_BUILTIN_TOOLS", True),
    flag("tools.api.enable", "ENABLE_API_TOOLS", False),
    Setting("tools.api.max_rounds", int, 32, ("API_TOOLS_MAX_ROUNDS",)),
    flag("skills.lazy_loading.enable", "ENABLE_SKILL_LAZY_LOADING", True),
    Setting("skills.content_max_chars", int, None, ("SKILL_CONTENT_MAX_CHARS",), nullable=True),
    Setting("skills.preview_max_chars", int, None, ("SKILL_PREVIEW_MAX_CHARS",), nullable=True),
    Setting("skills.max_count", int, 200, ("SKILL_MAX_COUNT",)),
    flag("pipelines.filters.required", "PIPELINES_FILTERS_REQUIRED", True),
    flag("mcp.server.enable", "ENABLE_MCP_SERVER", False),
    Setting("task.tools.prompt_template", str, "", ("TOOLS_FUNCTION_CALLING_PROMPT_TEMPLATE",)),
    flag("task.voice.prompt.enable", "ENABLE_VOICE_MODE_PROMPT", True),
    Setting("task.voice.prompt_template", str, ""),
    flag("ui.enable_user_webhooks", "ENABLE_USER_WEBHOOKS", False),
    Setting("webhook_url", str, "", ("WEBHOOK_URL",), secret=True),
    flag("folders.enable", "ENABLE_FOLDERS", True),
    Setting("folders.max_file_count", str, "", ("FOLDER_MAX_FILE_COUNT",)),
    flag("channels.enable", "ENABLE_CHANNELS", False),
    Setting("channels.model_response_mode", str, "thread", ("CHANNEL_MODEL_RESPONSE_MODE",)),
    flag("apps.enable", "ENABLE_APPS", False),
    *memories.SETTINGS,
    *subagents.SETTINGS,
    *calendars.SETTINGS,
    *notes.SETTINGS,
    *retrieval.SETTINGS,
    *code.SETTINGS,
    *audio.SETTINGS,
    *images.SETTINGS,
    *oauth.SETTINGS,
    *factors.SETTINGS,
    *ldap.SETTINGS,
)
_DECLARED: Final[dict[str, Setting]] = {setting.key: setting for setting in SETTINGS}
# Those that are kept for what is to come, too.
BY_KEY: Final[dict[str, Setting]] = {setting.key: setting for setting in kept.SETTINGS} | _DECLARED


def effect(key: str) -> str:
    """What becomes of a setting: "acts", "kept" (shown and exported, nothing reads it yet), "refused", or "" for no setting."""
    setting = _DECLARED.get(key)
    if setting is not None:
        return "kept" if unused_variables.KEPT.intersection(setting.variables) else "acts"
    if key in BY_KEY:
        return "kept"
    return "refused" if kept.why_refused(key) else ""


def refusal(key: str, value: Json) -> str | None:
    """Why a setting is not taken with this value, as the end of a sentence; None where it is, if its type is right."""
    if key in _DECLARED:
        return None
    if key in BY_KEY:
        switched_on = key in kept.SWITCHES and value is True
        return f"{kept.PART[key]} can't be switched on: not part of this server yet" if switched_on else None
    return kept.why_refused(key) or "this server has no such setting"


def _bare(value: Json) -> Json:
    """A value as it is compared: pages send back empty values, ends of lists and slashes of addresses in other forms."""
    if isinstance(value, list):
        items = [item.rstrip("/") if isinstance(item, str) else item for item in value]
        while items and not items[-1]:
            items.pop()
        return items or None
    return None if value in ("", {}) else value


class Config:
    """The values in force. Reading is a dictionary look-up; what the environment fixes can't be stored over."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Raises StartupError naming every malformed variable."""
        environ = os.environ if environ is None else environ
        self._fixed: dict[str, Json] = {}
        self._source: dict[str, str] = {}
        problems: list[str] = []
        for setting in SETTINGS:
            self._read(setting, environ, problems)
        if problems:
            raise StartupError("The configuration can't be used. " + "; ".join(problems))
        self._defaults = {s.key: s.default for s in BY_KEY.values()}
        if any(self._fixed.get("openai.api_keys", ())):
            # A key without an address is meant for its maker.
            self._defaults["openai.api_base_urls"] = [OPENAI_URL]
        self._stored: dict[str, Json] = {}
        self._values: dict[str, Json] = {}
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._resolve()

    def _read(self, setting: Setting, environ: Mapping[str, str], problems: list[str]) -> None:
        for name in setting.variables:
            text = environ.get(name)
            if text is None or (text == "" and setting.type is not str):
                continue
            try:
                value = setting.from_text(text)
                if not setting.accepts(value):
                    raise ValueError(f"must be of type {setting.type.__name__}")
            except ValueError as error:
                problems.append(f"{name}: {error}")
            else:
                self._fixed[setting.key] = value
                self._source[setting.key] = name
            return

    def _resolve(self) -> None:
        self._values = self._defaults | self._stored | self._fixed

    def __getitem__(self, key: str) -> Json:
        return self._values[key]

    def locked_by(self, key: str) -> str | None:
        """The environment variable that fixes a key, if one does."""
        return self._source.get(key)

    @property
    def fixed(self) -> dict[str, str]:
        """The keys that the environment fixes, and the variables that do."""
        return dict(self._source)

    def refused(self, changes: Mapping[str, Json]) -> dict[str, str]:
        """Those of the changes that the environment does not allow, for it fixes another value, and the variables that do."""
        return {
            k: self._source[k] for k, v in changes.items() if k in self._fixed and _bare(v) != _bare(self._fixed[k])
        }

    def storable(self, changes: Mapping[str, Json]) -> dict[str, Json]:
        """The part of the changes that may be stored: known, not refused, not fixed by the environment.

        Raises ValueError naming the first key whose value has the wrong type.
        """
        for key, value in changes.items():
            if key in BY_KEY and not BY_KEY[key].accepts(value):
                raise ValueError(f"{key} must be of type {BY_KEY[key].type.__name__}")
        return {k: v for k, v in changes.items() if k not in self._fixed and refusal(k, v) is None}

    def left_out(self, changes: Mapping[str, Json]) -> dict[str, str]:
        """Those of the changes that `storable` leaves out and that differ from what is in force, each with the reason."""
        fixed = {k: f"the server's environment fixes it ({name})" for k, name in self.refused(changes).items()}
        return fixed | {k: reason for k, v in changes.items() if (reason := refusal(k, v)) is not None}

    def load(self, stored: Mapping[str, Json]) -> list[str]:
        """Takes over what the database holds. Returns the keys whose stored value can't be used (default applies)."""
        bad = [k for k, v in stored.items() if k in BY_KEY and not BY_KEY[k].accepts(v)]
        before = self._values
        self._stored = {k: v for k, v in stored.items() if k in BY_KEY and k not in bad}
        self._resolve()
        changed = frozenset(k for k, v in self._values.items() if before.get(k) != v)
        for listener in self._listeners if changed else ():
            listener(changed)
        return bad

    def on_change(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Calls the listener with the changed keys after every load that changed any."""
        self._listeners.append(listener)

    @property
    def stored(self) -> dict[str, Json]:
        return dict(self._stored)

    def describe(self, keys: Iterable[str] | None = None) -> list[tuple[str, Json, str]]:
        """(key, value, source) of each setting; the source is a variable's name, "stored" or "default"."""
        out = []
        for key in keys or [k for k in BY_KEY if k in _DECLARED or k in self._stored]:
            source = self._source.get(key) or ("stored" if key in self._stored else "default")
            out.append((key, "***" if BY_KEY[key].secret and self._values[key] else self._values[key], source))
        return out


def permission_paths(tree: Mapping[str, Json]) -> frozenset[str]:
    """The granted paths ("chat.delete") of a permission tree."""
    return frozenset(
        f"{section}.{name}"
        for section, entries in tree.items()
        if isinstance(entries, dict)
        for name, granted in entries.items()
        if granted is True
    )
