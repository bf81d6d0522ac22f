"""What passkeys sign: begun with a challenge that is good once, and looked at when it comes back. For all that asks for one."""

import secrets
import time
from typing import Any, Final

import msgspec

from open_webui.access import passkeys as webauthn
from open_webui.access.passkeys import Known, Refused, Site
from open_webui.errors import BadRequest, Forbidden, OuiError, Unauthenticated
from open_webui.internal import acts
from open_webui.internal.acts import Act
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import passkeys, users
from open_webui.models.passkeys import Ceremony, Passkey, Purpose
from open_webui.services.deps import Deps
from open_webui.services.factors.proving import OVER
from open_webui.services.signing_in import CHALLENGE_SECONDS, token_hash

log = get_logger(__name__)
NO_NAME: Final = (
    "Passkeys need an address with a name, by https (or localhost). Open this page under such an address; an administrator can"
    " set it as WEBUI_URL."
)
NONE_HERE: Final = "This account has no passkey for this address."
UNKNOWN: Final = "The server doesn't know this passkey. It may have been removed, or was made at another address."
WRONG: Final = "The answer of the passkey is not correct. Try it again."
COPIED: Final = (
    "There may be a copy of this passkey: it counted fewer uses than the server. Use another way, and remove it."
)


class Begun(msgspec.Struct, frozen=True):
    """challenge_token: what the page says when it comes back. options: for the browser. expires_in: seconds."""

    challenge_token: str
    options: dict[str, Any]
    expires_in: int = CHALLENGE_SECONDS


class Given(msgspec.Struct, frozen=True):
    """What a page sends back. token: of the challenge. credential: as the browser gave it. site, address: of the server, as the
    page calls it, and of the client. name: of a new passkey.
    """

    token: str
    credential: dict[str, Any]
    site: Site
    address: str
    name: str = ""


class Copied(Forbidden):
    """A passkey has counted backwards. user_id, name: whose it is, and what they call it."""

    detail = COPIED

    def __init__(self, user_id: str, name: str) -> None:
        super().__init__(status=403)
        self.user_id = user_id
        self.name = name


def site_of(base: str, *, is_fixed: bool) -> Site:
    """See access/passkeys.py. Raises BadRequest."""
    try:
        return webauthn.site_of(base, is_fixed=is_fixed)
    except Refused:
        raise BadRequest(NO_NAME) from None


async def begin(
    unit: UnitOfWork, site: Site, purpose: Purpose, token: str, user_id: str | None = None, *, jti: str = ""
) -> str:
    """Notes what is to be signed, and gives it. token: by which it is found. jti: of the session that asks."""
    challenge = webauthn.encode(secrets.token_bytes(webauthn.CHALLENGE_BYTES))
    noted = Ceremony(
        hash=token_hash(token), purpose=purpose, user_id=user_id, jti=jti, challenge=challenge, rp_id=site.rp_id,
        expires_at=int(time.time()) + CHALLENGE_SECONDS,
    )  # fmt: skip
    await passkeys.begin(unit.connection, noted)
    return challenge


async def begin_signing(
    unit: UnitOfWork, site: Site, purpose: Purpose, token: str, user_id: str, *, jti: str = ""
) -> dict[str, Any]:
    """What a browser is asked so that one of somebody's passkeys signs. Raises BadRequest where none can."""
    known = [one for one in await passkeys.of_user(unit.connection, user_id) if one.rp_id == site.rp_id]
    if not known:
        raise BadRequest(NONE_HERE)
    challenge = await begin(unit, site, purpose, token, user_id, jti=jti)
    return webauthn.to_sign(
        site, challenge, [(one.credential_id, one.transports.split()) for one in known], verified=False
    )


async def begin_making(
    deps: Deps, unit: UnitOfWork, site: Site, purpose: Purpose, token: str, user_id: str, *, jti: str = ""
) -> dict[str, Any]:
    """What a browser is asked so that it makes a passkey for somebody."""
    user = await users.get(unit.connection, user_id)
    if user is None:
        raise Unauthenticated(OVER)
    challenge = await begin(unit, site, purpose, token, user_id, jti=jti)
    known = [_known(one) for one in await passkeys.of_user(unit.connection, user_id) if one.rp_id == site.rp_id]
    return webauthn.to_make(site, deps.config["ui.name"], challenge, (user.id, user.email, user.name), known)


def made(given: Given, ceremony: Ceremony, user_id: str) -> Passkey:
    """The passkey that a browser has made for somebody, to be stored. Raises BadRequest."""
    if ceremony.rp_id != given.site.rp_id:
        raise BadRequest(WRONG)
    try:
        found = webauthn.check_made(given.site, ceremony.challenge, given.credential)
    except Refused as error:
        log.info("a new passkey was refused", why=str(error))
        raise BadRequest(WRONG) from None
    ways = [way for way in given.credential["response"].get("transports") or () if way in webauthn.TRANSPORTS]
    return passkeys.new(
        user_id,
        rp_id=given.site.rp_id,
        name=given.name,
        transports=" ".join(sorted(set(ways))),
        **msgspec.structs.asdict(found),
    )


async def signed(unit: UnitOfWork, given: Given, ceremony: Ceremony | None, *, verified: bool) -> Passkey | OuiError:
    """The passkey that has signed, whose use is noted; or what is said of it: raised after the commit, since the challenge is
    used up either way. verified: it must have asked its person.
    """
    if ceremony is None:
        return Unauthenticated(OVER)
    found = await passkeys.find(unit.connection, given.credential["id"])
    if found is None or not given.site.rp_id == ceremony.rp_id == found.rp_id:
        return BadRequest(UNKNOWN)
    if ceremony.user_id not in {None, found.user_id}:
        return BadRequest(UNKNOWN)
    acts.about("user", found.user_id)
    await users.get(unit.connection, found.user_id, lock=True)
    # Of two at once the second one finds the counter of the first.
    found = await passkeys.find(unit.connection, found.credential_id)
    if found is None:
        return BadRequest(UNKNOWN)
    try:
        shown = webauthn.check_signed(
            given.site, ceremony.challenge, _known(found), found.user_id, given.credential, verified=verified
        )
    except Refused as error:
        log.info("the answer of a passkey was refused", why=str(error))
        return BadRequest(WRONG)
    if (shown.counter or found.counter) and shown.counter <= found.counter:
        return Copied(found.user_id, found.name)
    await passkeys.used(unit.connection, found.id, shown.counter, backed_up=shown.backed_up)
    return found


async def refuse(deps: Deps, error: OuiError) -> OuiError:
    """What is raised after the commit. That there may be a copy of a passkey stands in the audit record by itself."""
    if isinstance(error, Copied):
        log.warning("a passkey counted backwards: there may be a copy of it", user=error.user_id, passkey=error.name)
        doing = acts.current()
        act = Act("a passkey counted backwards", "warn", resource="user", via=doing.via if doing is not None else "")
        act.resource_id, act.is_wanted = error.user_id, True
        act.address = doing.address if doing is not None else ""
        act.changes = {"passkey": (error.name, "there may be a copy of it")}
        with acts.doing(act):
            async with deps.database.write():
                """The entry is all that is stored."""
    return error


def _known(found: Passkey) -> Known:
    return Known(found.credential_id, found.public_key, found.backup_eligible)
