"""Values in a provider's claims: by a name, or by a way into nested ones, as texts; and what is shown of claims to admins."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

# Of roles or groups that are looked at, and characters of each. A way has so many parts.
MAX_TEXTS: Final = 500
MAX_TEXT: Final = 200
MAX_DEPTH: Final = 10
# What is kept of claims for administrators: so many values, texts so long, so deep.
SHOWN_VALUES: Final = 200
SHOWN_TEXT: Final = 300
SHOWN_DEPTH: Final = 5
# Of one sign-in only, or a secret by its name.
_PASSING: Final = frozenset(
    {"nonce", "jti", "sid", "at_hash", "c_hash", "s_hash", "iat", "exp", "nbf", "auth_time", "aio", "rh", "uti"}
)
_SECRET: Final = ("token", "secret", "password", "code", "key", "hash", "nonce", "session", "credential")


def value_at(claims: Mapping[str, Any], way: str) -> Any:
    """What is under a name, or under names with dots between them ("realm_access.roles"); None where there is nothing."""
    if way in claims:
        return claims[way]
    found: Any = claims
    for name in way.split(".")[:MAX_DEPTH]:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def texts_at(claims: Mapping[str, Any], way: str) -> list[str]:
    """The texts there: of a list, of a text with commas, or the names in an object. What is too long or no text is left out."""
    found = value_at(claims, way) if way else None
    if isinstance(found, str):
        found = found.split(",")
    elif isinstance(found, Mapping):
        found = list(found)
    if not isinstance(found, list):
        return []
    given = (one.strip() for one in found[:MAX_TEXTS] if isinstance(one, str) and len(one) <= MAX_TEXT)
    return [one for one in given if one and one.isprintable()]


def overflows(claims: Mapping[str, Any], way: str) -> bool:
    """Whether a provider says that there are more than it sends (Microsoft does above 200 groups)."""
    elsewhere = claims.get("_claim_names")
    return (isinstance(elsewhere, Mapping) and way in elsewhere) or claims.get("hasgroups") in (True, "true")


def shown(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Claims as they are kept for administrators: nothing of one sign-in, nothing that may be a secret, all bounded."""
    left = [SHOWN_VALUES]
    out = _shown(claims, 0, left)
    return out if isinstance(out, dict) else {}


def _shown(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > SHOWN_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        kept = [(str(name)[:MAX_TEXT], one) for name, one in value.items() if not _is_private(str(name))]
        return {name: _shown(one, depth + 1, left) for name, one in kept[: max(left[0], 0)]}
    if isinstance(value, list):
        return [_shown(one, depth + 1, left) for one in value[: max(left[0], 0)]]
    if isinstance(value, str):
        text = value.replace("\x00", "")
        if text.startswith("eyJ") and text.count(".") >= 2:
            return "…"
        return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}…"
    return value if value is None or isinstance(value, bool | int | float) else "…"


def _is_private(name: str) -> bool:
    lower = name.lower()
    return lower in _PASSING or any(part in lower for part in _SECRET)


def digest(claims: Mapping[str, Any]) -> str:
    """Tells whether a provider says the same as before."""
    stable = {name: value for name, value in claims.items() if name not in _PASSING}
    return hashlib.sha256(msgspec.json.encode(stable, order="deterministic")).hexdigest()
