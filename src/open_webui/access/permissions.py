"""Effective permissions: what the default tree or any of one's groups grants, and what those of chats mean."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from open_webui import constants
from open_webui.config import DEFAULT_PERMISSIONS, permission_paths
from open_webui.errors import Forbidden
from open_webui.principal import Principal


def effective(trees: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The union of the granted paths of several permission trees."""
    return frozenset().union(*(permission_paths(tree) for tree in trees))


def tree(paths: frozenset[str]) -> dict[str, dict[str, bool]]:
    """The tree of the wire for a set of granted paths: every known permission, true or false."""
    return {
        section: {name: f"{section}.{name}" in paths for name in entries}
        for section, entries in DEFAULT_PERMISSIONS.items()
    }


# What of a chat's parameters is no model's: a person may always say which tools are asked about first.
UNRULED: Final = frozenset({"system", "tool_approval_mode", "tool_approvals"})


def may_set_params(principal: Principal) -> bool:
    """Whether somebody may choose a model's parameters for a chat."""
    return principal.may("chat.controls") and principal.may("chat.params")


def may_set_system_prompt(principal: Principal) -> bool:
    """Whether somebody may give a chat a system prompt."""
    return principal.may("chat.controls") and principal.may("chat.system_prompt")


def may_store_chats(principal: Principal) -> bool:
    """Whether somebody's chats are kept. An administrator's always may be."""
    return principal.is_admin or "chat.temporary_enforced" not in principal.permissions


def check_stores_chats(principal: Principal) -> None:
    """Raises Forbidden for somebody whose chats are all temporary."""
    if not may_store_chats(principal):
        raise Forbidden("Your chats are not kept on this server. Start a temporary chat.", status=403)


def check_params(principal: Principal, params: Mapping[str, Any]) -> None:
    """Raises Forbidden for a chat's parameters that somebody may not set."""
    given = {name for name, value in params.items() if value not in (None, "", {}, [])}
    if "system" in given and not may_set_system_prompt(principal):
        raise Forbidden("You may not set a system prompt on this server.", status=403)
    if given - UNRULED and not may_set_params(principal):
        raise Forbidden("You may not set parameters of models on this server.", status=403)


def check_edits(principal: Principal) -> None:
    """Raises Forbidden for somebody who may not change what a message says."""
    if not principal.may("chat.edit"):
        raise Forbidden(constants.NO_EDITS, status=403)


def check_uploads(principal: Principal) -> None:
    """Raises Forbidden for somebody who may not attach files."""
    if not principal.may("chat.file_upload"):
        raise Forbidden("You may not attach files on this server.", status=403)
