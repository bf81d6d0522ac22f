"""Settings of Open WebUI that nothing here reads yet: kept, shown and exported, so that they are there when their part comes.

Which of all its settings act, are kept or are refused is said by `config.effect`. A part that comes declares its settings
among `config.SETTINGS`; what is declared there counts, and its rows here can go.
"""

from collections.abc import Mapping
from typing import Any, Final

from open_webui.config.setting import Setting

# By what must come first, as it stands in a sentence: the keys and their defaults.
TABLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "a prompt for answers that are spoken": {
        "audio.tts.realtime.prompt_template": None,
    },
    "automations": {
        "automations.auth_token_expires_in": "1h",
    },
    "encrypted channels": {
        "channels.encryption.enable": False,
    },
    "summaries of long chats": {
        "chat.context_compaction.enable": False,
        "chat.context_compaction.model": "",
        "chat.context_compaction.prompt_template": "",
        "chat.context_compaction.retention_percentage": 40,
        "chat.context_compaction.token_cap": None,
        "chat.context_compaction.token_threshold": 80000,
    },
    "permissions for calls of tools": {
        "chat.tool_permissions.enable": False,
    },
    "search among tools": {
        "chat.tool_search.always_loaded": [],
        "chat.tool_search.defer_builtin_tools": True,
        "chat.tool_search.defer_threshold": 400,
        "chat.tool_search.enable": False,
    },
    "files from other sites": {
        "google_drive.api_key": "",
        "google_drive.client_id": "",
        "google_drive.enable": False,
        "onedrive.enable": False,
        "onedrive.sharepoint_tenant_id": "",
        "onedrive.sharepoint_url": "",
    },
    "memories": {
        "memories.background_review.enable": False,
        "memories.review_interval_turns": 10,
    },
    "tokens of other sites made anew": {
        "oauth.refresh_token.include_scope": False,
    },
}
# What those are whose default is None.
NULLABLE: Final[Mapping[str, type]] = {
    "audio.tts.realtime.prompt_template": str,
    "chat.context_compaction.token_cap": int,
}
# Ends of the names of secrets.
SECRET: Final = ("api_key", "api_auth")
# Switches that would promise protection, or an answer of another kind, that is not there: they stay off, and who switches
# one on is told so.
SWITCHES: Final = frozenset(
    {
        "channels.encryption.enable",
        "chat.context_compaction.enable",
        "chat.tool_permissions.enable",
        "chat.tool_search.enable",
    }
)
# Keys, and beginnings of keys up to a dot, that are not kept at all, and why.
REFUSED: Final[Mapping[str, str]] = {
    "ui": "earlier releases kept all settings that begin with it in this one value",
}
PART: Final[Mapping[str, str]] = {key: part for part, keys in TABLE.items() for key in keys}


def why_refused(key: str) -> str | None:
    """Why a setting is not kept at all; None for any other."""
    reasons = (why for name, why in REFUSED.items() if key == name or (name.endswith(".") and key.startswith(name)))
    return next(reasons, None)


def _setting(key: str, default: Any) -> Setting:
    kind = NULLABLE[key] if default is None else type(default)
    return Setting(key, kind, default, nullable=default is None, secret=key.endswith(SECRET))


SETTINGS: Final[tuple[Setting, ...]] = tuple(
    _setting(key, value) for keys in TABLE.values() for key, value in keys.items()
)
