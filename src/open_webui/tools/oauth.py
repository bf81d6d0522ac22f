"""Signing a person in at a tool server: OAuth 2.1 as MCP has it (RFC 9728, 8414, 7591, 8707, and PKCE).

Addresses come from the server and from whom it names. None but public ones are asked, except on the host that an admin chose.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from open_webui.errors import BadRequest, ProviderError
from open_webui.internal.guarded_http import Unreachable, ask
from open_webui.tools.oauth_challenge import named_in

_LIMIT: Final = 200_000
_SECONDS: Final = 10.0
_JSON: Final = {"accept": "application/json"}
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
Method = Literal["none", "client_secret_post", "client_secret_basic"]
# With it come tokens that outlive the session, where a server has it.
_OFFLINE: Final = "offline_access"


class SignInFailed(ProviderError):
    """Why nobody can sign in there, or why it did not work; a sentence."""


class SignInGone(SignInFailed):
    """A sign-in that holds no more: the person has to do it again."""


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
        if given is not None and not _is_address(given):
            raise BadRequest(f"'{given[:200]}' is no address of a server.")
    local = urlsplit(url).hostname or ""
    about = await _resource(url, local)
    resource = about.get("resource", url)
    if not isinstance(resource, str) or not _is_address(resource) or not _same_site(resource, url):
        # Tokens for somebody else would be asked for (RFC 9728, 3.3).
        raise SignInFailed(f"{local} says that it is something else ({str(resource)[:200]}).")
    named = about.get("authorization_servers")
    issuer = issuer or next((s for s in named if isinstance(s, str)), None) if isinstance(named, list) else issuer
    found = await _metadata(issuer or _origin(url), local)
    for name in ("authorization_endpoint", "token_endpoint"):
        if not isinstance(found.get(name), str) or not _is_address(found[name]):
            raise SignInFailed(f"{local} does not say where people sign in.")
    if "S256" not in (found.get("code_challenge_methods_supported") or ()):
        raise SignInFailed(f"{local} has people sign in without PKCE (S256), which is not safe.")
    scope = about.get("scope") or " ".join(_texts(about.get("scopes_supported")))
    if scope and _OFFLINE in _texts(found.get("scopes_supported")) and _OFFLINE not in scope.split():
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
        if not isinstance(endpoint, str) or not _is_address(endpoint):
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
    taken = _texts(metadata.get("token_endpoint_auth_methods_supported"))
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


def new_verifier() -> str:
    """A secret of one sign-in (PKCE)."""
    return secrets.token_urlsafe(48)


def authorization_url(client: Client, state: str, verifier: str) -> str:
    """Where a person signs in."""
    digest = hashlib.sha256(verifier.encode()).digest()
    fields = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "resource": client.resource,
    } | ({"scope": client.scope} if client.scope else {})
    sep = "&" if "?" in client.authorization_endpoint else "?"
    return f"{client.authorization_endpoint}{sep}{urlencode(fields, quote_via=quote)}"


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
    fields |= {"client_id": client.client_id, "resource": client.resource}
    headers = {}
    if client.client_secret and client.method == "client_secret_basic":
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif client.client_secret:
        fields["client_secret"] = client.client_secret
    body = urlencode(fields).encode()
    made = await _post(client.token_endpoint, body, "application/x-www-form-urlencoded", client.local, headers)
    token, kind = made.get("access_token"), str(made.get("token_type") or "bearer")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or kind.lower() != "bearer":
        raise SignInFailed(f"{client.local} gave no token that can be used.")
    lasts = made.get("expires_in")
    expires = int(time.time()) + int(lasts) if isinstance(lasts, int | float) else None
    again = made.get("refresh_token")
    return Tokens(access_token=token, refresh_token=again if isinstance(again, str) else "", expires_at=expires)


async def _resource(url: str, local: str) -> dict[str, Any]:
    """What a server says of itself as a resource, or nothing: older servers don't. `scope`: what it wants for a beginning."""
    parts = urlsplit(url)
    well_known = f"{_origin(url)}/.well-known/oauth-protected-resource"
    places = [well_known + parts.path.rstrip("/"), well_known]
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    try:
        refused = await ask(
            "POST",
            url,
            limit=_LIMIT,
            timeout=_SECONDS,
            body=msgspec.json.encode(_HELLO),
            headers=headers,
            allow_local=True,
        )
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    challenge = refused.headers.get("www-authenticate", "")
    named, scope = named_in(challenge, "resource_metadata"), named_in(challenge, "scope")
    if named and _is_address(named) and _same_site(named, url):
        places.insert(0, named)
    for place in dict.fromkeys(places):
        if (found := await _get(place, local)) is not None:
            return found | {"scope": scope}
    return {"scope": scope}


def _texts(given: Any) -> list[str]:
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


async def _metadata(issuer: str, local: str) -> dict[str, Any]:
    if not _is_address(issuer):
        raise SignInFailed("The server names nobody at whom people could sign in.")
    parts = urlsplit(issuer)
    origin, path = _origin(issuer), parts.path.rstrip("/")
    kinds = ("oauth-authorization-server", "openid-configuration")
    places = [f"{origin}/.well-known/{kind}{path}" for kind in kinds]
    if path:
        places.append(f"{origin}{path}/.well-known/openid-configuration")
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
    """The JSON object at an address, None where there is none."""
    try:
        answer = await ask("GET", url, limit=_LIMIT, timeout=_SECONDS, headers=_JSON, allow_local=_is_on(url, local))
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    return _object(answer.body) if answer.status == 200 else None


async def _post(url: str, body: bytes, kind: str, local: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    headers = _JSON | {"content-type": kind} | dict(more or {})
    try:
        answer = await ask(
            "POST", url, limit=_LIMIT, timeout=_SECONDS, body=body, headers=headers, allow_local=_is_on(url, local)
        )
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    found = _object(answer.body)
    if answer.status in {200, 201} and found is not None:
        return found
    said = str((found or {}).get("error_description") or (found or {}).get("error") or "")[:300]
    gone = SignInGone if (found or {}).get("error") in {"invalid_grant", "invalid_client"} else SignInFailed
    raise gone(f"{urlsplit(url).hostname} refused with status {answer.status}. {said}".strip())


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _same_site(url: str, other: str) -> bool:
    return _origin(url) == _origin(other)


def _is_on(url: str, host: str) -> bool:
    return urlsplit(url).hostname == host


def check_redirect(url: str) -> str:
    """The address that people come back to. Raises BadRequest for one that servers refuse."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise BadRequest("Sign-in to tool servers needs this server's address with https. Set WEBUI_URL.")
    return url
