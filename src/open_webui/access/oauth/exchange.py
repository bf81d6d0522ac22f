"""The way there and back: where somebody is sent, what their code is good for, and what the provider says of them."""

import secrets
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from open_webui.access.oauth import id_tokens
from open_webui.access.oauth.discovery import Discovery, Metadata
from open_webui.access.oauth.providers import Provider
from open_webui.internal import oauth as http
from open_webui.internal.guarded_http import Unreachable, ask
from open_webui.internal.oauth import FORM, Method, SignInFailed, is_on

# Pages of a site's list of somebody's addresses, and what a provider calls a person at most.
_EMAILS: Final = "/emails?per_page=100"


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in under way. It travels sealed, in a cookie of the browser that began it. user_id: who links it to their account,
    "" for who signs in. back: a path of ours.
    """

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    until: int
    user_id: str = ""
    back: str = ""


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in brought: claims that are believed, and the provider's tokens. sid: what it calls the session. note:
    what administrators read of how the groups were found, "" for nothing.
    """

    claims: dict[str, Any]
    access_token: str = ""
    refresh_token: str = ""
    id_token: str = ""
    expires_in: int | None = None
    note: str = ""

    @property
    def sid(self) -> str:
        sid = self.claims.get("sid")
        return sid if isinstance(sid, str) and id_tokens.is_subject(sid) else ""


def new_flow(provider: Provider, redirect_uri: str, until: int, *, user_id: str = "", back: str = "") -> Flow:
    return Flow(
        provider=provider.id,
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=http.new_verifier(),
        redirect_uri=redirect_uri,
        until=until,
        user_id=user_id,
        back=back,
    )


def authorization_url(provider: Provider, metadata: Metadata, flow: Flow) -> str:
    """Where a person signs in."""
    fields = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": flow.redirect_uri,
        "scope": provider.scope,
        "state": flow.state,
        "code_challenge": http.challenge(flow.verifier),
        "code_challenge_method": "S256",
    }
    if provider.kind == "openid":
        fields["nonce"] = flow.nonce
    if provider.audience:
        fields["audience"] = provider.audience
    return http.with_query(metadata.authorization_endpoint, fields)


async def redeem(provider: Provider, discovery: Discovery, flow: Flow, code: str) -> Brought:
    """What a code is good for. Raises SignInFailed."""
    metadata = await discovery.metadata(provider)
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": flow.verifier,
        "redirect_uri": flow.redirect_uri,
    }
    fields, headers = http.identified(fields, provider.client_id, provider.client_secret, method(provider, metadata))
    made = await http.post(
        metadata.token_endpoint,
        urlencode(fields).encode(),
        FORM,
        allow_local=is_on(metadata.token_endpoint, provider.local),
        more=headers,
        seconds=provider.seconds,
    )
    access, lasts = made.get("access_token"), made.get("expires_in")
    if not isinstance(access, str) or not http.is_token(access):
        # Some say what went wrong with status 200.
        said = str(made.get("error_description") or made.get("error") or "")[:300]
        raise SignInFailed(f"{provider.label} gave no token. {said}".strip())
    again = made.get("refresh_token")
    tokens = Brought(
        claims={},
        access_token=access,
        refresh_token=again if isinstance(again, str) and http.is_token(again) else "",
        expires_in=lasting(lasts),
    )
    if provider.kind == "github":
        return msgspec.structs.replace(tokens, claims=await _of_github(provider, metadata, access))
    if provider.kind == "feishu":
        return msgspec.structs.replace(tokens, claims=await _of_feishu(provider, metadata, access))
    id_token = made.get("id_token")
    if not isinstance(id_token, str):
        raise SignInFailed(f"{provider.label} gave no id_token. Is 'openid' among the scopes?")
    claims = await _of_openid(provider, discovery, flow.nonce, id_token, access)
    return msgspec.structs.replace(tokens, claims=claims, id_token=id_token)


def lasting(expires_in: Any) -> int | None:
    """How many seconds a provider says that a token lasts; None where it doesn't, or says what can't be."""
    is_number = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
    return int(expires_in) if is_number and 0 <= expires_in < 2**32 else None


