"""Codes that stand in for a lost factor, each good once: made of 100 random bits, so that a plain hash keeps them."""

import base64
import hashlib
import secrets
from typing import Final

COUNT: Final = 10
_GROUPS: Final = 4
_LETTERS: Final = 5
# Of base32, which has no 0, 1, 8 and 9 that look like letters.
_BYTES: Final = 13


def new_codes() -> list[str]:
    """As people write them down: "abcde-fghij-klmno-pqrst"."""
    return [_new_code() for _ in range(COUNT)]


def _new_code() -> str:
    text = base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower()
    return "-".join(text[at : at + _LETTERS] for at in range(0, _GROUPS * _LETTERS, _LETTERS))


def code_hash(typed: str) -> str:
    """By which a code is found, however its hyphens, blanks and capitals were typed."""
    plain = "".join(typed.split()).replace("-", "").lower()
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()
