"""Passkeys (WebAuthn, level 3): for which server they are made, what a browser is asked, and whether its answer is right.

The library is imported with the first passkey: it brings 4 MB, and OpenSSL's bindings with it, that most servers never need.
"""

import base64
import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from fido2.server import Fido2Server
    from fido2.webauthn import AuthenticatorData

T = TypeVar("T")
CHALLENGE_BYTES: Final = 32
# ES256, EdDSA, RS256: what all authenticators have of their own, of security keys, of telephones, of Windows.
ALGORITHMS: Final = (-7, -8, -257)
TRANSPORTS: Final = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})
# Bytes of a public key, of which RSA with 4096 bits is the longest, and of an id (WebAuthn, 7.1).
MAX_KEY: Final = 1_200
MAX_ID: Final = 1_023
# Milliseconds that a browser waits for its person.
TIMEOUT: Final = 120_000
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Refused(ValueError):
    """What a browser sent is not what it was asked for. Its text is for the log."""


class Site(msgspec.Struct, frozen=True):
    """For which server passkeys are made. rp_id: its name. origins: of the pages that may ask."""

    rp_id: str
    origins: frozenset[str]


class Made(msgspec.Struct, frozen=True):
    """A new passkey. credential_id and public_key (COSE) in base64url."""

    credential_id: str
    public_key: str
    counter: int
    backup_eligible: bool
    backed_up: bool


class Known(msgspec.Struct, frozen=True):
    """What is stored of one that is about to sign."""

    credential_id: str
    public_key: str
    backup_eligible: bool


class Shown(msgspec.Struct, frozen=True):
    """What a passkey said besides its signature. is_verified: it has asked its person for a PIN, a finger, a face."""

    counter: int
    backed_up: bool
    is_verified: bool


def site_of(base: str, *, is_fixed: bool) -> Site:
    """The server at an address. is_fixed: it was configured; else it is what the request was sent to, and a proxy that ends TLS
    and does not say so lets it take itself for http. Raises Refused for an address that can have no passkeys.
    """
    try:
        parts = urlsplit(base)
        host, port = parts.hostname or "", parts.port
        name = host.encode("idna").decode().lower()
    except (ValueError, UnicodeError):
        raise Refused("the address can't be read") from None
    if not name or parts.scheme not in _DEFAULT_PORTS or _is_address(name):
        raise Refused("the address has no name")
    suffix = "" if port is None else f":{port}"
    schemes = {parts.scheme} if is_fixed else {parts.scheme, "https"}
    origins = {f"{scheme}://{name}{'' if suffix == _DEFAULT_PORTS[scheme] else suffix}" for scheme in schemes}
    return Site(name, frozenset(origins))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def user_handle(user_id: str) -> str:
    """What authenticators keep of an account, in base64url: nothing that says whose it is."""
    return encode(hashlib.sha256(b"oui-backend passkeys " + user_id.encode()).digest())


