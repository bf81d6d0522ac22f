"""The token that a person's provider gave at sign-in, for servers that an administrator lets have it; renewed once at a time."""

import asyncio
import hashlib
import time
from typing import Final
from urllib.parse import urlencode

import msgspec

from open_webui.access.oauth import exchange
from open_webui.access.oauth.discovery import Discovery
from open_webui.access.oauth.providers import Provider, providers
from open_webui.internal import oauth as http
from open_webui.internal.log import get_logger
from open_webui.internal.oauth import FORM, SignInFailed, SignInGone, is_on
from open_webui.models import accounts as credentials
from open_webui.models import provider_sessions
from open_webui.models.provider_sessions import ProviderSession
from open_webui.principal import Principal
from open_webui.services.deps import Deps

log = get_logger(__name__)
# Seconds: before its end that a token is made anew, for one process to do that, and between two looks of the others.
EARLY: Final = 60
RENEWING: Final = 20
_LOOK: Final = 0.2
NONE: Final = "This needs the token of the site by which you sign in. Sign out here, and sign in by that site."
GONE: Final = "What you signed in with at {} holds no more. Sign out here, and sign in there again."


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider gave. expires_at: seconds since the epoch; None where it did not say."""

    access_token: str
    refresh_token: str = ""
    id_token: str = ""
    expires_at: int | None = None

    @property
    def is_fresh(self) -> bool:
        return self.expires_at is None or self.expires_at - EARLY > time.time()


class ProviderTokens:
    """Gives people's tokens to whoever forwards them. Nothing is kept in memory: they lie sealed in the database."""

    def __init__(self, deps: Deps, discovery: Discovery) -> None:
        self._deps = deps
        self._discovery = discovery

    async def of_person(self, user_id: str) -> str:
        """The token of somebody's newest session that has one, for who is known by their id only. Raises as `of`."""
        return (await self._held(user_id, "")).access_token

    async def of(self, principal: Principal) -> Held:
        """The token of the session that asks, or of the person's newest that has one; made anew where it ends.

        Raises SignInGone where there is none any more, SignInFailed where the provider can't be asked.
        """
        return await self._held(principal.id, principal.session)

    async def _held(self, user_id: str, jti: str) -> Held:
        for _ in range(int(RENEWING / _LOOK)):
            session = await self._session(user_id, jti)
            if session is None:
                raise SignInGone(NONE)
            held = self._opened(session)
            if held is None:
                raise SignInGone(NONE)
            if held.is_fresh:
                return held
            chosen = providers(self._deps.config).get(session.provider)
            if chosen is None or not held.refresh_token:
                raise SignInGone(GONE.format(session.provider if chosen is None else chosen.label))
            if await self._claim(session):
                return await self._renew(chosen, session, held)
            # Another request or process does it: a provider that sees one refresh token twice ends the sign-in.
            await asyncio.sleep(_LOOK)
        raise SignInFailed("Your provider's token could not be made anew in time. Try again.")

    async def _session(self, user_id: str, jti: str) -> ProviderSession | None:
        async with self._deps.database.read() as connection:
            if jti:
                own = await provider_sessions.get(connection, jti)
                if own is not None and own.sealed:
                    return own
            every = await provider_sessions.of_user(connection, user_id)
        return next((session for session in every if session.sealed), None)

    def _opened(self, session: ProviderSession) -> Held | None:
        text = self._deps.sealer.unseal(session.sealed, session.user_id)
        held = None if text is None else msgspec.json.decode(text, type=Held)
        return held if held is not None and held.access_token else None

    async def _claim(self, session: ProviderSession) -> bool:
        """Takes the making anew upon oneself: who dies at it, is followed by another after RENEWING seconds."""
        name = f"renewal {hashlib.sha256(session.sealed.encode()).hexdigest()}"
        async with self._deps.database.write(aside=True) as unit:
            return await credentials.spend(unit.connection, name, int(time.time()) + RENEWING)

    async def _renew(self, chosen: Provider, session: ProviderSession, held: Held) -> Held:
        try:
            made = await self._redeemed(chosen, held)
        except SignInGone as error:
            log.info("a provider's token can't be made anew", provider=chosen.id, why=error.detail)
            async with self._deps.database.write(aside=True) as unit:
                await provider_sessions.put_tokens(unit.connection, session, "")
            raise SignInGone(GONE.format(chosen.label)) from None
        sealed = self._deps.sealer.seal(msgspec.json.encode(made).decode(), session.user_id)
        async with self._deps.database.write(aside=True) as unit:
            await provider_sessions.put_tokens(unit.connection, session, sealed)
        return made

    async def _redeemed(self, chosen: Provider, held: Held) -> Held:
        """New tokens for the refresh token (RFC 6749, section 6). A provider may give a new one of those, too."""
        metadata = await self._discovery.metadata(chosen)
        fields = {"grant_type": "refresh_token", "refresh_token": held.refresh_token}
        how = exchange.method(chosen, metadata)
        fields, headers = http.identified(fields, chosen.client_id, chosen.client_secret, how)
        place = metadata.token_endpoint
        made = await http.post(
            place,
            urlencode(fields).encode(),
            FORM,
            allow_local=is_on(place, chosen.local),
            more=headers,
            seconds=chosen.seconds,
        )
        access, again, lasts = made.get("access_token"), made.get("refresh_token"), made.get("expires_in")
        if not isinstance(access, str) or not http.is_token(access):
            raise SignInGone(f"{chosen.label} gave no token.")
        seconds = exchange.lasting(lasts)
        return Held(
            access_token=access,
            refresh_token=again if isinstance(again, str) and http.is_token(again) else held.refresh_token,
            id_token=held.id_token,
            expires_at=None if seconds is None else int(time.time()) + seconds,
        )
