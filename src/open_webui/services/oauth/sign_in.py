"""Signing in by a provider: somebody is sent there, comes back, and what they bring is checked against how they left."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from open_webui.access.oauth import exchange, graph, id_tokens
from open_webui.access.oauth.discovery import Discovery
from open_webui.access.oauth.exchange import Brought, Flow
from open_webui.access.oauth.providers import Provider, provider
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.log import get_logger
from open_webui.internal.oauth import FORM, SignInFailed, identified, is_on, post
from open_webui.models import accounts as credentials
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.oauth import settling
from open_webui.services.oauth.forwarding import ProviderTokens
from open_webui.services.signing_in import Admitted

log = get_logger(__name__)
# Whom a sign-in under way is sealed for, and how many seconds it may take.
_FLOW: Final = "provider sign-in"
FLOW_SECONDS: Final = 600
# Characters of what comes back.
MAX_CODE: Final = 8_000
MAX_STATE: Final = 200
MAX_BACK: Final = 2_000
FOREIGN: Final = "This sign-in was begun in another browser, too long ago, or was used already. Begin again."
NOT_NAMED: Final = "The answer does not say which provider it is from, though this provider says so. Begin again."
OTHER: Final = "The answer is from another provider than the one that you went to. Nobody was signed in."
WRONG_PERSON: Final = "Somebody else is signed in here by now. Nothing was linked."


class Begun(msgspec.Struct, frozen=True):
    """Where somebody is sent, and what their browser keeps meanwhile."""

    url: str
    state: str
    sealed: str


class Finished(msgspec.Struct, frozen=True):
    """signed_in: None where an identity was linked. back: where the person goes on, a path of ours; "" where nothing was said."""

    signed_in: Admitted | None
    back: str


class ProviderSignIn:
    """Everything about it. What is under way travels with the browser; only what providers say of themselves is kept here."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.discovery = Discovery()
        self.tokens = ProviderTokens(deps, self.discovery)
        deps.config.on_change(self._changed)

    def _changed(self, keys: frozenset[str]) -> None:
        if any(key.startswith("oauth.") for key in keys):
            self.discovery.forget()

    async def begin(self, provider_id: str, base_url: str, address: str, *, user_id: str = "", back: str = "") -> Begun:
        """Somebody sets out. user_id: who links it to their account. Raises NotFound, SignInFailed, TooManyRequests."""
        chosen = provider(self._deps.config, provider_id)
        await self._deps.attempts.come_back(address)
        metadata = await self.discovery.metadata(chosen)
        redirect = chosen.redirect_uri or f"{base_url}/oauth/{chosen.id}/callback"
        until = int(time.time()) + FLOW_SECONDS
        flow = exchange.new_flow(chosen, redirect, until, user_id=user_id, back=own_path(back))
        sealed = self._deps.sealer.seal(msgspec.json.encode(flow).decode(), _FLOW)
        return Begun(exchange.authorization_url(chosen, metadata, flow), flow.state, sealed)

    async def finish(
        self, provider_id: str, given: Mapping[str, str], sealed: str, caller: Principal | None, address: str
    ) -> Finished:
        """Somebody comes back. sealed: what their browser kept. Raises Forbidden with the reason, SignInFailed, NotFound."""
        chosen = provider(self._deps.config, provider_id)
        await self._deps.attempts.come_back(address)
        flow = self._opened(sealed, given.get("state", ""), chosen)
        await self._spend(flow)
        await self._check_sender(chosen, given)
        if "error" in given:
            raise SignInFailed(f"{chosen.label} did not sign you in: {_said(given)}")
        code = given.get("code", "")
        if not 0 < len(code) <= MAX_CODE:
            raise BadRequest("The provider sent no code back.")
        linker = self._linker(flow, caller)
        brought = await exchange.redeem(chosen, self.discovery, flow, code)
        brought = await graph.with_groups(self._deps.config, chosen, brought)
        return Finished(await settling.settle(self._deps, chosen, brought, linker), flow.back)

    def _opened(self, sealed: str, state: str, chosen: Provider) -> Flow:
        """The sign-in that this browser began by this provider. Raises Forbidden."""
        text = self._deps.sealer.unseal(sealed, _FLOW) if sealed else None
        flow = None if text is None else msgspec.json.decode(text, type=Flow)
        if (
            flow is None
            or not state
            or len(state) > MAX_STATE
            or not hmac.compare_digest(state.encode(), flow.state.encode())
        ):
            raise Forbidden(FOREIGN, status=403)
        if flow.provider != chosen.id or flow.until < time.time():
            raise Forbidden(FOREIGN, status=403)
        return flow

    async def _spend(self, flow: Flow) -> None:
        """A way back is good once, over all processes. Raises Forbidden."""
        name = f"state {hashlib.sha256(flow.state.encode()).hexdigest()}"
        async with self._deps.database.write() as unit:
            fresh = await credentials.spend(unit.connection, name, flow.until)
        if not fresh:
            raise Forbidden(FOREIGN, status=403)

    async def _check_sender(self, chosen: Provider, given: Mapping[str, str]) -> None:
        """Whether the answer is this provider's (RFC 9207). Raises Forbidden."""
        metadata = await self.discovery.metadata(chosen)
        sender = given.get("iss")
        if sender is None and metadata.names_itself:
            raise Forbidden(NOT_NAMED, status=403)
        if sender is not None and metadata.issuer and "{" not in metadata.issuer and sender != metadata.issuer:
            raise Forbidden(OTHER, status=403)

    def _linker(self, flow: Flow, caller: Principal | None) -> Principal | None:
        """Who links it to their account: still the one that began. Raises Forbidden."""
        if not flow.user_id:
            return None
        if caller is None or caller.id != flow.user_id or caller.via != "session":
            raise Forbidden(WRONG_PERSON, status=403)
        return caller

    async def exchange(self, provider_id: str, token: str, address: str) -> Admitted:
        """A session for who has a token that this provider gave to our client. Raises SignInFailed, Forbidden, NotFound."""
        chosen = provider(self._deps.config, provider_id)
        if chosen.kind != "openid" or not self._deps.config["oauth.token_exchange.enable"]:
            raise NotFound("Tokens of this site are not exchanged here.")
        await self._deps.attempts.come_back(address)
        brought = await graph.with_groups(self._deps.config, chosen, await self._believed(chosen, token))
        signed_in = await settling.settle(self._deps, chosen, brought, None)
        assert signed_in is not None, "nothing is linked"
        return signed_in

    async def _believed(self, chosen: Provider, token: str) -> Brought:
        """What a token says of its owner. One that was given to another client is refused: whoever runs that could sign in
        as anybody who uses it.
        """
        metadata = await self.discovery.metadata(chosen)
        if token.count(".") == 2 and token.startswith("eyJ"):
            claims = await id_tokens.verified(token, metadata, lambda kid: self.discovery.keys(chosen, kid))
            id_tokens.check(claims, metadata, chosen.client_id)
            if claims.get("email"):
                return Brought(claims=claims)
        else:
            claims = await self._introspected(chosen, token)
        return Brought(claims=await exchange.with_userinfo(chosen, metadata, token, claims), access_token=token)

    async def _introspected(self, chosen: Provider, token: str) -> dict[str, Any]:
        """What the provider says of a token that can't be read (RFC 7662)."""
        metadata = await self.discovery.metadata(chosen)
        if not metadata.introspection_endpoint:
            raise SignInFailed("Such a token can't be checked: the provider has no introspection. Send an id_token.")
        how = exchange.method(chosen, metadata)
        fields, headers = identified({"token": token}, chosen.client_id, chosen.client_secret, how)
        place = metadata.introspection_endpoint
        body = urlencode(fields).encode()
        found = await post(
            place, body, FORM, allow_local=is_on(place, chosen.local), more=headers, seconds=chosen.seconds
        )
        ours = found.get("client_id") == chosen.client_id
        if found.get("active") is not True or not ours or not id_tokens.is_subject(found.get("sub")):
            raise SignInFailed("The provider's token can't be used: it is not of this server's client, or has ended.")
        return {"sub": found["sub"]}


def own_path(text: str) -> str:
    """A path of this server; "" for anything that leads elsewhere."""
    fits = 0 < len(text) <= MAX_BACK and text.startswith("/") and not text.startswith("//")
    return text if fits and text.isprintable() and "\\" not in text else ""


def _said(given: Mapping[str, str]) -> str:
    text = given.get("error_description") or given["error"]
    return "".join(c for c in text if c.isprintable())[:300]
