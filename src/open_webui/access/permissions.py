"""Effective permissions: what the default tree or any of one's groups grants."""

from collections.abc import Iterable, Mapping
from typing import Any

from open_webui.config import DEFAULT_PERMISSIONS, permission_paths


def effective(trees: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The union of the granted paths of several permission trees."""
    return frozenset().union(*(permission_paths(tree) for tree in trees))


def tree(paths: frozenset[str]) -> dict[str, dict[str, bool]]:
    """The tree of the wire for a set of granted paths: every known permission, true or false."""
    return {
        section: {name: f"{section}.{name}" in paths for name in entries}
        for section, entries in DEFAULT_PERMISSIONS.items()
    }
