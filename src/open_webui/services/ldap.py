"""Signing in by a directory: the first one that knows the person decides, and what it says is settled as a provider's claims."""

import unicodedata
from typing import Any, Final

from open_webui.access.ldap.directory import Person, ask
from open_webui.access.ldap.servers import FIRST, OURS, SETTINGS, Server, made, servers
from open_webui.access.oauth.exchange import Brought
from open_webui.access.oauth.ways import of_directory
from open_webui.config import BY_KEY, Config
from open_webui.errors import BadRequest, Unavailable
from open_webui.internal.ldap.client import LdapError
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.schemas.auths import LdapServerConfig, LdapSignIn
from open_webui.services.deps import Deps
from open_webui.services.oauth import settling
from open_webui.services.signing_in import Admitted
from open_webui.utils.emails import is_email

log = get_logger(__name__)
# As recorded.
OFF: Final = "LDAP authentication is not enabled"
WRONG: Final = "The user name or the password is not correct."
AWAY: Final = (
    "The directory can't be asked right now. Try again in a moment, or tell an administrator: the log says more."
)
NONE: Final = "Sign-in by LDAP is switched on, but no directory is set up. An administrator can do that."


async def sign_in(deps: Deps, form: LdapSignIn, address: str) -> Admitted:
    """Raises BadRequest for a wrong name or password, alike; Unavailable where the directory can't be asked; Forbidden."""
    signed_in = await _settle(deps, form, address, None)
    assert signed_in is not None, "nothing is linked"
    return signed_in


async def link(deps: Deps, form: LdapSignIn, address: str, caller: Principal) -> None:
    """Who proves to be somebody there signs in here by that, from then on. Raises as `sign_in`."""
    await _settle(deps, form, address, caller)


async def _settle(deps: Deps, form: LdapSignIn, address: str, caller: Principal | None) -> Admitted | None:
    if not deps.config["ldap.enable"]:
        raise BadRequest(OFF)
    user = form.user.strip()
    await deps.attempts.sign_in(address, f"ldap {counted(user)}")
    # A directory takes a bind without a password for one of nobody, and says yes.
    if not user or not form.password or "\x00" in user or "\x00" in form.password:
        raise BadRequest(WRONG)
    server, person = await _ask_each(servers(deps.config), user, form.password)
    brought = Brought(claims=claims(person))
    return await settling.settle(deps, of_directory(server), brought, caller)


def counted(user: str) -> str:
    """A name as tries are counted for it: directories take many spellings of one for the same (RFC 4518)."""
    plain = unicodedata.normalize("NFKC", user)
    return " ".join("".join(c for c in plain if unicodedata.category(c) != "Cf").casefold().split())


async def _ask_each(known: list[Server], user: str, password: str) -> tuple[Server, Person]:
    """The directory that has the person, and what it says. One that can't be asked doesn't keep the others from it."""
    if not known:
        raise Unavailable(NONE)
    is_away = False
    for server in known:
        try:
            found = await ask(server, user, password)
        except LdapError as error:
            log.warning("a directory can't be asked", directory=server.provider, host=server.given.host, why=str(error))
            is_away = True
            continue
        if isinstance(found, Person):
            return server, found
        if found == "wrong":
            raise BadRequest(WRONG)
    if is_away:
        raise Unavailable(AWAY)
    raise BadRequest(WRONG)


def claims(person: Person) -> dict[str, Any]:
    """As a provider would say it. Whoever keeps the directory vouches for its addresses."""
    usable = [mail for mail in (one.strip().lower() for one in person.mails) if is_email(mail)]
    out: dict[str, Any] = {
        "sub": person.subject,
        "preferred_username": person.username,
        "name": person.name,
        "groups": list(person.groups),
        "email_verified": True,
    }
    if usable:
        out["email"] = usable[0]
    if person.has_more:
        # As Entra says it: then groups stay as they are.
        out["hasgroups"] = True
    return out


# The settings page


def wire(config: Config) -> dict[str, Any]:
    """The page's object, with the values in force."""
    return {name: config[key] for name, key in SETTINGS.items()}


def changes(config: Config, form: LdapServerConfig) -> dict[str, object]:
    """The settings that a posted object has. Raises BadRequest naming what can't be."""
    posted = form.model_dump()
    described = posted | {name: config[key] for name, key in OURS.items()}
    if posted["search_base"].strip() and posted["host"].strip():
        try:
            made(FIRST, described)
        except ValueError as error:
            raise BadRequest(f"This directory can't be used: {error}.") from None
    out: dict[str, object] = {}
    for name, key in SETTINGS.items():
        value = posted[name]
        out[key] = value if value is not None or BY_KEY[key].nullable else BY_KEY[key].type()
    return out


def is_on(config: Config) -> dict[str, bool]:
    """The page's switch."""
    return {"ENABLE_LDAP": config["ldap.enable"]}
