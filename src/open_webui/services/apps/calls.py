"""Requests to apps, and what they answer: both signed, bounded, never redirected, and to public addresses.

A request is signed with the app's API key, as the Standard Webhooks have it; the key itself goes over no line. An answer is
signed with the app's own Ed25519 key, over the id and the time of the request, so that it is an answer to this request alone.
"""

import base64
import binascii
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from open_webui.errors import BadRequest
from open_webui.internal import guarded_http
from open_webui.internal.guarded_http import Unreachable
from open_webui.services import webhook_calls
from open_webui.utils.pictures import from_data_url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SECONDS: Final = 10.0
# Bytes of an answer: a manifest may hold a picture.
MOST_MANIFEST: Final = 256 * 1024
MOST_REPLY: Final = 128 * 1024
MOST_CONTENT: Final = 40_000
MOST_ACTIONS: Final = 10
NO_KEY: Final = "The app's public key is no Ed25519 key. It should be 32 bytes in base64 or hexadecimal, or a PEM."
_KEY_BYTES: Final = 32
# What will not change by itself: an app that refuses so is not asked again.
_FINAL: Final = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})
_SIGNED: Final = "v1a,"


class Failed(Exception):
    """Why an app's answer is none, as a sentence. final: it is of no use to ask again."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class Target(msgspec.Struct, frozen=True):
    """Where an app is, and the two keys. public_key: None where its manifest is about to say it."""

    url: str
    api_key: str
    public_key: str | None
    allow_local: bool


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """A button: it tells the app, or leads somewhere."""

    label: str
    action_id: str | None = None
    url: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an app answers. type: `ack` says nothing. visibility: everybody in the channel, or only who is answered."""

    type: Literal["message", "ack", "error", "download"] = "message"
    visibility: Literal["channel", "private"] = "channel"
    title: str = ""
    content: str = ""
    filename: str | None = None
    actions: list[Action] = []

    @property
    def is_public(self) -> bool:
        """Whether it is a message of the channel."""
        return self.type == "message" and self.visibility == "channel"


ACK: Final = Reply(type="ack")


def public_key(text: str) -> "Ed25519PublicKey":
    """An app's key, as its manifest writes it. Raises BadRequest."""
    # Imported when the first app is connected: OpenSSL's bindings are 8 MB that most servers never need.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    text = text.strip()
    try:
        if text.startswith("-----BEGIN"):
            found = load_pem_public_key(text.encode())
            if not isinstance(found, Ed25519PublicKey):
                raise BadRequest(NO_KEY)
            return found
        return Ed25519PublicKey.from_public_bytes(_key_bytes(text.removeprefix("whpk_")))
    except (ValueError, UnsupportedAlgorithm):
        raise BadRequest(NO_KEY) from None


def _key_bytes(text: str) -> bytes:
    if len(text) == 2 * _KEY_BYTES:
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError from None


async def fetch(target: Target, request_id: str) -> tuple[bytes, str, str]:
    """What lies at an app's address: its manifest, for `check` with the key that it names. Raises Failed."""
    return await _exchange("GET", target, request_id, b"", MOST_MANIFEST)


async def tell(target: Target, request_id: str, event: dict[str, object]) -> Reply:
    """Tells an app something. Raises Failed."""
    body, signature, signed = await _exchange("POST", target, request_id, msgspec.json.encode(event), MOST_REPLY)
    check(target.public_key or "", signature, signed, body)
    return parse(body)


async def _exchange(method: str, target: Target, request_id: str, body: bytes, limit: int) -> tuple[bytes, str, str]:
    """An answer's body, its signature, and what the signature is over beside the body."""
    at = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "webhook-id": request_id,
        "webhook-timestamp": str(at),
        "webhook-signature": webhook_calls.signature(
            webhook_calls.new_secret(target.api_key.encode()), request_id, at, body
        ),
    }
    try:
        answer = await guarded_http.ask(
            method, target.url, limit=limit, timeout=SECONDS, body=body or None, headers=headers,
            allow_local=target.allow_local,
        )  # fmt: skip
    except Unreachable as error:
        raise Failed(str(error)) from error
    if 300 <= answer.status < 400:
        raise Failed("The app's address sends one on to another. Enter the one where it is.", final=True)
    if not 200 <= answer.status < 300:
        raise Failed(f"The app answered with status {answer.status}.", final=answer.status in _FINAL)
    return answer.body, answer.headers.get("webhook-signature", ""), f"{request_id}.{at}."


def check(key: str, signature: str, signed: str, body: bytes) -> None:
    """Whether an answer is the app's. Raises Failed."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see `public_key`

    try:
        given = base64.b64decode(signature.removeprefix(_SIGNED), validate=True)
        if not signature.startswith(_SIGNED):
            raise ValueError
        public_key(key).verify(given, signed.encode() + body)
    except (BadRequest, ValueError, InvalidSignature):
        raise Failed("The app's answer is not signed with its key.", final=True) from None


def parse(body: bytes) -> Reply:
    """An app's answer; nothing at all is an `ack`. Raises Failed."""
    if not body.strip():
        return ACK
    try:
        reply = msgspec.json.decode(body, type=Reply)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Failed("What the app answered is no reply.", final=True) from None
    texts = (reply.title, reply.content, reply.filename or "", *(a.label for a in reply.actions))
    if (
        len(reply.content) > MOST_CONTENT
        or max(len(reply.title), len(reply.filename or "")) > 200
        or len(reply.actions) > MOST_ACTIONS
        or not all(_is_good(action) for action in reply.actions)
        or any("\x00" in text for text in texts)
    ):
        raise Failed(
            "The app's reply is longer than a message may be, or has a button that can't be shown.", final=True
        )
    if reply.is_public and not reply.content.strip() and not reply.actions:
        return ACK
    return reply


def _is_good(action: Action) -> bool:
    """Whether a button has a label, and either an address of the web or an id."""
    if not 0 < len(action.label) <= 100:
        return False
    if action.url is not None:
        try:
            return action.action_id is None and len(guarded_http.checked_url(action.url)) <= 2_048
        except Unreachable:
            return False
    return action.action_id is not None and 0 < len(action.action_id) <= 100 and "\x00" not in action.action_id


def picture(url: str | None) -> str | None:
    """A manifest's picture, where it is a PNG, JPEG, GIF or WebP as a data: URL: any other would tell its server who looks."""
    return url if url is not None and from_data_url(url) is not None else None