def encode(data: bytes) -> str:
    """In base64url without padding, as on the wire."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises Refused."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        raise Refused("it is not base64url") from None


def to_make(site: Site, server: str, challenge: str, user: tuple[str, str, str], known: list[Known]) -> dict[str, Any]:
    """What a browser is asked so that it makes one (PublicKeyCredentialCreationOptions, as JSON). user: id, name, full name.
    known: those of the same person, of whose authenticators none makes another.
    """
    user_id, name, full_name = user
    return {
        "rp": {"id": site.rp_id, "name": server},
        "user": {"id": user_handle(user_id), "name": name, "displayName": full_name},
        "challenge": challenge,
        "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in ALGORITHMS],
        "timeout": TIMEOUT,
        "excludeCredentials": [{"type": "public-key", "id": one.credential_id} for one in known],
        "authenticatorSelection": {"residentKey": "preferred", "userVerification": "preferred"},
        "attestation": "none",
    }


def to_sign(site: Site, challenge: str, known: list[tuple[str, list[str]]], *, verified: bool) -> dict[str, Any]:
    """What a browser is asked so that a passkey signs (PublicKeyCredentialRequestOptions, as JSON). known: ids and transports;
    none: any that it has for this server. verified: its person must be asked for a PIN, a finger, a face.
    """
    allowed = [{"type": "public-key", "id": one, **({"transports": ways} if ways else {})} for one, ways in known]
    verification = "required" if verified else "preferred"
    return {
        "challenge": challenge, "timeout": TIMEOUT, "rpId": site.rp_id, "allowCredentials": allowed,
        "userVerification": verification,
    }  # fmt: skip


def check_made(site: Site, challenge: str, credential: dict[str, Any]) -> Made:
    """The passkey that a browser has made. credential: as its toJSON gives it. Raises Refused."""

    def read() -> Made:
        data = _server(site).register_complete(_asked(challenge, verified=False), credential)
        _check_page(credential)
        found = data.credential_data
        if found is None or decode(credential["id"]) != found.credential_id or len(found.credential_id) > MAX_ID:
            raise Refused("its id is another one")
        _check_key(found.public_key)
        return Made(
            credential_id=encode(found.credential_id),
            public_key=encode(_cose(found.public_key)),
            counter=data.counter,
            backup_eligible=data.is_backup_eligible(),
            backed_up=_backed_up(data),
        )

    return _reading(read)


def check_signed(
    site: Site, challenge: str, known: Known, user_id: str, credential: dict[str, Any], *, verified: bool
) -> Shown:
    """What a passkey of somebody said, if it has signed. Raises Refused."""

    def read() -> Shown:
        from fido2 import cbor
        from fido2.cose import CoseKey
        from fido2.webauthn import AttestedCredentialData, AuthenticatorData

        key = CoseKey.parse(cbor.decode(decode(known.public_key)))  # type: ignore[arg-type]
        stored = AttestedCredentialData.create(bytes(16), decode(known.credential_id), key)
        _server(site).authenticate_complete(_asked(challenge, verified=verified), [stored], credential)
        _check_page(credential)
        handle = credential["response"].get("userHandle")
        if handle and not hmac.compare_digest(handle.rstrip("=").encode(), user_handle(user_id).encode()):
            raise Refused("it is of another account")
        data = AuthenticatorData(decode(credential["response"]["authenticatorData"]))
        if data.is_backup_eligible() != known.backup_eligible:
            raise Refused("it was made for one device, or for several, and says otherwise now")
        return Shown(data.counter, _backed_up(data), data.is_user_verified())

    return _reading(read)


def _server(site: Site) -> "Fido2Server":
    from fido2.server import Fido2Server

    # Its own check of origins takes in all subdomains, whose pages other people may write.
    return Fido2Server({"id": site.rp_id, "name": site.rp_id}, verify_origin=lambda origin: origin in site.origins)  # type: ignore[arg-type]


def _asked(challenge: str, *, verified: bool) -> dict[str, Any]:
    from fido2.webauthn import UserVerificationRequirement as Need

    return {"challenge": challenge, "user_verification": Need.REQUIRED if verified else Need.PREFERRED}


def _check_page(credential: dict[str, Any]) -> None:
    """Refuses what a page inside another site's page was given."""
    said = msgspec.json.decode(decode(credential["response"]["clientDataJSON"]))
    if said.get("crossOrigin") or said.get("topOrigin"):
        raise Refused("it was asked for inside another site's page")


def _check_key(key: Any) -> None:
    """Refuses a key that could never check a signature: its owner would be locked out."""
    from cryptography.exceptions import InvalidSignature

    if key.ALGORITHM not in ALGORITHMS or len(_cose(key)) > MAX_KEY:
        raise Refused("its algorithm is not one of those that were asked for")
    try:
        key.verify(b"", b"")
    except InvalidSignature:
        return
    raise Refused("its key checks nothing")


def _cose(key: Any) -> bytes:
    from fido2 import cbor

    return cbor.encode(dict(key))


def _backed_up(data: "AuthenticatorData") -> bool:
    if data.is_backed_up() and not data.is_backup_eligible():
        raise Refused("it is on several devices, and says that it can't be")
    return data.is_backed_up()


def _reading(read: Callable[[], T]) -> T:
    """What a function makes of what a stranger sent, in whatever way that is wrong."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return read()
    except Refused:
        raise
    except (
        ValueError, LookupError, TypeError, AttributeError, AssertionError, NotImplementedError, RecursionError,
        OverflowError, struct.error, UnsupportedAlgorithm,
    ) as error:  # fmt: skip
        raise Refused(f"{type(error).__name__}: {error}"[:200]) from None
