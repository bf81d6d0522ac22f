"""API keys: made, hashed for finding, sealed for showing again, and kept to what an admin and their owner allow."""

import base64
import functools
import hashlib
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from open_webui.config import Config
from open_webui.errors import Forbidden
from open_webui.internal.forwarded import plain
from open_webui.models.accounts import Key
from open_webui.principal import KeyLimits

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "sk-"
# No tag of routes: a key of a service account that has it may do what else needs a fresh proof (services/factors/step_up.py).
STEP_UP: Final = "step_up"
_SHAPE = re.compile(r"sk-[0-9a-f]{32}")
_NONCE = 12
NO_SCOPE: Final = "This API key may not be used here: it needs the scope '{}'."
ELSEWHERE: Final = "This API key may not be used from the address {}."


def new_key() -> str:
    """A fresh key, "sk-" and 32 hexadecimal digits, as on the wire."""
    return PREFIX + secrets.token_hex(16)


def looks_like_key(token: str) -> bool:
    return _SHAPE.fullmatch(token) is not None


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Sealer:
    """Encrypts keys at rest.

    The wire's GET answers the whole key each time the owner opens the settings, so a hash alone can't serve it. Stored
    are the hash, which finds the account, and the key under AES-GCM with a key derived from WEBUI_SECRET_KEY: a copy
    of the database alone reveals no key. After a change of the secret, keys go on working (the hash is unchanged) but
    can't be shown any more.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    @functools.cached_property
    def _aead(self) -> "AESGCM":
        # Imported when the first key is sealed: OpenSSL's bindings are 8 MB that most servers never need.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"oui-backend api keys").derive(self._secret))

    def seal(self, key: str, user_id: str) -> str:
        nonce = secrets.token_bytes(_NONCE)
        return base64.b64encode(nonce + self._aead.encrypt(nonce, key.encode(), user_id.encode())).decode()

    def unseal(self, sealed: str, user_id: str) -> str | None:
        """The key, None when it was sealed under another secret or for another account."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(sealed, validate=True)
            return self._aead.decrypt(data[:_NONCE], data[_NONCE:], user_id.encode()).decode()
        except (InvalidTag, ValueError):
            return None


def limits_of(key: Key) -> KeyLimits:
    """What a key's row keeps it to. Raises ValueError for a row that says nothing that is known."""
    try:
        scopes, models, addresses = (
            None if text is None else msgspec.json.decode(text, type=list[str])
            for text in (key.scopes, key.models, key.addresses)
        )
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    return KeyLimits(
        id=key.id,
        scopes=None if scopes is None else frozenset(scopes),
        models=None if models is None else frozenset(models),
        budgets=tuple(dict.fromkeys(one for one in (key.budget_id, key.account_budget_id) if one is not None)),
        networks=None if addresses is None else tuple(str(ipaddress.ip_network(one)) for one in addresses),
    )


def check_key(limits: KeyLimits, scope: str, address: str, path: str, config: Config) -> None:
    """Refuses what an API key is not for. scope: the tag of the route. address: where the client is. Raises Forbidden (403)."""
    check_endpoint(path, config)
    if limits.scopes is not None and scope not in limits.scopes:
        raise Forbidden(NO_SCOPE.format(scope), status=403)
    if limits.networks is not None and not _is_within(address, limits):
        raise Forbidden(ELSEWHERE.format(address[:80] or "of this client"), status=403)


def _is_within(address: str, limits: KeyLimits) -> bool:
    known = plain(address)
    return bool(known) and any(
        ipaddress.ip_address(known) in ipaddress.ip_network(network) for network in limits.networks or ()
    )


def check_endpoint(path: str, config: Config) -> None:
    """Refuses a path that API keys may not call. Raises Forbidden.

    Allowed is a listed path itself and what lies below it.
    """
    if not config["auth.api_key.endpoint_restrictions"]:
        return
    listed = [p.strip().rstrip("/") for p in str(config["auth.api_key.allowed_endpoints"]).split(",") if p.strip()]
    plain = path.rstrip("/")
    if not any(plain == allowed or plain.startswith(f"{allowed}/") for allowed in listed):
        raise Forbidden("API keys may not call this endpoint of this server.", status=403)
