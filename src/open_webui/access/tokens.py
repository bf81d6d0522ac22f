"""Session tokens: HS256 JWTs that carry the account's session stamp, and the key they are signed with."""

import hashlib
import os
import re
import secrets
import time
from pathlib import Path

import msgspec

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.log import get_logger
from open_webui.utils import jwt

log = get_logger(__name__)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|w)")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says. iat, exp: seconds since the epoch; exp is None for one that never ends. auth_method: how its
    owner signed in. mfa_verified: they showed a second factor at that.
    """

    id: str
    jti: str
    session_stamp: str
    iat: int
    exp: int | None = None
    auth_method: str = "password"
    mfa_verified: bool = False


def parse_duration(text: str) -> int | None:
    """Seconds of "4w", "1h30m", "0" or "-1"; None (never ends) for "-1" and "0". Raises ValueError."""
    text = text.strip()
    if text in {"-1", "0"}:
        return None
    parts = _PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError("must be a duration such as 30m, 12h, 7d or 4w, or -1 for no end")
    return max(1, int(sum(float(n) * _UNITS[u] for n, u in parts)))


def new_jti() -> str:
    """The id of a token that is yet to be made."""
    return secrets.token_hex(16)


def secret_key(settings: Settings) -> str:
    """The configured signing key, else the one generated into the data folder at the first start. Raises StartupError."""
    configured = settings.webui_secret_key.get_secret_value()
    if configured:
        return configured
    path = settings.data_dir / "secret-key"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        # O_EXCL: of two first starts at once, one writes and both read the same key.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48))
        log.info("generated a secret key", path=str(path))
    except FileExistsError:
        pass
    except OSError as error:
        raise StartupError(
            f"The secret key can't be written to {path} ({error.strerror}). Set WEBUI_SECRET_KEY."
        ) from None
    return _read_key(path)


def _read_key(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except OSError as error:
        raise StartupError(f"The secret key {path} can't be read ({error.strerror}).") from None
    if len(key) < 32:
        raise StartupError(
            f"The secret key in {path} is too short. Delete the file to have a new one made (all sessions end)."
        )
    return key


def fingerprint(key: str) -> str:
    """What tells that two keys are the same, and no more: who has it needs 50 ms and 16 MB for each guess."""
    return hashlib.scrypt(key.encode(), salt=b"oui-backend secret key", n=2**14, r=8, p=1, dklen=16).hex()


class Tokens:
    """Issues and verifies session tokens."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def issue(
        self,
        user_id: str,
        stamp: str,
        lifetime: int | None,
        auth_method: str = "password",
        *,
        mfa_verified: bool = False,
        jti: str | None = None,
    ) -> tuple[str, Claims]:
        """A new token and its claims. lifetime: seconds, None for no end. jti: its id, where one was chosen before."""
        at = int(time.time())
        claims = Claims(
            id=user_id,
            jti=jti or new_jti(),
            session_stamp=stamp,
            iat=at,
            exp=None if lifetime is None else at + lifetime,
            auth_method=auth_method,
            mfa_verified=mfa_verified,
        )
        payload = {k: v for k, v in msgspec.structs.asdict(claims).items() if v is not None}
        payload |= {"typ": "session", "auth_time": at}
        return jwt.sign(payload, self._key), claims

    def renewed(self, token: str, stamp: str) -> tuple[str, Claims] | None:
        """The session of a good token under another session stamp: a new token that says and lasts the same; None for a token
        that is none of ours.
        """
        payload = jwt.verify(token, self._key)
        if payload is None or self.verify(token) is None:
            return None
        fresh = jwt.sign({**payload, "session_stamp": stamp, "jti": new_jti()}, self._key)
        claims = self.verify(fresh)
        return None if claims is None else (fresh, claims)

    def verify(self, token: str) -> Claims | None:
        """The claims of a token that we signed and that has not ended; None for anything else."""
        payload = jwt.verify(token, self._key)
        if payload is None or payload.get("typ") != "session":
            return None
        try:
            claims = msgspec.convert(payload, Claims)
        except msgspec.ValidationError:
            return None
        if claims.exp is not None and claims.exp <= time.time():
            return None
        return claims
