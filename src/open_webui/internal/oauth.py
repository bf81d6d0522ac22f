"""What any client of OAuth 2.1 needs: the secret of a sign-in (PKCE), saying who the client is, and requests with bounds.

Signing in at tool servers (tools/oauth.py) and signing in here by other sites (access/oauth) both stand on it.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from open_webui.errors import ProviderError
from open_webui.internal.guarded_http import Unreachable, ask

LIMIT: Final = 200_000
SECONDS: Final = 10.0
_JSON: Final = {"accept": "application/json"}
FORM: Final = "application/x-www-form-urlencoded"
Method = Literal["none", "client_secret_post", "client_secret_basic"]


class SignInFailed(ProviderError):
    """Why nobody can sign in there, or why it did not work; a sentence."""


class SignInGone(SignInFailed):
    """A sign-in that holds no more: the person has to do it again."""


def new_verifier() -> str:
    """A secret of one sign-in (PKCE)."""
    return secrets.token_urlsafe(48)


def challenge(verifier: str) -> str:
    """What is told of it beforehand (S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def with_query(url: str, fields: Mapping[str, str]) -> str:
    """An address with more in its query."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields, quote_via=quote)}"


def identified(
    fields: dict[str, str], client_id: str, secret: str, method: Method
) -> tuple[dict[str, str], dict[str, str]]:
    """The fields and the headers of a request in which a client says who it is."""
    fields = fields | {"client_id": client_id}
    if secret and method == "client_secret_basic":
        pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
        return fields, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return fields | ({"client_secret": secret} if secret and method != "none" else {}), {}


def is_token(value: Any) -> bool:
    """Whether it can be sent as a token."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()


async def get(
    url: str,
    *,
    allow_local: bool,
    seconds: float = SECONDS,
    limit: int = LIMIT,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """The JSON object at an address, None where there is none. Raises SignInFailed where nobody answers."""
    sent = _JSON | dict(headers or {})
    try:
        answer = await ask("GET", url, limit=limit, timeout=seconds, headers=sent, allow_local=allow_local)
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    return as_object(answer.body) if answer.status == 200 else None


async def post(
    url: str,
    body: bytes,
    kind: str,
    *,
    allow_local: bool,
    more: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """What an address answers to a body. Raises SignInGone where it says that something holds no more, SignInFailed."""
    headers = _JSON | {"content-type": kind} | dict(more or {})
    try:
        answer = await ask(
            "POST", url, limit=LIMIT, timeout=seconds, body=body, headers=headers, allow_local=allow_local
        )
    except Unreachable as error:
        raise SignInFailed(str(error)) from None
    found = as_object(answer.body)
    if answer.status in {200, 201} and found is not None:
        return found
    said = str((found or {}).get("error_description") or (found or {}).get("error") or "")[:300]
    gone = SignInGone if (found or {}).get("error") in {"invalid_grant", "invalid_client"} else SignInFailed
    raise gone(f"{urlsplit(url).hostname} refused with status {answer.status}. {said}".strip())


def as_object(body: bytes) -> dict[str, Any] | None:
    """The object that a JSON text is, None for any other."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def texts(given: Any) -> list[str]:
    """The texts of a list; none of what is no list."""
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def is_address(url: Any) -> bool:
    """Whether it is an address of the web."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_on(url: str, host: str) -> bool:
    """Whether an address is on a host, where an admin has chosen it."""
    return bool(host) and urlsplit(url).hostname == host
