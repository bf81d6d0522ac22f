"""What administrators see before they change a group or an account: what its people may do and use, and from where."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.permissions import effective, tree
from open_webui.errors import NotFound
from open_webui.models import groups, previews, users
from open_webui.models.groups import Group
from open_webui.principal import Principal
from open_webui.services.deps import Deps


async def user(deps: Deps, user_id: str) -> dict[str, Any]:
    """The groups of a person, what they may do, and what they may use. Raises NotFound."""
    async with deps.database.read() as connection:
        found = await users.get(connection, user_id)
        if found is None:
            raise NotFound
        rights = await deps.identifier.rights(connection, user_id)
        paths = rights.permissions
        seen_as = Principal(
            id=found.id, role=found.role, name=found.name, email=found.email, groups=rights.groups, permissions=paths,
            role_sets=rights.role_sets,
        )  # fmt: skip
        inside = await groups.of_user(connection, user_id)
        usable = await previews.accessible(connection, seen_as)
    return {
        "user": {"id": found.id, "name": found.name},
        "groups": [_named(group) for group in inside],
        **usable,
        "permissions": tree(paths),
    }


async def group(deps: Deps, group_id: str) -> dict[str, Any]:
    """What a member of a group may do and use by the defaults, by the group it inherits from, and by itself. Raises NotFound."""
    async with deps.database.read() as connection:
        found = await _found(connection, group_id)
        parent = (
            None if found.parent_group_id is None else await groups.repository.get(connection, found.parent_group_id)
        )
        line = [found] if parent is None else [found, parent]
        defaults: Mapping[str, Any] = deps.config["user.permissions"]
        inherited = [defaults, *(one.permissions or {} for one in line[1:])]
        # Somebody who is in this group and has nothing of their own.
        member = Principal(
            id="", role="user", name="", email="", groups=frozenset(one.id for one in line),
            permissions=effective([*inherited, found.permissions or {}]),
        )  # fmt: skip
        usable = await previews.accessible(connection, member)
    return {
        "group": _named(found),
        "default_models": _default_models(line, deps.config["ui.default_models"]),
        **usable,
        "permissions": found.permissions or {},
        "inherited_permissions": tree(effective(inherited)),
        "effective_permissions": tree(member.permissions),
    }


async def _found(connection: AsyncConnection, group_id: str) -> Group:
    found = await groups.repository.get(connection, group_id)
    if found is None:
        raise NotFound
    return found


def _named(one: Group) -> dict[str, str]:
    return {"id": one.id, "name": one.name}


def _default_models(line: list[Group], of_server: str | None) -> dict[str, Any]:
    """The models that chats begin with: the group's own, else those of the group it inherits from, else the server's.

    source_group_id: the group that says so; None for the server.
    """
    own = [(one.id, _models_of(one)) for one in line]
    source, chosen = next(((i, models) for i, models in own if models), (None, None))
    everybodys = [name.strip() for name in (of_server or "").split(",") if name.strip()]
    return {"local": own[0][1], "effective": chosen or everybodys, "source_group_id": source}


def _models_of(one: Group) -> list[str] | None:
    config = (one.data or {}).get("config")
    given = config.get("default_models") if isinstance(config, dict) else None
    models = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    return models or None
