"""Fields of a request that steer a provider or a proxy before it, instead of asking a model: they are for administrators."""

from typing import Any, Final

from open_webui.connections.base import Target
from open_webui.connections.params import merge
from open_webui.principal import Principal

# Whose address, key and account is used, what is sent along, who is billed, what is stored there; and the template that a
# conversation becomes a prompt by, which leaves out what it likes.
STEERING: Final = frozenset(
    (
        "api_base api_key api_type api_version azure_ad_token base_url cache caching chat_template credentials"
        " custom_llm_provider deployment_id extra_body extra_headers extra_params extra_query fallbacks headers host"
        " max_retries metadata mock_response mock_tool_calls model_info model_list num_retries organization project"
        " provider_options proxy proxy_server_request safety_identifier store timeout user"
    ).split()
)
_PREFIXES: Final = ("aws_", "azure_", "litellm_", "vertex_")


def for_provider(principal: Principal, target: Target, payload: dict[str, Any]) -> dict[str, Any]:
    """A payload without what its sender may not say. What the model's profile says of it stays, or comes back."""
    if principal.is_admin:
        return payload
    given = {name for name in payload if name in STEERING or name.startswith(_PREFIXES)}
    if not given:
        return payload
    ours = merge(target.entry.kind, target.params) if target.params else {}
    kept = {name: value for name, value in payload.items() if name not in given}
    return kept | {name: ours[name] for name in given if name in ours}
