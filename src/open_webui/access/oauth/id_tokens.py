"""Tokens that providers sign: believed only with a known key, a public-key algorithm, and all that they must say."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from open_webui.access.oauth.discovery import TENANT, Metadata
from open_webui.internal.oauth import SignInFailed

MAX_TOKEN: Final = 100_000
# No shared secrets ("HS256" with a public key as the secret), no "none".
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
# Keys that are tried where a token doesn't say which it is.
MAX_TRIED: Final = 8
LEAST_RSA_BITS: Final = 2_048
# Seconds that clocks may differ.
LEEWAY: Final = 60
LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"
# Seconds after which word of a sign-out is too old.
LOGOUT_SECONDS: Final = 600
Keys = Callable[[str | None], Awaitable[list[dict[str, Any]]]]


def _refuse(why: str) -> SignInFailed:
    return SignInFailed(f"The provider's token can't be used: {why}.")


def _part(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _refuse("it is no signed token")
    return found


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims that a token pretends to have. Raises SignInFailed for what is none."""
    parts = token.split(".") if len(token) <= MAX_TOKEN and token.isascii() else []
    if len(parts) != 3:
        raise _refuse("it is no signed token")
    return _part(parts[0]), _part(parts[1])


async def verified(token: str, metadata: Metadata, keys: Keys) -> dict[str, Any]:
    """The claims of a token that one of the keys signed; nothing is asked for a token that can't be one.

    Raises SignInFailed. What the claims say is for `check`.
    """
    header, _ = unverified(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS or (metadata.algorithms and algorithm not in metadata.algorithms):
        raise _refuse(f"it is signed by {str(algorithm)[:20]!r}, which is not taken")
    if "crit" in header or not (kid is None or (isinstance(kid, str) and len(kid) <= 500)):
        raise _refuse("its header can't be understood")
    kind = "EC" if algorithm.startswith("ES") else "RSA"
    found = [key for key in await keys(kid) if key["kty"] == kind and key.get("alg", algorithm) == algorithm]
    for key in found[:MAX_TRIED]:
        claims = _signed_by(token, key, algorithm)
        if claims is not None:
            return claims
    raise _refuse("the provider has no key by which it is signed")


def _signed_by(token: str, key: dict[str, Any], algorithm: str) -> dict[str, Any] | None:
    # Imported with the first token: most servers never see one.
    from joserfc import jwk, jwt
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    # Headers that nothing is done with are no harm; `crit` has been looked at, and how long all is.
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = MAX_TOKEN

    try:
        if key["kty"] == "RSA" and _bits(key.get("n")) < LEAST_RSA_BITS:
            return None
        public = {name: value for name, value in key.items() if name in {"kty", "n", "e", "crv", "x", "y"}}
        return jwt.decode(token, jwk.import_key(public), registry=registry).claims
    except (JoseError, ValueError, TypeError):
        return None


def _bits(modulus: Any) -> int:
    return len(modulus) * 6 if isinstance(modulus, str) else 0


def check(
    claims: Mapping[str, Any],
    metadata: Metadata,
    client_id: str,
    *,
    nonce: str | None = None,
    access_token: str | None = None,
    algorithm: str = "",
) -> None:
    """Raises SignInFailed unless an id_token is the issuer's, for us, of now, and of this sign-in (OpenID Connect, 3.1.3.7).

    nonce: of the sign-in; None where the token comes by another way.
    """
    _check_issuer(claims, metadata)
    _check_audience(claims, client_id)
    _check_times(claims)
    if not is_subject(claims.get("sub")):
        raise _refuse("it does not say whose it is")
    said = claims.get("nonce")
    if nonce is not None and not (isinstance(said, str) and hmac.compare_digest(said.encode(), nonce.encode())):
        raise _refuse("it is of another sign-in (nonce)")
    if access_token and isinstance(claims.get("at_hash"), str) and algorithm[2:] in _HASHES:
        digest = _HASHES[algorithm[2:]](access_token.encode()).digest()
        half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
        if not hmac.compare_digest(half, claims["at_hash"]):
            raise _refuse("it belongs to another access token (at_hash)")


def is_subject(value: Any) -> bool:
    """Whether it can be what a provider calls a person."""
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()


def _check_issuer(claims: Mapping[str, Any], metadata: Metadata) -> None:
    tenant = claims.get("tid")
    expected = metadata.issuer
    if TENANT in expected and isinstance(tenant, str) and tenant.replace("-", "").isalnum():
        expected = expected.replace(TENANT, tenant)
    if TENANT in expected or claims.get("iss") != expected:
        raise _refuse(f"it is of another issuer ({str(claims.get('iss'))[:200]!r}, not {expected[:200]!r})")


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or client_id not in named:
        raise _refuse("it is meant for somebody else (aud)")
    party = claims.get("azp")
    if (len(named) > 1 or party is not None) and party != client_id:
        raise _refuse("it was given to somebody else (azp)")


def _check_times(claims: Mapping[str, Any]) -> None:
    now = time.time()
    until, since = _time(claims.get("exp")), _time(claims.get("iat"))
    if until is None or until + LEEWAY <= now:
        raise _refuse("it has ended (exp). Are the clocks right?")
    if since is None or since - LEEWAY > now:
        raise _refuse("it is of later (iat). Are the clocks right?")
    after = _time(claims.get("nbf", now))
    if after is None or after - LEEWAY > now:
        raise _refuse("it is of later (nbf). Are the clocks right?")


def _time(value: Any) -> float | None:
    """Seconds since the epoch; None for what is no time."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53
    return float(value) if fits else None


def check_logout(claims: Mapping[str, Any], metadata: Metadata, client_id: str) -> tuple[str, str, str]:
    """The subject, the session and the id of a logout token (OpenID Connect Back-Channel Logout, 2.6), each of the first two ""
    where it isn't named. Raises SignInFailed.
    """
    _check_issuer(claims, metadata)
    _check_audience(claims, client_id)
    since = _time(claims.get("iat"))
    if since is None or not -LEEWAY <= time.time() - since <= LOGOUT_SECONDS:
        raise _refuse("it is too old, or of later (iat)")
    if "exp" in claims:
        _check_times(claims)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT), dict) or "nonce" in claims:
        raise _refuse("it does not say that somebody signed out")
    subject, sid, jti = (claims.get(name) for name in ("sub", "sid", "jti"))
    if not isinstance(jti, str) or not 0 < len(jti) <= 500:
        raise _refuse("it has no id (jti)")
    if not (is_subject(subject) or is_subject(sid)):
        raise _refuse("it does not say who signed out")
    return str(subject) if is_subject(subject) else "", str(sid) if is_subject(sid) else "", jti
