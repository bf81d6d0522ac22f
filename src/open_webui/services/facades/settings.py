"""Settings that everybody who is signed in may know, the models, and addresses. What is not listed here is None."""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from open_webui.config import BY_KEY
from open_webui.connections.profiles import shown_to
from open_webui.errors import BadRequest
from open_webui.services.facades.use import Use

# What `/api/config` tells everybody, or is harmless: no addresses of other services, no keys, no prompts.
TOLD: Final = frozenset(
    (
        "ui.name webui.url ui.default_locale ui.default_models ui.default_pinned_models ui.prompt_suggestions"
        " ui.prompt_suggestions_i18n ui.default_interface_settings ui.watermark ui.i18n ui.visibility"
        " ui.enable_signup ui.enable_login_form ui.enable_password_change_form auth.enable_api_keys users.enable_status"
        " user.permissions folders.enable folders.max_file_count task.title.enable task.tags.enable"
        " task.follow_up.enable task.autocomplete.enable web.search.enable web.search.confirmation.enable"
        " rag.file.max_size rag.file.max_count file.image_compression_width file.image_compression_height"
    ).split()
)
_BY_VARIABLE: Final = {variable: key for key in TOLD for variable in BY_KEY[key].variables}
# Routes whose addresses plugins make, by the names that they have in the original.
_PATHS: Final = {
    "get_file_by_id": "/api/v1/files/{id}",
    "get_file_content_by_id": "/api/v1/files/{id}/content",
    "get_file_data_content_by_id": "/api/v1/files/{id}/data/content",
    "get_html_file_content_by_id": "/api/v1/files/{id}/content/html",
    "get_user_profile_image_by_id": "/api/v1/users/{user_id}/profile/image",
    "get_user_by_id": "/api/v1/users/{user_id}",
    "get_model_profile_image": "/api/v1/models/model/profile/image",
    "get_chat_by_id": "/api/v1/chats/{id}",
    "get_models": "/api/models",
    "get_app_config": "/api/config",
    "chat_completion": "/api/chat/completions",
}


async def value(use: Use) -> Any:
    """One setting by its key; the default that was given for what is not told."""
    key = use.text("key", limit=500)
    return use.deps.config[key] if key in TOLD else use.arguments.get("default")


async def by_variable(use: Use) -> Any:
    """One setting by the name of its variable, as `app.state.config` has them."""
    key = _BY_VARIABLE.get(use.text("name", limit=500))
    return None if key is None else use.deps.config[key]


async def state(use: Use) -> Any:
    """`app.state`: the models that the person may use, by id, and the server's name."""
    match use.text("name", limit=500):
        case "MODELS" | "BASE_MODELS" | "OPENAI_MODELS":
            visible = use.deps.catalogue.visible(use.principal)
            return {profile.id: msgspec.to_builtins(shown_to(profile, use.principal)) for profile in visible}
        case "WEBUI_NAME":
            return use.deps.config["ui.name"]
    return None


async def path(use: Use) -> str:
    """Raises BadRequest for a route that is not among those."""
    name = use.text("name", limit=500)
    template = _PATHS.get(name)
    if template is None:
        raise BadRequest(f"url_path_for: the address of '{name[:100]}' is not told to plugins of this server.")
    given = {key: quote(str(one), safe="") for key, one in use.maybe_object("parameters").items()}
    try:
        return template.format_map(given)
    except KeyError as missing:
        raise BadRequest(f"url_path_for: {name} needs {missing}.") from None
