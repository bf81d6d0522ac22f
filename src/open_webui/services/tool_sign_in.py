"""People sign in at tool servers: this server's registration there, the way there and back, and tokens that stay fresh."""

import asyncio
import time
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from open_webui import constants
from open_webui.access.api_keys import Sealer
from open_webui.config import Config
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import tool_server_tokens as rows
from open_webui.principal import Principal
from open_webui.tools import oauth
from open_webui.tools.oauth import Client, SignInFailed, SignInGone, Tokens
from open_webui.tools.servers import Server

log = get_logger(__name__)
# Whom registrations, and the way back of a sign-in, are sealed for.
_CLIENTS: Final = "tool server clients"
_STATES: Final = "tool server sign-in"
_MORE: Final = "tool server rights"
# Seconds: for a sign-in, before their end that tokens are made anew, and for one process to do that.
STATE_SECONDS: Final = 600
EARLY: Final = 60
RENEWING: Final = 20
_LOOK: Final = 0.2
FOREIGN: Final = "This sign-in was begun by somebody else, or too long ago. Begin again."
MORE: Final = "{} wants more rights for this than you have there ({}). Sign in there anew: open {}"
FIRST: Final = "Sign in there first: open {}"


class Deps(Protocol):
    """What it needs of the state."""

    config: Config
    database: Database
    sealer: Sealer


class _State(msgspec.Struct, frozen=True):
    """What comes back with a sign-in: who began it, where, and its secret."""

    user_id: str
    server: str
    verifier: str
    until: int


class ToolSignIn:
    """Everything about it. Nothing is kept in memory: what is under way travels sealed, and tokens lie in the database."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def register(self, form: Any, base_url: str) -> str:
        """Registers this server at a tool server. Gives the registration, sealed, as the entry of the server keeps it.

        Raises BadRequest, SignInFailed.
        """
        redirect = oauth.check_redirect(f"{base_url}/oauth/clients/mcp:{form.client_id}/callback")
        metadata = await oauth.discover(form.url, form.oauth_server_url or None)
        # A secret stands for a client that was made by hand; then the id is that of the client.
        by_hand = form.client_id if form.client_secret else ""
        client = await oauth.register(
            metadata,
            redirect,
            form.client_name or constants.PRODUCT,
            client_id=by_hand,
            secret=form.client_secret or "",
            scope=form.oauth_scope or "",
        )
        return self._deps.sealer.seal(msgspec.json.encode(client).decode(), _CLIENTS)

    def begin(self, principal: Principal, server: Server, more: str = "") -> str:
        """The address at which somebody signs in. more: of `way_to_more`. Raises BadRequest for a server without a
        registration.
        """
        verifier = oauth.new_verifier()
        state = _State(principal.id, server.tool_id, verifier, int(time.time()) + STATE_SECONDS)
        sealed = self._deps.sealer.seal(msgspec.json.encode(state).decode(), _STATES)
        scope = (self._deps.sealer.unseal(more, f"{_MORE} {principal.id}") if more else None) or ""
        return oauth.authorization_url(oauth.with_scope(self._client(server), scope), sealed, verifier)

    def way_to_more(self, principal: Principal, server: Server, scope: str) -> str:
        """Where somebody begins who needs more rights there. Sealed, so that nobody else's link asks for any."""
        sealed = self._deps.sealer.seal(scope, f"{_MORE} {principal.id}")
        return f"{way_to(server)}?more={quote(sealed, safe='')}"

    async def finish(self, principal: Principal | None, server: Server | None, code: str, state: str) -> None:
        """Takes what a sign-in brought back. Raises Forbidden for somebody else's, SignInFailed."""
        text = self._deps.sealer.unseal(state, _STATES)
        known = None if text is None else msgspec.json.decode(text, type=_State)
        if known is None or principal is None or known.user_id != principal.id or known.until < time.time():
            raise Forbidden(FOREIGN, status=403)
        if server is None or known.server != server.tool_id or not server.may_use(principal):
            raise NotFound
        tokens = await oauth.redeem(self._client(server), code, known.verifier)
        await self._store(principal.id, server, tokens)

    async def token(self, principal: Principal, server: Server) -> Tokens:
        """What somebody has there, made anew where it ends. Raises SignInGone with the way to sign in, SignInFailed."""
        for _ in range(int(RENEWING / _LOOK)):
            async with self._deps.database.read() as connection:
                row = await rows.get(connection, principal.id, server.tool_id)
            text = None if row is None else self._deps.sealer.unseal(row.sealed, principal.id)
            if row is None or text is None:
                raise SignInGone(FIRST.format(way_to(server)))
            tokens = msgspec.json.decode(text, type=Tokens)
            if tokens.expires_at is None or tokens.expires_at - EARLY > time.time():
                return tokens
            async with self._deps.database.write() as unit:
                is_mine = await rows.claim(unit.connection, principal.id, server.tool_id, row, RENEWING)
            if is_mine:
                return await self._renew(principal, server, tokens)
            # Another request, or another process, does it: a server that sees one token twice ends the sign-in.
            await asyncio.sleep(_LOOK)
        raise SignInFailed("The sign-in there could not be made anew in time. Try again.")

    async def servers_of(self, principal: Principal) -> frozenset[str]:
        """The servers at which somebody signed in, as chats name them."""
        async with self._deps.database.read() as connection:
            return await rows.servers_of(connection, principal.id)

    async def _renew(self, principal: Principal, server: Server, tokens: Tokens) -> Tokens:
        try:
            made = await oauth.refresh(self._client(server), tokens)
        except SignInGone as error:
            log.info("a sign-in at a tool server has ended", server=server.tool_id, why=error.detail)
            async with self._deps.database.write() as unit:
                await rows.delete(unit.connection, principal.id, server.tool_id)
            raise SignInGone(FIRST.format(way_to(server))) from None
        await self._store(principal.id, server, made)
        return made

    async def _store(self, user_id: str, server: Server, tokens: Tokens) -> None:
        sealed = self._deps.sealer.seal(msgspec.json.encode(tokens).decode(), user_id)
        async with self._deps.database.write() as unit:
            await rows.put(unit.connection, user_id, server.tool_id, sealed)

    def _client(self, server: Server) -> Client:
        text = self._deps.sealer.unseal(server.registration, _CLIENTS) if server.registration else None
        if text is None:
            raise BadRequest(f"An admin has to register this server at {server.name!r} first.")
        return msgspec.json.decode(text, type=Client)


def way_to(server: Server) -> str:
    """Where a person begins."""
    return f"/oauth/clients/mcp:{server.id}/authorize"
