"""Whose account a sign-in by a provider is: found, joined, made or refused, in one unit of work, with its role and groups."""

from functools import partial
from typing import Any, Final

import msgspec

from open_webui.access.oauth import rules as rulebook
from open_webui.access.oauth.exchange import Brought
from open_webui.access.oauth.providers import Provider
from open_webui.access.oauth.read_claims import digest, shown
from open_webui.access.oauth.rules import Facts, Verdict
from open_webui.access.tokens import new_jti
from open_webui.errors import BadRequest, Forbidden
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import accounts as credentials
from open_webui.models import files, group_members, groups, identities, provider_sessions, sign_ins, users
from open_webui.models.base import new_id, now
from open_webui.models.files import NewFile
from open_webui.models.provider_sessions import NEVER, ProviderSession
from open_webui.models.users import DEFAULT_IMAGE
from open_webui.principal import Principal
from open_webui.services import accounts
from open_webui.services.deps import Deps
from open_webui.services.files import check_picture
from open_webui.services.oauth import pictures
from open_webui.services.signing_in import Admitted, admit, lifetime
from open_webui.utils.addresses import address

log = get_logger(__name__)
# Who was a moment too late finds whom the other one made.
TRIES: Final = 3


class _Overtaken(Exception):
    """Another sign-in made the identity, or took the address, at the same moment."""


class _Settled(msgspec.Struct, kw_only=True):
    """verdict: what was decided. admitted: what the person has now; None where it was refused or linked."""

    verdict: Verdict
    user_id: str = ""
    admitted: Admitted | None = None


async def settle(deps: Deps, provider: Provider, brought: Brought, caller: Principal | None) -> Admitted | None:
    """What who signed in gets; None where an identity was linked to the caller's account.

    Raises Forbidden with the reason. Whatever comes of it is noted for administrators.
    """
    claims = brought.claims
    for _ in range(TRIES):
        look, owner = await _look(deps, provider, claims, caller)
        person = new_id() if look.action == "sign_up" else ""
        picture = await pictures.of(deps, provider, brought, look, person or owner)
        try:
            async with deps.database.write() as unit:
                settled = await _decide(deps, unit, provider, brought, caller, person)
                await _carry_out(deps, unit, provider, brought, settled, picture)
                await _note(unit, provider, claims, settled)
        except _Overtaken:
            continue
        verdict = settled.verdict
        log.info(
            "a sign-in by a provider", provider=provider.id, action=verdict.action, user_id=settled.user_id or None
        )
        if verdict.action == "refuse":
            raise Forbidden(verdict.reason, status=403)
        return settled.admitted
    raise BadRequest("Somebody else changed this account at the same moment. Sign in again.")


async def _look(
    deps: Deps, provider: Provider, claims: dict[str, Any], caller: Principal | None
) -> tuple[Verdict, str]:
    """What will be decided, as things are now, and about whom: so that nothing is fetched while the database waits."""
    async with deps.database.read() as connection:
        facts, user_id = await facts_of(deps, connection, provider, claims, caller)
    return rulebook.evaluate(rulebook.rules(deps.config, provider), provider, claims, facts), user_id


async def facts_of(
    deps: Deps,
    connection: Any,
    provider: Provider,
    claims: dict[str, Any],
    caller: Principal | None,
    *,
    lock: bool = False,
) -> tuple[Facts, str]:
    """What the server knows about who these claims are of, and the id of that account; "" for nobody's."""
    given = rulebook.rules(deps.config, provider)
    read = rulebook.evaluate(given, provider, claims, Facts())
    known = await identities.find(connection, provider.id, read.subject) if read.subject else None
    user_id = known.user_id if known is not None else ""
    kind = "linked" if known is not None else "none"
    if known is None and read.email is not None and caller is None:
        by_email = await users.get_by_email(connection, read.email)
        if by_email is not None:
            kind, user_id = "by_email", by_email.id
    if caller is not None:
        user_id = caller.id
    user = await users.get(connection, user_id, lock=lock) if user_id else None
    credential = await credentials.credential_of(connection, user_id) if user_id else None
    primary = await users.primary_admin(connection)
    own = await groups.of_user(connection, user_id) if user_id else []
    every = await groups.repository.all(connection) if given.maps_groups else []
    facts = Facts(
        account=kind,  # type: ignore[arg-type]  # one of three words
        linking=caller is not None,
        is_mine=caller is not None and known is not None and known.user_id == caller.id,
        is_active=credential is None or credential.active,
        role=user.role if user is not None else None,
        is_primary=primary is not None and primary.id == user_id,
        groups=frozenset(group.name for group in every),
        member_of=frozenset(group.name for group in own),
    )
    return facts, user_id


