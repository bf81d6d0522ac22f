"""What browsers and strangers send for a passkey: looked at without a server."""

import secrets
from typing import Any

import pytest

from open_webui.access import passkeys
from open_webui.access.passkeys import Known, Made, Refused, Site
from tests.support.software_passkey import AT, BE, BS, UP, UV, SoftwarePasskey, b64, cbor

ORIGIN = "https://ai.example.com"
SITE = Site("ai.example.com", frozenset({ORIGIN}))
USER = "7f1c"
P256 = {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}


def asked() -> dict[str, Any]:
    challenge = passkeys.encode(secrets.token_bytes(32))
    return passkeys.to_make(SITE, "Our server", challenge, (USER, "ann@example.com", "Ann"), [])


def made(key: SoftwarePasskey, **wrong: Any) -> Made:
    options = asked()
    return passkeys.check_made(SITE, options["challenge"], key.make(options, **wrong))


def known(key: SoftwarePasskey) -> Known:
    found = made(key)
    return Known(found.credential_id, found.public_key, found.backup_eligible)


def test_one_that_is_right() -> None:
    key = SoftwarePasskey(ORIGIN)
    found = made(key)
    assert (found.counter, found.backup_eligible, found.backed_up) == (0, True, True)
    options = passkeys.to_sign(SITE, passkeys.encode(bytes(32)), [(found.credential_id, [])], verified=True)
    shown = passkeys.check_signed(SITE, options["challenge"], known(key), USER, key.sign(options), verified=True)
    assert (shown.counter, shown.is_verified) == (1, True)
    assert "ann" not in str(asked()["user"]["id"]), "what authenticators keep says nothing of whose it is"


WRONG: list[dict[str, Any]] = [
    {"origin": "https://evil.example"}, {"origin": "https://sub.ai.example.com"}, {"origin": "http://ai.example.com"},
    {"origin": f"{ORIGIN}.evil.example"}, {"origin": ""}, {"origin": 7}, {"rp_id": "example.com"}, {"rp_id": ""},
    {"challenge": b64(bytes(32))}, {"challenge": ""}, {"challenge": None}, {"type": "payment.get"}, {"flags": UV},
    {"client": {"crossOrigin": True}}, {"client": {"topOrigin": "https://evil.example"}}, {"id": b64(bytes(32))},
]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        *WRONG, {"type": "webauthn.get"}, {"flags": UP | BS | AT}, {"flags": UP},
        {"cose": cbor(P256)}, {"cose": cbor(P256 | {3: -65535})}, {"cose": cbor(P256 | {3: -37})}, {"cose": cbor({1: 2})},
        {"cose": cbor(P256 | {-1: 2})}, {"cose": cbor({1: 3, 3: -257, -1: bytes(8192), -2: b"\x03"})}, {"cose": b""},
        {"cose": cbor(7)}, {"attestation": b""}, {"attestation": b"\xff"}, {"attestation": cbor({})},
        {"attestation": b"\x9f"}, {"attestation": b"\x81" * 5_000}, {"attestation": b"\x9b" + b"\xff" * 8},
        {"attestation": cbor({"fmt": "none", "attStmt": {}, "authData": b"short"})},
        {"attestation": cbor({"fmt": 7, "attStmt": {}, "authData": b""})}, {"attestation": cbor("text")},
    ],
)  # fmt: skip
def test_new_ones_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        made(SoftwarePasskey(ORIGIN), **wrong)


@pytest.mark.parametrize("alg", [-35, -47, 0])
def test_an_algorithm_that_nobody_asked_for(alg: int) -> None:
    with pytest.raises(Refused):
        made(SoftwarePasskey(ORIGIN, alg))


def test_an_id_that_is_too_long() -> None:
    key = SoftwarePasskey(ORIGIN)
    key.id = bytes(1_024)
    with pytest.raises(Refused):
        made(key)


@pytest.mark.parametrize(
    "wrong",
    [
        *WRONG, {"type": "webauthn.create"}, {"flags": UP | BE | BS}, {"flags": UP | UV}, {"flags": UP | UV | BS},
        {"signature": ""}, {"signature": "AAAA"}, {"signature": "="}, {"extra": b"more"}, {"flags": UP | UV | BE | AT},
        {"handle": passkeys.user_handle("another")}, {"handle": b64(b"ann")}, {"counter": 2**32 - 1, "signature": "AAAA"},
    ],
)  # fmt: skip
def test_signatures_that_are_refused(wrong: dict[str, Any]) -> None:
    key = SoftwarePasskey(ORIGIN)
    stored = known(key)
    options = passkeys.to_sign(SITE, passkeys.encode(secrets.token_bytes(32)), [], verified=True)
    with pytest.raises(Refused):
        passkeys.check_signed(SITE, options["challenge"], stored, USER, key.sign(options, **wrong), verified=True)


def test_the_signature_of_another_key() -> None:
    key, other = SoftwarePasskey(ORIGIN), SoftwarePasskey(ORIGIN)
    stored = known(key)
    known(other)
    other.id = key.id
    options = passkeys.to_sign(SITE, passkeys.encode(secrets.token_bytes(32)), [], verified=False)
    with pytest.raises(Refused, match="ignature"):
        passkeys.check_signed(SITE, options["challenge"], stored, USER, other.sign(options), verified=False)


@pytest.mark.parametrize(
    ("base", "is_fixed", "rp_id", "origins"),
    [
        ("https://ai.example.com", True, "ai.example.com", {"https://ai.example.com"}),
        ("https://AI.Example.com:443/chat", True, "ai.example.com", {"https://ai.example.com"}),
        ("http://localhost:8080", True, "localhost", {"http://localhost:8080"}),
        ("http://ai.lan:8080", False, "ai.lan", {"http://ai.lan:8080", "https://ai.lan:8080"}),
        ("http://ai.lan", False, "ai.lan", {"http://ai.lan", "https://ai.lan"}),
        ("https://bücher.example", True, "xn--bcher-kva.example", {"https://xn--bcher-kva.example"}),
    ],
)
def test_for_which_server(base: str, is_fixed: bool, rp_id: str, origins: set[str]) -> None:
    assert passkeys.site_of(base, is_fixed=is_fixed) == Site(rp_id, frozenset(origins))


@pytest.mark.parametrize(
    "base", ["", "https://", "https://127.0.0.1", "https://[::1]:8080", "https://[", "ftp://a.b", "https://a:port", "x"]
)
def test_addresses_that_can_have_none(base: str) -> None:
    with pytest.raises(Refused):
        passkeys.site_of(base, is_fixed=False)
