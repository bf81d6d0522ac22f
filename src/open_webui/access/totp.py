"""Codes of authenticator apps (TOTP, RFC 6238), as all apps make them: SHA-1, six digits, steps of 30 seconds.

The libraries are imported with the first code and the first picture: OpenSSL's bindings are 8 MB that most servers never need.
"""

import base64
import hmac
import secrets
import unicodedata
from typing import Final
from urllib.parse import quote, urlencode

STEP_SECONDS: Final = 30
DIGITS: Final = 6
# Steps before and after the present one whose codes are taken: clocks differ, and people type.
DRIFT: Final = 1
_SECRET_BYTES: Final = 20


def new_secret() -> str:
    """What an app is given, in base32."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def uri(secret: str, issuer: str, account: str) -> str:
    """The secret as an app reads it from a QR code."""
    # A colon ends the issuer's name.
    issuer = issuer.replace(":", " ")
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': issuer}, quote_via=quote)}"


def picture(text: str) -> str:
    """A QR code of a text: a PNG as a data: URL."""
    import segno

    return segno.make_qr(text, error="m").png_data_uri(scale=6, border=4)


def digits_of(typed: str) -> str:
    """The code that somebody typed, with blanks or hyphens in it or in digits of another script; "" for anything else."""
    kept = [c for c in unicodedata.normalize("NFKC", typed) if not c.isspace() and c != "-"]
    values = [unicodedata.decimal(c, -1) for c in kept]
    return "".join(map(str, values)) if len(values) == DIGITS and -1 not in values else ""


def matching_step(secret: str, typed: str, at: float, after: int) -> int | None:
    """The step of time whose code was typed; None for a wrong code, and for one that isn't of later than `after`, the step
    that was accepted last. at: seconds since the epoch.
    """
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor.hotp import HOTP

    codes = HOTP(base64.b32decode(secret), DIGITS, SHA1())  # noqa: S303 - the one that all apps have
    typed_code = digits_of(typed).encode()
    now = int(at) // STEP_SECONDS
    found = None
    # All are compared, so that the time it takes says nothing.
    for step in range(now - DRIFT, now + DRIFT + 1):
        is_it = hmac.compare_digest(codes.generate(step), typed_code)
        if is_it and step > after:
            found = step
    return found
