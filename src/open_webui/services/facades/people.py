"""People, as the one who asks may see them."""

from typing import Any, Final

import msgspec

from open_webui import constants
from open_webui.models import users
from open_webui.models.users import Person, User
from open_webui.services import people
from open_webui.services.facades.use import Use

# Of one's own row: ways to sign in are nobody's business.
_HIDDEN: Final = ("oauth", "scim")


async def by_id(use: Use) -> dict[str, Any] | None:
    async with use.deps.database.read() as connection:
        user = await users.get(connection, use.text("id"))
    return None if user is None else _wire(use, user)


async def by_email(use: Use) -> dict[str, Any] | None:
    """Whoever may not see somebody's address may not look for it either."""
    email = use.text("email", limit=1_000).lower()
    if not use.principal.is_admin and email != use.principal.email.lower():
        return None
    async with use.deps.database.read() as connection:
        user = await users.get_by_email(connection, email)
    return None if user is None else _wire(use, user)


def _wire(use: Use, user: User) -> dict[str, Any]:
    """Oneself whole; somebody else as lists of people show them."""
    if user.id != use.principal.id:
        return _line(use, user)
    row = people.without_secrets(user)
    row["settings"] = people.effective_settings(row.get("settings"), use.deps.config)
    return {name: value for name, value in row.items() if name not in _HIDDEN}


def _line(use: Use, user: User | Person) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.structs.asdict(people.shown_to(use.principal, user))
    return shown | {"profile_image_url": f"/api/v1/users/{user.id}/profile/image", "settings": None, "info": None}


async def listed(use: Use) -> dict[str, Any]:
    """A page of people, by their names; for admins as their own list has it."""
    asked = use.maybe_object("filter")
    query = asked.get("query")
    number = use.number("skip", 0, most=10**9) // constants.USERS_PER_PAGE + 1
    is_admin = use.principal.is_admin
    async with use.deps.database.read() as connection:
        found, total = await users.page(
            connection,
            Person,
            query=query[: constants.MAX_NAME] if isinstance(query, str) else None,
            order_by=None if is_admin else "name",
            number=number,
            by_email=is_admin,
        )
    return {"users": [_line(use, one) for one in found], "total": total}


async def count(use: Use) -> int | None:
    if not use.principal.is_admin:
        return None
    async with use.deps.database.read() as connection:
        return (await users.page(connection, Person))[1]


async def first_admin(use: Use) -> dict[str, Any] | None:
    """Who set the server up; told to admins."""
    if not use.principal.is_admin:
        return None
    async with use.deps.database.read() as connection:
        user = await users.primary_admin(connection)
    return None if user is None else _wire(use, user)
