"""Messages to addresses that somebody chose: sent by the guarded client, signed where there is a secret, and never redirected."""

import base64
import hashlib
import hmac
import ipaddress
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from open_webui.errors import BadRequest, OuiError
from open_webui.internal import guarded_http
from open_webui.internal.guarded_http import Unreachable
from open_webui.jobs.kinds import GiveUp

SECONDS: Final = 10.0
# Bytes of an answer that are read; nobody looks at them.
_ANSWER: Final = 64 * 1024
BAD_URL: Final = (
    "The address is not one that this server can send to. It should begin with https:// or http://, hold no password, and be"
    " public."
)
# What will not change by itself: a message that is refused so is not sent again.
_FINAL: Final = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})
_SECRET: Final = "whsec_"


def checked(url: str, *, allow_local: bool = False) -> str:
    """An address to send to. Where names lead is seen when it is sent to. Raises BadRequest."""
    try:
        host = urlsplit(guarded_http.checked_url(url)).hostname or ""
    except Unreachable:
        raise BadRequest(BAD_URL) from None
    if not allow_local and _is_local(host):
        raise BadRequest(BAD_URL)
    return url


def _is_local(host: str) -> bool:
    try:
        return not guarded_http.is_public(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def masked(url: str) -> str:
    """What may be seen of an address: where it leads, and nothing that would let anybody send there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"


def new_secret(random: bytes) -> str:
    return _SECRET + base64.b64encode(random).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """As the Standard Webhooks have it: HMAC-SHA256 over id, time and body, so that an old message can't be sent again."""
    key = base64.b64decode(secret.removeprefix(_SECRET))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def send(
    url: str, message_id: str, message: dict[str, Any], *, secret: str | None = None, allow_local: bool = False
) -> None:
    """Posts a message as JSON. Raises OuiError for what may go better another time, and GiveUp for what won't."""
    body, at = msgspec.json.encode(message), int(time.time())
    headers = {"content-type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(at)}
    if secret is not None:
        headers["webhook-signature"] = signature(secret, message_id, at, body)
    try:
        answer = await guarded_http.ask(
            "POST", url, limit=_ANSWER, timeout=SECONDS, body=body, headers=headers, allow_local=allow_local
        )
    except Unreachable as error:
        raise OuiError(str(error), status=502) from error
    if answer.status in _FINAL:
        raise GiveUp(f"The address answered with status {answer.status}.")
    if not 200 <= answer.status < 300:
        raise OuiError(f"The address answered with status {answer.status}.", status=502)
