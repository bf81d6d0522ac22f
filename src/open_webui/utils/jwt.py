"""HS256 JSON Web Tokens (RFC 7515, 7519) on the standard library: one algorithm, one header, constant-time comparison.

A JOSE library would bring every algorithm, and OpenSSL's bindings with it: 10 MB of a process that is to idle under
100 MB, for one HMAC. The tests check the tokens against such a library in both directions.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
MAX_LENGTH: Final = 4096


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(data: bytes) -> bytes:
    # Only the alphabet of RFC 4648 section 5: the decoder itself would skip foreign characters.
    if data.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))


def sign(payload: dict[str, Any], key: bytes) -> str:
    """The token of a payload."""
    signed = _b64(msgspec.json.encode(_HEADER)) + b"." + _b64(msgspec.json.encode(payload))
    return (signed + b"." + _b64(hmac.digest(key, signed, hashlib.sha256))).decode()


def verify(token: str, key: bytes) -> dict[str, Any] | None:
    """The payload of a token that the key signed with HS256; None for anything else. Times are the caller's to check."""
    if len(token) > MAX_LENGTH or not token.isascii():
        return None
    head, _, rest = token.encode().partition(b".")
    body, _, signature = rest.partition(b".")
    try:
        # The algorithm is fixed before anything is believed: "none" or a public-key one never gets to choose.
        header = msgspec.json.decode(_unb64(head))
        if not isinstance(header, dict) or header.get("alg") != "HS256" or "crit" in header:
            return None
        expected = hmac.digest(key, head + b"." + body, hashlib.sha256)
        if not hmac.compare_digest(expected, _unb64(signature)):
            return None
        payload = msgspec.json.decode(_unb64(body))
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
    return payload if isinstance(payload, dict) else None
