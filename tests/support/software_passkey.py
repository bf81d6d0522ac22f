"""An authenticator for passkeys, of `cryptography` and a few lines of CBOR: it also does what no honest one does."""

import base64
import hashlib
import json
import secrets
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def cbor(value: Any) -> bytes:
    """Of numbers, bytes, texts and maps."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    return _head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    return bytes([kind << 5 | 25]) + struct.pack(">H", number)


class SoftwarePasskey:
    """One credential. Its counter grows with each signature, unless `counts` is off."""

    def __init__(self, origin: str, alg: int = -7, *, flags: int = UP | UV | BE | BS, counts: bool = True) -> None:
        self.origin = origin
        self.alg = alg
        self.flags = flags
        self.counts = counts
        self.counter = 0
        self.id = secrets.token_bytes(32)
        self.handle = ""
        self.key: Any = {
            -7: lambda: ec.generate_private_key(ec.SECP256R1()),
            -8: ed25519.Ed25519PrivateKey.generate,
            -257: lambda: rsa.generate_private_key(65537, 2048),
        }.get(alg, lambda: ec.generate_private_key(ec.SECP256R1()))()

    def cose(self) -> bytes:
        public = self.key.public_key()
        if self.alg == -8:
            return cbor({1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()})
        if self.alg == -257:
            n = public.public_numbers().n
            return cbor({1: 3, 3: -257, -1: n.to_bytes(256, "big"), -2: b"\x01\x00\x01"})
        numbers = public.public_numbers()
        return cbor({1: 2, 3: self.alg, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})

    def make(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """What navigator.credentials.create gives, as toJSON. wrong: what is said in the place of what is right."""
        self.handle = options["user"]["id"]
        data = self._data(wrong.get("rp_id", options["rp"]["id"]), wrong.get("flags", self.flags | AT))
        data += bytes(16) + struct.pack(">H", len(self.id)) + self.id + wrong.get("cose", self.cose())
        whole = wrong.get("attestation", cbor({"fmt": "none", "attStmt": {}, "authData": data}))
        response = {
            "clientDataJSON": self._client("webauthn.create", options, wrong),
            "attestationObject": b64(whole), "transports": ["internal", "hybrid", "of tomorrow"],
        }  # fmt: skip
        return self._credential(response, wrong)

    def sign(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """What navigator.credentials.get gives."""
        self.counter += self.counts
        data = self._data(wrong.get("rp_id", options["rpId"]), wrong.get("flags", self.flags), wrong.get("counter"))
        client = self._client("webauthn.get", options, wrong)
        response = {
            "clientDataJSON": client, "authenticatorData": b64(data + wrong.get("extra", b"")),
            "signature": wrong.get("signature", b64(self._sign(data + hashlib.sha256(_decoded(client)).digest()))),
            "userHandle": wrong.get("handle", self.handle),
        }  # fmt: skip
        return self._credential(response, wrong)

    def _sign(self, data: bytes) -> bytes:
        if self.alg == -8:
            return bytes(self.key.sign(data))
        if self.alg == -257:
            return bytes(self.key.sign(data, padding.PKCS1v15(), SHA256()))
        return bytes(self.key.sign(data, ec.ECDSA(SHA256())))

    def _data(self, rp_id: str, flags: int, counter: int | None = None) -> bytes:
        count = self.counter if counter is None else counter
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, count)

    def _client(self, kind: str, options: dict[str, Any], wrong: dict[str, Any]) -> str:
        said = {
            "type": wrong.get("type", kind), "challenge": wrong.get("challenge", options["challenge"]),
            "origin": wrong.get("origin", self.origin), **wrong.get("client", {}),
        }  # fmt: skip
        return b64(json.dumps(said).encode())

    def _credential(self, response: dict[str, Any], wrong: dict[str, Any]) -> dict[str, Any]:
        found = wrong.get("id", b64(self.id))
        return {"id": found, "rawId": found, "type": "public-key", "response": response, "clientExtensionResults": {}}


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
