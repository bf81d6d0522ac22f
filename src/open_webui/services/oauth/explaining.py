"""Why a sign-in went as it did, for administrators: the last ones, and what would come of claims that are pasted."""

from typing import Any

import msgspec

from open_webui.access.oauth import rules as rulebook
from open_webui.access.oauth.read_claims import shown
from open_webui.access.oauth.ways import way_in
from open_webui.errors import BadRequest, NotFound
from open_webui.models import sign_ins, users
from open_webui.models.sign_ins import SignInRow
from open_webui.services.deps import Deps
from open_webui.services.oauth.settling import facts_of

PAGE = 50


async def last(deps: Deps, before: int | None) -> list[SignInRow]:
    """A page of what came of sign-ins, the newest first."""
    async with deps.database.read() as connection:
        return await sign_ins.page(connection, before, PAGE)


async def explain(deps: Deps, provider_id: str, claims: dict[str, Any] | None, attempt: int | None) -> dict[str, Any]:
    """What the rules in force make of claims, or of those of an earlier sign-in. Nothing is changed.

    Raises BadRequest, NotFound.
    """
    if (claims is None) == (attempt is None):
        raise BadRequest("Give either claims, or the number of a sign-in.")
    if attempt is not None:
        async with deps.database.read() as connection:
            row = await sign_ins.get(connection, attempt)
        if row is None:
            raise NotFound("There is no such sign-in, or it was too long ago.")
        provider_id, claims = row.provider, row.claims
    chosen = way_in(deps.config, deps.settings, provider_id)
    given = rulebook.rules(deps.config, chosen)
    async with deps.database.read() as connection:
        facts, user_id = await facts_of(deps, connection, chosen, claims or {}, None)
        is_first = not await users.any_exists(connection)
    verdict = rulebook.evaluate(given, chosen, claims or {}, msgspec.structs.replace(facts, is_first=is_first))
    return {
        "provider": chosen.id,
        "allowed": verdict.action != "refuse",
        "action": verdict.action,
        "reason": verdict.reason,
        "user_id": user_id or None,
        "email": verdict.email,
        "email_verified": verdict.email_verified,
        "name": verdict.name,
        "role": verdict.role if verdict.action == "refuse" else verdict.role or facts.role,
        "groups": {"join": verdict.join, "leave": verdict.leave, "make": verdict.make},
        "steps": [msgspec.to_builtins(step) for step in verdict.steps],
        "claims": shown(claims or {}),
    }
