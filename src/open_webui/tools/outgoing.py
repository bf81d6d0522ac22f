"""The headers of a request to a tool server: its key, what an admin set, and who asks where the settings say so."""

from typing import Final, Protocol
from urllib.parse import quote

from open_webui.access.second_factor import DELEGATED
from open_webui.access.tokens import Tokens
from open_webui.env import Settings
from open_webui.principal import Principal
from open_webui.tools.port import Asked
from open_webui.tools.servers import Server

# A token of the asker's session that a server gets is good for so many seconds.
TOKEN_SECONDS: Final = 300


class Held(Protocol):
    """A provider's token. expires_at: seconds since the epoch, None where it does not end."""

    @property
    def access_token(self) -> str: ...

    @property
    def expires_at(self) -> int | None: ...


class Holder(Protocol):
    """Gives the tokens of the providers by which people signed in (services/oauth/forwarding.py)."""

    async def of(self, principal: Principal) -> Held:
        """Raises OuiError where there is none."""


class SignIn(Protocol):
    """Signing in by a provider."""

    @property
    def tokens(self) -> Holder: ...


class Signing(Protocol):
    """What of the server signs a request."""

    settings: Settings
    tokens: Tokens

    @property
    def provider_sign_in(self) -> SignIn: ...


async def headers_for(
    server: Server, deps: Signing, asked: Asked | None, token_seconds: int = TOKEN_SECONDS
) -> dict[str, str]:
    """Lower-case names and what they say. asked: None where nobody asks but the server itself.

    Raises SignInFailed where the server wants the token of the asker's provider, and there is none.
    """
    out = {name: _filled(text, asked) for name, text in server.headers.items()}
    if asked is not None and deps.settings.enable_forward_user_info_headers:
        out |= _about(asked)
    if server.kind == "terminal" and asked is not None:
        # A terminal server keeps people apart by the first, and the folders in which their chats work by the second.
        out["x-user-id"] = asked.principal.id
        if asked.chat_id is not None:
            out["x-session-id"] = quote(asked.chat_id)
    if server.auth == "bearer" and server.key:
        out["authorization"] = f"Bearer {server.key}"
    elif server.auth == "session" and asked is not None:
        # A fresh one that ends soon, and with the session: the page's own would open the account for weeks.
        token, _ = deps.tokens.issue(asked.principal.id, asked.principal.stamp, token_seconds, DELEGATED)
        out["authorization"] = f"Bearer {token}"
    elif server.auth == "system_oauth" and asked is not None:
        out["authorization"] = f"Bearer {(await deps.provider_sign_in.tokens.of(asked.principal)).access_token}"
    return out


def _filled(text: str, asked: Asked | None) -> str:
    """A header with the names in it replaced, as the headers of models' providers have it."""
    if "{{" not in text:
        return text
    for name, value in _named(asked).items():
        text = text.replace("{{" + name + "}}", quote(value, safe="@ "))
    return text


def _named(asked: Asked | None) -> dict[str, str]:
    who = asked.principal if asked is not None else Principal(id="", role="user", name="", email="")
    return {
        "USER_ID": who.id,
        "USER_NAME": who.name,
        "USER_EMAIL": who.email,
        "USER_ROLE": who.role,
        "CHAT_ID": (asked.chat_id if asked is not None else None) or "",
        "MESSAGE_ID": (asked.message_id if asked is not None else None) or "",
    }


def _about(asked: Asked) -> dict[str, str]:
    who = asked.principal
    out = {
        "x-openwebui-user-name": quote(who.name, safe=" "),
        "x-openwebui-user-id": who.id,
        "x-openwebui-user-email": quote(who.email, safe="@"),
        "x-openwebui-user-role": who.role,
    }
    if asked.chat_id is not None:
        out["x-openwebui-chat-id"] = quote(asked.chat_id)
    if asked.message_id is not None:
        out["x-openwebui-message-id"] = quote(asked.message_id)
    return out
