"""What the routes of passkeys and of fresh proofs answer: this server's own."""

from typing import Any, TypedDict


class Passkey(TypedDict):
    """site: the name of the server for which it was made. sign_count: 0 always where it doesn't count. Times in seconds."""

    id: str
    name: str
    site: str
    transports: list[str]
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    created_at: int
    last_used_at: int | None


class OwnPasskeys(TypedDict):
    enabled: bool
    app: bool
    passkeys: list[Passkey]


class PasskeyCeremony(TypedDict):
    """options: for the browser, as PublicKeyCredential's parse...FromJSON takes them."""

    challenge_token: str
    options: dict[str, Any]
    expires_in: int


class RegisteredPasskey(TypedDict):
    passkey: Passkey
    recovery_codes: list[str]


class RemovedPasskey(TypedDict):
    status: bool


class ProofWays(TypedDict):
    """methods: passkey, code, recovery, password."""

    methods: list[str]
    passkey: PasskeyCeremony | None


class ProofGiven(TypedDict):
    """kind: password or factor."""

    kind: str
    expires_in: int
