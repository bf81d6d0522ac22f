"""What the rules make of a provider's claims: whether somebody is let in, as whom, with which role and groups, and why.

One pure function decides, and says each step that it took. Signing in and "explain this sign-in" both call it.
"""

import fnmatch
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from open_webui.access.oauth.id_tokens import is_subject
from open_webui.access.oauth.providers import Provider
from open_webui.access.oauth.read_claims import overflows, texts_at, value_at
from open_webui.config import Config
from open_webui.constants import MAX_EMAIL, MAX_NAME
from open_webui.principal import ROLES, Role
from open_webui.utils.emails import domain_of, is_email

EVERYTHING: Final = "*"
Action = Literal["sign_in", "sign_up", "merge", "link", "refuse"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that decide."""

    may_sign_up: bool
    merges: bool
    domains: tuple[str, ...]
    default_role: Role
    maps_roles: bool
    roles_claim: str
    admin_roles: tuple[str, ...]
    allowed_roles: tuple[str, ...]
    maps_groups: bool
    makes_groups: bool
    groups_claim: str
    blocked_groups: tuple[str, ...]
    email_claim: str
    name_claim: str
    picture_claim: str
    subject_claim: str
    # Whether an address alone finds an account, and the claim of roles has one of this server's: a proxy's word.
    trusts_addresses: bool = False
    names_role: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows. account: whose identity it is ("linked"), whose address it is ("by_email"), or nobody's. linking: a
    signed-in person adds an identity. is_first: there is nobody yet. is_primary: the administrator whom nobody demotes.
    groups: the names of all; member_of: of those that the person is in.
    """

    account: Literal["linked", "by_email", "none"] = "none"
    linking: bool = False
    is_mine: bool = False
    is_first: bool = False
    is_active: bool = True
    role: Role | None = None
    is_primary: bool = False
    groups: frozenset[str] = frozenset()
    member_of: frozenset[str] = frozenset()


class Step(msgspec.Struct, frozen=True):
    """What one rule made of it. rule: its setting or claim."""

    rule: str
    outcome: str


class Verdict(msgspec.Struct, kw_only=True):
    """What is to be done. role: None where it stays. join, leave, make: names of groups. reason: why it was refused."""

    action: Action = "refuse"
    reason: str = ""
    subject: str = ""
    email: str | None = None
    email_verified: bool | None = None
    name: str = ""
    picture: str = ""
    role: Role | None = None
    join: list[str] = msgspec.field(default_factory=list)
    leave: list[str] = msgspec.field(default_factory=list)
    make: list[str] = msgspec.field(default_factory=list)
    steps: list[Step] = msgspec.field(default_factory=list)

    def note(self, rule: str, outcome: str) -> None:
        self.steps.append(Step(rule, outcome))

    def refuse(self, rule: str, reason: str) -> None:
        self.note(rule, f"refused: {reason}")
        self.action, self.reason = "refuse", reason


def rules(config: Config, provider: Provider | None = None) -> Rules:
    """Those in force; for a directory and a proxy those of theirs."""
    given = _of_oauth(config)
    if provider is None or provider.kind not in {"ldap", "headers"}:
        return given
    # Which of its people may come in is said where the directory or the proxy is set up.
    return msgspec.structs.replace(
        given,
        may_sign_up=True,
        domains=(EVERYTHING,),
        maps_roles=False,
        roles_claim="role",
        maps_groups=provider.maps_groups,
        makes_groups=provider.makes_groups,
        groups_claim="groups",
        email_claim="email",
        name_claim="name",
        picture_claim="",
        subject_claim="sub",
        trusts_addresses=provider.kind == "headers",
        names_role=provider.names_role,
    )


def _of_oauth(config: Config) -> Rules:
    role = config["ui.default_user_role"]

    def names(key: str) -> tuple[str, ...]:
        return tuple(name for name in config[key] if isinstance(name, str) and name)

    return Rules(
        may_sign_up=config["oauth.enable_signup"],
        merges=config["oauth.merge_accounts_by_email"],
        domains=tuple(domain.lower().lstrip("@") for domain in names("oauth.allowed_domains")),
        default_role=role if role in ROLES else "pending",
        maps_roles=config["oauth.enable_role_mapping"],
        roles_claim=config["oauth.roles_claim"],
        admin_roles=names("oauth.admin_roles"),
        allowed_roles=names("oauth.allowed_roles"),
        maps_groups=config["oauth.enable_group_mapping"],
        makes_groups=config["oauth.enable_group_creation"],
        groups_claim=config["oauth.group_claim"],
        blocked_groups=blocked(config["oauth.blocked_groups"]),
        email_claim=config["oauth.email_claim"] or "email",
        name_claim=config["oauth.username_claim"] or "name",
        picture_claim=config["oauth.picture_claim"],
        subject_claim=config["oauth.sub_claim"] or "sub",
    )


def blocked(text: str) -> tuple[str, ...]:
    """The patterns in a setting: a JSON list, or texts with commas between them. Raises nothing."""
    try:
        found = msgspec.json.decode(text) if text.strip() else []
    except msgspec.DecodeError:
        found = [part.strip() for part in text.split(",")]
    return tuple(one for one in found if isinstance(one, str) and one) if isinstance(found, list) else ()


def evaluate(given: Rules, provider: Provider, claims: Mapping[str, Any], facts: Facts) -> Verdict:
    """The verdict on a sign-in with these claims. The same claims and facts have the same one."""
    verdict = Verdict()
    _read(given, provider, claims, verdict)
    for decide in (_subject, _account, _domain, _role):
        if not decide(given, provider, claims, facts, verdict):
            return verdict
    _groups(given, claims, facts, verdict)
    return verdict


def _read(given: Rules, provider: Provider, claims: Mapping[str, Any], verdict: Verdict) -> None:
    """Who it is, by the claims."""
    subject = value_at(claims, given.subject_claim)
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    verdict.subject = subject if is_subject(subject) else ""
    email = value_at(claims, given.email_claim)
    email = email.strip().lower() if isinstance(email, str) else ""
    verdict.email = email if len(email) <= MAX_EMAIL and is_email(email) else None
    verdict.email_verified = _is_verified(given, provider, claims)
    name = value_at(claims, given.name_claim)
    text = "".join(c for c in name if c.isprintable()).strip()[:MAX_NAME] if isinstance(name, str) else ""
    verdict.name = text or (verdict.email or "").partition("@")[0]
    picture = value_at(claims, given.picture_claim) if given.picture_claim else None
    verdict.picture = picture if isinstance(picture, str) else ""
    how = {True: "verified", False: "not verified", None: "the provider doesn't say whether verified"}
    verdict.note(
        given.subject_claim, f"the person is {verdict.subject[:200]!r} there" if verdict.subject else "there is none"
    )
    verdict.note(
        given.email_claim, f"{verdict.email} ({how[verdict.email_verified]})" if verdict.email else "there is none"
    )
    verdict.note(given.name_claim, f"the name is {verdict.name!r}" if verdict.name else "there is none")


def _is_verified(given: Rules, provider: Provider, claims: Mapping[str, Any]) -> bool | None:
    """Whether the provider vouches for the address. Of another claim than its own for addresses nobody says so."""
    said = claims.get("email_verified") if given.email_claim == "email" else None
    if provider.id == "microsoft" and given.email_claim == "email":
        # Microsoft's word for it; whoever runs a tenant writes any address into it.
        said = claims.get("xms_edov")
    if said in (True, "true", "True", 1, "1"):
        return True
    return False if said in (False, "false", "False", 0, "0") or (said is None and provider.anybody) else None


def _subject(given: Rules, _p: Provider, _c: Mapping[str, Any], _f: Facts, verdict: Verdict) -> bool:
    if not verdict.subject:
        verdict.refuse(given.subject_claim, "The provider does not say who signed in.")
    return bool(verdict.subject)


def _account(given: Rules, _p: Provider, _c: Mapping[str, Any], facts: Facts, verdict: Verdict) -> bool:
    """Which account it is for."""
    if facts.linking:
        _link(facts, verdict)
    elif facts.account == "linked":
        verdict.action = "sign_in"
        verdict.note("account", "the person has an account here")
    elif verdict.email is None:
        verdict.refuse(given.email_claim, "The provider gives no e-mail address, and an account needs one.")
    elif facts.account == "by_email":
        _merge(given, facts, verdict)
    elif not given.may_sign_up:
        verdict.refuse(
            "ENABLE_OAUTH_SIGNUP", "You have no account here yet, and this sign-in makes none. An administrator can."
        )
    else:
        verdict.action = "sign_up"
        verdict.note("ENABLE_OAUTH_SIGNUP", "an account is made")
    if verdict.action in {"sign_in", "merge"} and not facts.is_active:
        verdict.refuse("account", "This account is switched off. An administrator of this server can switch it on.")
    return verdict.action != "refuse"


def _link(facts: Facts, verdict: Verdict) -> None:
    if facts.account == "linked" and not facts.is_mine:
        verdict.refuse("account", "This sign-in belongs to another account of this server already.")
    else:
        verdict.action = "link"
        verdict.note("account", "it is linked to the account of who is signed in")


def _merge(given: Rules, facts: Facts, verdict: Verdict) -> None:
    taken = (
        "There is an account with this address already. Sign in to it as before, and link this sign-in in its settings."
    )
    if given.trusts_addresses:
        verdict.action = "merge"
        verdict.note("account", "the account with this address is joined: the proxy says whose it is")
    elif not given.merges:
        verdict.refuse("OAUTH_MERGE_ACCOUNTS_BY_EMAIL", taken)
    elif verdict.email_verified is not True:
        verdict.refuse("OAUTH_MERGE_ACCOUNTS_BY_EMAIL", f"{taken} (The provider does not vouch for the address.)")
    elif facts.is_primary or facts.role == "admin":
        # Whoever has a say over addresses at the provider would be one.
        verdict.refuse("OAUTH_MERGE_ACCOUNTS_BY_EMAIL", f"{taken} (An administrator's is not joined by address alone.)")
    else:
        verdict.action = "merge"
        verdict.note("OAUTH_MERGE_ACCOUNTS_BY_EMAIL", "the account with this verified address is joined")


def _domain(given: Rules, provider: Provider, claims: Mapping[str, Any], _f: Facts, verdict: Verdict) -> bool:
    """Whether addresses of this domain are let in; Google says of whom its own organisation's people are (`hd`)."""
    if EVERYTHING in given.domains or verdict.action == "link":
        return True
    domain = domain_of(verdict.email or "")
    if domain not in given.domains:
        verdict.refuse("OAUTH_ALLOWED_DOMAINS", "People with addresses of your domain do not sign in here.")
    elif verdict.email_verified is False:
        verdict.refuse(
            "OAUTH_ALLOWED_DOMAINS", "Your address is not verified by the provider, so its domain says nothing."
        )
    elif provider.id == "google" and claims.get("hd") != domain:
        verdict.refuse("OAUTH_ALLOWED_DOMAINS", "Your account at Google is not one of this domain's organisation (hd).")
    else:
        verdict.note("OAUTH_ALLOWED_DOMAINS", f"{domain} is let in")
    return verdict.action != "refuse"


def _role(given: Rules, _p: Provider, claims: Mapping[str, Any], facts: Facts, verdict: Verdict) -> bool:
    if verdict.action == "link":
        return True
    said = value_at(claims, given.roles_claim) if given.names_role else None
    if said is not None:
        if said not in ROLES:
            verdict.refuse(given.roles_claim, "The role that the proxy gives you is none of this server's.")
            return False
        verdict.role = said
        verdict.note(given.roles_claim, f"the role is {verdict.role}")
    elif not given.maps_roles:
        if verdict.action == "sign_up":
            verdict.role = given.default_role
            verdict.note("DEFAULT_USER_ROLE", f"the role is {verdict.role}")
    else:
        found = texts_at(claims, given.roles_claim)
        shown = ", ".join(found[:20]) or "nothing"
        if set(found) & set(given.admin_roles):
            verdict.role = "admin"
            verdict.note("OAUTH_ADMIN_ROLES", f"the role is admin: {given.roles_claim} has {shown}")
        elif set(found) & set(given.allowed_roles) or EVERYTHING in given.allowed_roles:
            verdict.role = "user"
            verdict.note("OAUTH_ALLOWED_ROLES", f"the role is user: {given.roles_claim} has {shown}")
        else:
            verdict.refuse("OAUTH_ALLOWED_ROLES", "None of your roles at the provider is let in here.")
            verdict.note(given.roles_claim, f"it has {shown}")
            return False
    if verdict.action == "sign_up" and facts.is_first:
        verdict.role = "admin"
        verdict.note("first account", "the role is admin: there is nobody on this server yet")
    elif facts.is_primary and verdict.role not in {None, "admin"}:
        verdict.role = None
        verdict.note("first account", "the role stays admin: nobody demotes the first administrator")
    return True


def _groups(given: Rules, claims: Mapping[str, Any], facts: Facts, verdict: Verdict) -> None:
    if not given.maps_groups or verdict.action == "link":
        return
    if overflows(claims, given.groups_claim):
        verdict.note(given.groups_claim, "the groups stay: there are more than the provider's token has room for")
        return
    named = texts_at(claims, given.groups_claim)
    if value_at(claims, given.groups_claim) is None:
        verdict.note(given.groups_claim, "there is none, which providers do for people without groups")
    kept = {name for name in {*named, *facts.member_of} if _is_blocked(given, name)}
    if kept:
        verdict.note("OAUTH_BLOCKED_GROUPS", f"left as they are: {', '.join(sorted(kept)[:20])}")
    wanted = [name for name in dict.fromkeys(named) if name not in kept]
    unknown = [name for name in wanted if name not in facts.groups]
    verdict.make = unknown if given.makes_groups else []
    verdict.join = [
        name for name in wanted if name not in facts.member_of and (name in facts.groups or given.makes_groups)
    ]
    verdict.leave = sorted(facts.member_of - set(wanted) - kept)
    if unknown and not given.makes_groups:
        verdict.note("ENABLE_OAUTH_GROUP_CREATION", f"not here, and not made: {', '.join(unknown[:20])}")
    for what, names in (("made", verdict.make), ("joined", verdict.join), ("left", verdict.leave)):
        if names:
            verdict.note(given.groups_claim, f"{what}: {', '.join(names[:20])}")


def _is_blocked(given: Rules, name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in given.blocked_groups)