def method(provider: Provider, metadata: Metadata) -> Method:
    """How a client says who it is: as an admin says, or of the ways that are taken there."""
    if not provider.client_secret:
        return "none"
    if provider.method is not None:
        return provider.method
    basic_only = "client_secret_basic" in metadata.methods and "client_secret_post" not in metadata.methods
    return "client_secret_basic" if basic_only else "client_secret_post"


async def _of_openid(
    provider: Provider, discovery: Discovery, nonce: str, id_token: str, access: str
) -> dict[str, Any]:
    metadata = await discovery.metadata(provider)
    claims = await id_tokens.verified(id_token, metadata, lambda kid: discovery.keys(provider, kid))
    header, _ = id_tokens.unverified(id_token)
    id_tokens.check(
        claims, metadata, provider.client_id, nonce=nonce, access_token=access, algorithm=str(header.get("alg"))
    )
    return await with_userinfo(provider, metadata, access, claims)


async def with_userinfo(provider: Provider, metadata: Metadata, access: str, claims: dict[str, Any]) -> dict[str, Any]:
    """Claims and what else the provider tells of the person. What it signed counts where both say something."""
    if not metadata.userinfo_endpoint:
        return claims
    more = await _ask_as(provider, metadata.userinfo_endpoint, access)
    if more.get("sub") != claims["sub"]:
        raise SignInFailed(f"{provider.label} speaks of two people. Nobody was signed in.")
    return more | claims


async def _ask_as(provider: Provider, url: str, access: str) -> dict[str, Any]:
    """What a provider says to who has a token. Raises SignInFailed."""
    headers = {"authorization": f"Bearer {access}"}
    found = await http.get(url, allow_local=is_on(url, provider.local), seconds=provider.seconds, headers=headers)
    if found is None:
        raise SignInFailed(f"{provider.label} does not say who signed in.")
    return found


async def _of_github(provider: Provider, metadata: Metadata, access: str) -> dict[str, Any]:
    """The same names as OpenID has. A person's address counts where GitHub has verified it."""
    person = await _ask_as(provider, metadata.userinfo_endpoint, access)
    number = person.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise SignInFailed("GitHub does not say who signed in.")
    email, verified = await _github_email(provider, metadata, access)
    return {
        "sub": str(number),
        "email": email,
        "email_verified": verified,
        "name": person.get("name") or person.get("login"),
        "preferred_username": person.get("login"),
        "picture": person.get("avatar_url"),
    }


async def _github_email(provider: Provider, metadata: Metadata, access: str) -> tuple[str | None, bool]:
    url = f"{metadata.userinfo_endpoint}{_EMAILS}"
    headers = {"authorization": f"Bearer {access}", "accept": "application/json"}
    try:
        answer = await ask("GET", url, limit=http.LIMIT, timeout=provider.seconds, headers=headers)
        found = msgspec.json.decode(answer.body) if answer.status == 200 else []
    except (Unreachable, msgspec.DecodeError, RecursionError) as error:
        raise SignInFailed("GitHub does not say the address of who signed in.") from error
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and one.get("primary") is True and isinstance(one.get("email"), str):
            return one["email"], one.get("verified") is True
    return None, False


async def _of_feishu(provider: Provider, metadata: Metadata, access: str) -> dict[str, Any]:
    """The same names as OpenID has. The address of a company's directory is one that the company gave."""
    found = await _ask_as(provider, metadata.userinfo_endpoint, access)
    person = found.get("data")
    if found.get("code", 0) != 0 or not isinstance(person, dict):
        raise SignInFailed("Feishu does not say who signed in.")
    subject = next((person[name] for name in ("union_id", "open_id") if person.get(name)), None)
    if not isinstance(subject, str) or not id_tokens.is_subject(subject):
        raise SignInFailed("Feishu does not say who signed in.")
    company = person.get("enterprise_email")
    return {
        "sub": subject,
        "user_id": person.get("user_id"),
        "email": company or person.get("email"),
        "email_verified": bool(company),
        "name": person.get("name"),
        "picture": person.get("avatar_url"),
    }