async def _decide(
    deps: Deps, unit: UnitOfWork, provider: Provider, brought: Brought, caller: Principal | None, person: str
) -> _Settled:
    """The verdict, with the rows locked that it is about. Raises _Overtaken where nothing is prepared for it any more."""
    given, claims = rulebook.rules(deps.config, provider), brought.claims
    facts, user_id = await facts_of(deps, unit.connection, provider, claims, caller, lock=True)
    verdict = rulebook.evaluate(given, provider, claims, facts)
    if verdict.action == "sign_up":
        if not person:
            raise _Overtaken
        if await credentials.claim_first_admin(unit.connection, person):
            verdict = rulebook.evaluate(given, provider, claims, msgspec.structs.replace(facts, is_first=True))
        user_id = person
    if brought.note:
        verdict.note(given.groups_claim, brought.note)
    return _Settled(verdict=verdict, user_id=user_id)


async def _carry_out(
    deps: Deps, unit: UnitOfWork, provider: Provider, brought: Brought, settled: _Settled, picture: NewFile | None
) -> None:
    verdict, user_id = settled.verdict, settled.user_id
    if verdict.action == "refuse":
        return
    if verdict.action == "sign_up":
        await _make(deps, unit, user_id, verdict, picture)
    elif verdict.action in {"sign_in", "merge"}:
        await _renew(deps, unit, user_id, verdict, picture)
    await _identify(unit, provider, brought, user_id, verdict)
    if verdict.action == "link":
        return
    await _join_and_leave(deps, unit, user_id, verdict)
    settled.admitted = await _session(deps, unit, provider, brought, user_id, verdict)
    unit.after_commit(partial(deps.identifier.forget, user_id))


async def _make(deps: Deps, unit: UnitOfWork, user_id: str, verdict: Verdict, picture: NewFile | None) -> None:
    values = {
        "id": user_id,
        "name": verdict.name,
        "email": verdict.email,
        "role": verdict.role or "pending",
        "profile_image_url": DEFAULT_IMAGE if picture is None else address(picture.id),
    }
    if await users.get_by_email(unit.connection, str(verdict.email)) is not None:
        raise _Overtaken
    try:
        await accounts.insert(unit, values, None, own=[picture] if picture is not None else [])
    except BadRequest:
        # The address was taken between the two statements.
        raise _Overtaken from None
    if any(step.rule == "first account" for step in verdict.steps):
        await accounts.close_sign_up(deps, unit)
    await accounts.join_default_group(deps, unit, user_id)


async def _renew(deps: Deps, unit: UnitOfWork, user_id: str, verdict: Verdict, picture: NewFile | None) -> None:
    """What a sign-in changes of an account that is there: its role, and what the settings say."""
    user = await users.get(unit.connection, user_id)
    assert user is not None, "its row is locked"
    values: dict[str, Any] = {}
    if verdict.role is not None and verdict.role != user.role:
        values["role"] = verdict.role
    if deps.config["oauth.update_name_on_login"] and verdict.name and verdict.name != user.name:
        values["name"] = verdict.name
    if deps.config["oauth.update_email_on_login"] and verdict.email and verdict.email != user.email:
        taken = await users.get_by_email(unit.connection, verdict.email) is not None
        if verdict.email_verified is False or taken:
            verdict.note(
                "OAUTH_UPDATE_EMAIL_ON_LOGIN", "the address stays: the new one is not verified, or another account's"
            )
        else:
            values["email"] = verdict.email
    if picture is not None:
        await files.add(unit.connection, user_id, [picture])
        values["profile_image_url"] = address(picture.id)
    if values:
        await users.update(unit.connection, user_id, values)
        await check_picture(unit.connection, "profile_id", user_id, values.get("profile_image_url"))
    await users.touch(unit.connection, user_id)


