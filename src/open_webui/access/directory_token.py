"""The token of a directory (SCIM). No session, cookie or API key opens its routes, and it opens nothing else."""

import hashlib
import hmac
from typing import Final

from open_webui.env import Settings
from open_webui.errors import ScimError

OFF: Final = "SCIM is switched off on this server. Its operator switches it on with ENABLE_SCIM and SCIM_TOKEN."
MISSING: Final = "Send the directory's token in the header 'Authorization: Bearer ...'."
WRONG: Final = "This is not the token of the directory."
MAX_LENGTH: Final = 1_000


def check_on(settings: Settings) -> None:
    """Raises ScimError where there is no SCIM, as where nothing is."""
    if not settings.enable_scim:
        raise ScimError(OFF, "", status=404)


def check_token(settings: Settings, authorization: str | None) -> None:
    """Lets in whoever has the token. Raises ScimError."""
    check_on(settings)
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise ScimError(MISSING, "", status=401)
    expected = settings.scim_token.get_secret_value().strip()
    # Digests have one length, so that nothing is learnt of the token's; without a token set up, nobody is let in.
    if len(token) > MAX_LENGTH or not hmac.compare_digest(_digest(token), _digest(expected)) or not expected:
        raise ScimError(WRONG, "", status=401)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
