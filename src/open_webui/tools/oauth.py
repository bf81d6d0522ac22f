"""Signing a person in at a tool server: OAuth 2.1 as MCP has it (RFC 9728, 8414, 7591, 8707, and PKCE).

Addresses come from the server and from whom it names. None but public ones are asked, except on the host that an admin chose.
"""

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from open_webui.errors import BadRequest
from open_webui.internal import oauth as http
from open_webui.internal.guarded_http import Unreachable, ask
from open_webui.internal.oauth import (
    FORM,
    LIMIT,
    SECONDS,
    Method,
    SignInFailed,
    SignInGone,
    is_address,
    is_on,
    new_verifier,
    origin,
    texts,
)
from open_webui.tools.oauth_challenge import named_in

__all__ = ["SignInFailed", "SignInGone", "new_verifier"]
# The first message of the protocol: who has to sign in is refused, and told where.
_HELLO: Final = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "oui-backend", "version": "1"},
    },
}
# With it come tokens that outlive the session, where a server has it.
_OFFLINE: Final = "offline_access"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool server's sign-in knows this server. local: the host on which addresses may be private. method: how it says
    who it is, where it has a secret.
    """

    client_id: str
    client_secret: str = ""
    authorization_endpoint: str
    token_endpoint: str
    resource: str
    scope: str = ""
    local: str = ""
    issuer: str = ""
    redirect_uri: str = ""
    method: Method = "client_secret_post"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has there. expires_at: seconds since the epoch, None where nothing is said."""

    access_token: str
    refresh_token: str = ""
    expires_at: int | None = None


async def discover(url: str, issuer: str | None = None) -> dict[str, Any]:
    """The metadata of whom a server has people sign in at, with its own `resource` and `scope`. issuer: where an admin knows
    it. Raises SignInFailed, BadRequest for what is no address.
    """
    for given in (url, issuer):
        if given is not None and not is_address(given):
            raise BadRequest(f"'{given[:200]}' is no address of a server.")
    local = urlsplit(url).hostname or ""
    about = await _resource(url, local)
    resource = about.get("resource", url)
    if not isinstance(resource, str) or not is_address(resource) or not _same_site(resource, url):
        # Tokens for somebody else would be asked for (RFC 9728, 3.3).
        raise SignInFailed(f"{local} says that it is something else ({str(resource)[:200]}).")
    named = about.get("authorization_servers")
    issuer = issuer or next((s for s in named if isinstance(s, str)), None) if isinstance(named, list) else issuer
    found = await _metadata(issuer or origin(url), local)
    for name in ("authorization_endpoint", "token_endpoint"):
        if not isinstance(found.get(name), str) or not is_address(found[name]):
            raise SignInFailed(f"{local} does not say where people sign in.")
    if "S256" not in (found.get("code_challenge_methods_supported") or ()):
        raise SignInFailed(f"{local} has people sign in without PKCE (S256), which is not safe.")
    scope = about.get("scope") or " ".join(texts(about.get("scopes_supported")))
    if scope and _OFFLINE in texts(found.get("scopes_supported")) and _OFFLINE not in scope.split():
        scope += f" {_OFFLINE}"
    return found | {"resource": resource, "scope": scope, "local": local}


async def register(
    metadata: Mapping[str, Any], redirect_uri: str, name: str, *, client_id: str = "", secret: str = "", scope: str = ""
) -> Client:
    """A registration of this server there. client_id, secret: where an admin made it by hand. Raises SignInFailed."""
    local = str(metadata["local"])
    method = _method(metadata, has_secret=bool(secret))
    if not client_id:
        endpoint = metadata.get("registration_endpoint")
        if not isinstance(endpoint, str) or not is_address(endpoint):
            raise SignInFailed(
                f"{local} takes no registrations by itself. Register there by hand, and give the client's id."
            )
        wanted = {
            "client_name": name,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        } | ({"scope": scope or metadata["scope"]} if scope or metadata["scope"] else {})
        made = await _post(endpoint, msgspec.json.encode(wanted), "application/json", local)
        client_id, secret = str(made.get("client_id") or ""), str(made.get("client_secret") or "")
        if secret and method == "none":
            method = _method(metadata, has_secret=True)
        if not client_id:
            raise SignInFailed(f"{local} answered a registration without an id.")
    return Client(
        client_id=client_id,
        client_secret=secret,
        authorization_endpoint=metadata["authorization_endpoint"],
        token_endpoint=metadata["token_endpoint"],
        resource=metadata["resource"],
        scope=scope or metadata["scope"],
        local=local,
        issuer=str(metadata.get("issuer") or ""),
        redirect_uri=redirect_uri,
        method=method,
    )