async def _identify(unit: UnitOfWork, provider: Provider, brought: Brought, user_id: str, verdict: Verdict) -> None:
    said = digest(brought.claims)
    known = await identities.find(unit.connection, provider.id, verdict.subject)
    if known is not None:
        await identities.used(unit.connection, known.id, verdict.email, said)
    elif not await identities.add(unit.connection, user_id, provider.id, verdict.subject, verdict.email, said):
        raise _Overtaken


async def _join_and_leave(deps: Deps, unit: UnitOfWork, user_id: str, verdict: Verdict) -> None:
    if not (verdict.join or verdict.leave or verdict.make):
        return
    primary = await users.primary_admin(unit.connection)
    share = deps.config["oauth.group_default_share"]
    for name in verdict.make:
        values = {
            "name": name, "description": "", "meta": None, "permissions": None, "parent_group_id": None,
            "data": {"config": {"share": share}},
        }  # fmt: skip
        await groups.repository.create(unit.connection, user_id if primary is None else primary.id, values)
    by_name: dict[str, list[str]] = {}
    for group in await groups.repository.all(unit.connection):
        by_name.setdefault(group.name, []).append(group.id)
    for name in verdict.join:
        # Of several by one name the oldest is meant.
        for group_id in by_name.get(name, [])[:1]:
            await group_members.add(unit.connection, group_id, [user_id])
    for name in verdict.leave:
        for group_id in by_name.get(name, []):
            await group_members.remove(unit.connection, group_id, [user_id])
    unit.after_commit(partial(deps.identifier.renew, [user_id]))


async def _session(
    deps: Deps, unit: UnitOfWork, provider: Provider, brought: Brought, user_id: str, verdict: Verdict
) -> Admitted:
    """A token, or the way to one, and the row by which the provider can end it."""
    credential = await credentials.credential_of(unit.connection, user_id)
    known = await identities.find(unit.connection, provider.id, verdict.subject)
    assert credential is not None, "the account was made or found before"
    assert known is not None, "and so was the identity"
    jti, at, seconds = new_jti(), now(), lifetime(deps)
    admitted = await admit(deps, unit, user_id, credential.session_stamp, provider.auth_method, jti)
    tokens = {
        "id_token": brought.id_token,
        "access_token": brought.access_token,
        "refresh_token": brought.refresh_token,
        "expires_at": None if brought.expires_in is None else at + brought.expires_in,
    }
    session = ProviderSession(
        jti=jti,
        user_id=user_id,
        identity_id=known.id,
        provider=provider.id,
        sid=brought.sid,
        sealed=deps.sealer.seal(msgspec.json.encode(tokens).decode(), user_id) if any(tokens.values()) else "",
        expires_at=NEVER if seconds is None else at + seconds,
        created_at=at,
        updated_at=at,
    )
    await provider_sessions.add(unit.connection, session)
    return admitted


async def _note(unit: UnitOfWork, provider: Provider, claims: dict[str, Any], settled: _Settled) -> None:
    verdict = settled.verdict
    values = {
        "provider": provider.id,
        "user_id": settled.user_id or None,
        "email": verdict.email,
        "allowed": verdict.action != "refuse",
        "reason": verdict.reason,
        "claims": shown(claims),
        "steps": [msgspec.to_builtins(step) for step in verdict.steps],
    }
    await sign_ins.add(unit.connection, values)
