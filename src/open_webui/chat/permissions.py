"""What an administrator may forbid people to do when they ask a model: checked where the question comes in.

A permission that is missing refuses what was asked for. Parameters and system prompts are left out of a page's question
instead: a page sends those that were set when it was still allowed, and nobody should be locked out by them.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from open_webui.access.permissions import UNRULED, check_stores_chats, may_set_params, may_set_system_prompt
from open_webui.chat.request import ApiRequest, PageRequest
from open_webui.chat.store import Stored
from open_webui.connections.params import PARAMETERS
from open_webui.errors import Forbidden
from open_webui.principal import Principal

_PROMPT_ROLES: Final = ("system", "developer")
# Fields of requests that say what a system prompt would, or how a conversation becomes a prompt.
_PROMPT_FIELDS: Final = frozenset({"system", "instructions", "template", "chat_template", "raw", "context"})


def permitted(principal: Principal, request: PageRequest) -> PageRequest:
    """The page's request without the parameters that its asker may not set. Raises Forbidden."""
    if request.is_temporary:
        if not principal.may("chat.temporary"):
            raise Forbidden("You may not start temporary chats on this server.", status=403)
    else:
        check_stores_chats(principal)
    if len(request.asks) > 1 and not principal.may("chat.multiple_models"):
        raise Forbidden("You may not ask several models at once on this server.")
    if request.continued and not principal.may("chat.continue_response"):
        raise Forbidden("You may not continue answers on this server.")
    if not may_set_params(principal):
        request = replace(request, params=_only_system(request.params), fields={})
    if not may_set_system_prompt(principal):
        request = replace(
            request,
            params=_without_system(request.params),
            messages=_unprompted(request.messages),
            fields=_without_prompts(request.fields),
        )
    return request


def permitted_chat(principal: Principal, stored: Stored) -> Stored:
    """What was found of a chat, without the parameters that its asker, if it is his own, may not set any more."""
    if stored.owner_id != principal.id:
        return stored
    params = stored.params
    if not may_set_params(principal):
        params = _only_system(params)
    if not may_set_system_prompt(principal):
        params = _without_system(params)
    return stored if params is stored.params else replace(stored, params=params)


def check_api(principal: Principal, request: ApiRequest) -> None:
    """Raises Forbidden for what an API client may not set. It knows what it sends, so nothing is left out silently."""
    messages = request.payload.get("messages")
    prompts = _prompts(messages) if isinstance(messages, list) else []
    prompts += [name for name in _PROMPT_FIELDS if request.payload.get(name)]
    if prompts and not may_set_system_prompt(principal):
        raise Forbidden("You may not set a system prompt on this server.", status=403)
    given = [name for name in request.payload if name in PARAMETERS and request.payload[name] is not None]
    if given and not may_set_params(principal):
        raise Forbidden(
            f"You may not set parameters of models on this server ({', '.join(sorted(given))}).", status=403
        )


def _only_system(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name in UNRULED}


def _without_system(params: dict[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in params.items() if name != "system"}
    if isinstance(custom := left.get("custom_params"), dict):
        left["custom_params"] = _without_prompts(custom)
    return left


def _without_prompts(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _PROMPT_FIELDS}


def _prompts(messages: Sequence[Any]) -> list[Any]:
    return [message for message in messages if isinstance(message, dict) and message.get("role") in _PROMPT_ROLES]


def _unprompted(messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The messages of a temporary chat without system prompts."""
    return None if messages is None else [m for m in messages if m.get("role") not in _PROMPT_ROLES]