def _method(metadata: Mapping[str, Any], *, has_secret: bool) -> Method:
    """How a client says who it is, of the ways that are taken there."""
    taken = texts(metadata.get("token_endpoint_auth_methods_supported"))
    if not has_secret and (not taken or "none" in taken):
        return "none"
    return (
        "client_secret_basic"
        if "client_secret_basic" in taken and "client_secret_post" not in taken
        else "client_secret_post"
    )


def with_scope(client: Client, more: str) -> Client:
    """The same for a sign-in with these rights, too."""
    return msgspec.structs.replace(client, scope=" ".join(dict.fromkeys([*client.scope.split(), *more.split()])))


def authorization_url(client: Client, state: str, verifier: str) -> str:
    """Where a person signs in."""
    fields = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": state,
        "code_challenge": http.challenge(verifier),
        "code_challenge_method": "S256",
        "resource": client.resource,
    } | ({"scope": client.scope} if client.scope else {})
    return http.with_query(client.authorization_endpoint, fields)


async def redeem(client: Client, code: str, verifier: str) -> Tokens:
    """The tokens for a sign-in's code. Raises SignInFailed."""
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
    return await _tokens(client, fields | {"redirect_uri": client.redirect_uri})


async def refresh(client: Client, tokens: Tokens) -> Tokens:
    """Tokens in place of those that end. Raises SignInGone where that is refused, SignInFailed."""
    if not tokens.refresh_token:
        raise SignInGone("The sign-in has ended.")
    made = await _tokens(client, {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token})
    return made if made.refresh_token else msgspec.structs.replace(made, refresh_token=tokens.refresh_token)


async def _tokens(client: Client, fields: dict[str, str]) -> Tokens:
    fields, headers = http.identified(
        fields | {"resource": client.resource}, client.client_id, client.client_secret, client.method
    )
    made = await _post(client.token_endpoint, urlencode(fields).encode(), FORM, client.local, headers)
    token, kind = made.get("access_token"), str(made.get("token_type") or "bearer")
    if not isinstance(token, str) or not http.is_token(token) or kind.lower() != "bearer":
        raise SignInFailed(f"{client.local} gave no token that can be used.")
    lasts = made.get("expires_in")
    expires = int(time.time()) + int(lasts) if isinstance(lasts, int | float) else None
    again = made.get("refresh_token")
    return Tokens(access_token=token, refresh_token=again if isinstance(again, str) else "", expires_at=expires)


async def _resource(url: str, local: str) -> dict[str, Any]:
    """What a server says of itself as a resource, or nothing: older servers don't. `scope`: what it wants for a beginning."""
    parts = urlsplit(url)
    well_known = f"{origin(url)}/.well-known/oauth-protected-resource"
    places = [well_known + parts.path.rstrip("/"), well_known]
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    try:
        refused = await ask(
            "POST",
            url,
            limit=LIMIT,
            timeout=SECONDS,
            body=msgspec.json.encode(_HELLO),
            headers=headers,
            allow_local=True,
        )
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    challenge = refused.headers.get("www-authenticate", "")
    named, scope = named_in(challenge, "resource_metadata"), named_in(challenge, "scope")
    if named and is_address(named) and _same_site(named, url):
        places.insert(0, named)
    for place in dict.fromkeys(places):
        if (found := await _get(place, local)) is not None:
            return found | {"scope": scope}
    return {"scope": scope}


async def _metadata(issuer: str, local: str) -> dict[str, Any]:
    if not is_address(issuer):
        raise SignInFailed("The server names nobody at whom people could sign in.")
    parts = urlsplit(issuer)
    root, path = origin(issuer), parts.path.rstrip("/")
    kinds = ("oauth-authorization-server", "openid-configuration")
    places = [f"{root}/.well-known/{kind}{path}" for kind in kinds]
    if path:
        places.append(f"{root}{path}/.well-known/openid-configuration")
    for place in places:
        found = await _get(place, local)
        if found is not None:
            if str(found.get("issuer")).rstrip("/") != issuer.rstrip("/"):
                raise SignInFailed(
                    f"{parts.hostname} says that it is somebody else ({str(found.get('issuer'))[:200]})."
                )
            return found
    raise SignInFailed(f"{parts.hostname} does not say how people sign in there.")


async def _get(url: str, local: str) -> dict[str, Any] | None:
    return await http.get(url, allow_local=is_on(url, local))


async def _post(url: str, body: bytes, kind: str, local: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    return await http.post(url, body, kind, allow_local=is_on(url, local), more=more)


def _same_site(url: str, other: str) -> bool:
    return origin(url) == origin(other)


def check_redirect(url: str) -> str:
    """The address that people come back to. Raises BadRequest for one that servers refuse."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise BadRequest("Sign-in to tool servers needs this server's address with https. Set WEBUI_URL.")
    return url
