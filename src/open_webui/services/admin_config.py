"""The general settings page: its object of the wire, put together from settings and taken apart again."""

from collections.abc import Mapping
from typing import Any, Final

from open_webui.access.tokens import parse_duration
from open_webui.config import BY_KEY, Config
from open_webui.errors import BadRequest
from open_webui.models.base import clean_json
from open_webui.principal import ROLES
from open_webui.schemas.auths import AdminConfig

# The wire's name and the setting behind it.
SETTINGS: Final[Mapping[str, str]] = {
    "SHOW_ADMIN_DETAILS": "auth.admin.show",
    "ADMIN_EMAIL": "auth.admin.email",
    "WEBUI_URL": "webui.url",
    "ENABLE_LOGIN_FORM": "ui.enable_login_form",
    "ENABLE_SIGNUP": "ui.enable_signup",
    "ENABLE_API_KEYS": "auth.enable_api_keys",
    "ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS": "auth.api_key.endpoint_restrictions",
    "API_KEYS_ALLOWED_ENDPOINTS": "auth.api_key.allowed_endpoints",
    "DEFAULT_USER_ROLE": "ui.default_user_role",
    "DEFAULT_GROUP_ID": "ui.default_group_id",
    "DEFAULT_INTERFACE_SETTINGS": "ui.default_interface_settings",
    "I18N": "ui.i18n",
    "JWT_EXPIRES_IN": "auth.jwt_expiry",
    "ENABLE_COMMUNITY_SHARING": "ui.enable_community_sharing",
    "ENABLE_MESSAGE_RATING": "ui.enable_message_rating",
    "ENABLE_FOLDERS": "folders.enable",
    "FOLDER_MAX_FILE_COUNT": "folders.max_file_count",
    "ENABLE_MEMORIES": "memories.enable",
    "ENABLE_MEMORY_SYSTEM_CONTEXT": "memories.system_context.enable",
    "ENABLE_CALENDAR": "calendar.enable",
    "ENABLE_AUTOMATIONS": "automations.enable",
    "AUTOMATION_MAX_COUNT": "automations.max_count",
    "AUTOMATION_MIN_INTERVAL": "automations.min_interval",
    "ENABLE_USER_STATUS": "users.enable_status",
    "PENDING_USER_OVERLAY_TITLE": "ui.pending_user_overlay_title",
    "PENDING_USER_OVERLAY_CONTENT": "ui.pending_user_overlay_content",
    "RESPONSE_WATERMARK": "ui.watermark",
    "ENABLE_SKILL_LAZY_LOADING": "skills.lazy_loading.enable",
    "SKILL_CONTENT_MAX_CHARS": "skills.content_max_chars",
    "SKILL_PREVIEW_MAX_CHARS": "skills.preview_max_chars",
    "ENABLE_CHANNELS": "channels.enable",
    "CHANNEL_MODEL_RESPONSE_MODE": "channels.model_response_mode",
    "ENABLE_MFA": "auth.mfa.enable",
    "MFA_ALLOW_OAUTH_BYPASS": "auth.mfa.allow_oauth_bypass",
    "MFA_ALLOW_TRUSTED_HEADER_BYPASS": "auth.mfa.allow_trusted_header_bypass",
    "MFA_REQUIRED_ROLES": "auth.mfa.required_roles",
    "MFA_REQUIRED_GROUPS": "auth.mfa.required_groups",
    "ENABLE_PASSKEY_SIGN_IN": "auth.passkeys.enable_sign_in",
    "ENABLE_STEP_UP": "auth.step_up.enable",
    "STEP_UP_MINUTES": "auth.step_up.minutes",
    # Nothing reads this yet (config/kept.py).
    "ENABLE_ENCRYPTED_CHANNELS": "channels.encryption.enable",
    "ENABLE_APPS": "apps.enable",
    "ENABLE_NOTES": "notes.enable",
    "ENABLE_USER_WEBHOOKS": "ui.enable_user_webhooks",
}
# What is told when settings were changed, beside them: whether the session that asked has ended with it.
SAVED: Final[Mapping[str, Any]] = {"sessions_revoked": False}


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force."""
    return {name: config[key] for name, key in SETTINGS.items()}


def changes(form: AdminConfig) -> dict[str, object]:
    """The settings that a posted object has; what it leaves out stays. Raises BadRequest naming a bad value."""
    if form.DEFAULT_USER_ROLE not in ROLES:
        raise BadRequest(f"The default role must be one of {', '.join(ROLES)}.")
    try:
        parse_duration(form.JWT_EXPIRES_IN)
        posted: dict[str, Any] = clean_json(form.model_dump(exclude_unset=True))
    except ValueError as error:
        raise BadRequest(f"The settings can't be stored: a value {error}.") from None
    out: dict[str, object] = {}
    for name, key in SETTINGS.items():
        if name in posted:
            value = posted[name]
            setting = BY_KEY[key]
            if value is None and not setting.nullable:
                value = setting.type()
            out[key] = str(value) if setting.type is str and isinstance(value, int) else value
    return out
