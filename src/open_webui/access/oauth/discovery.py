"""What OpenID providers say of themselves, and their keys: fetched on use, kept for a while, asked anew seldom.

Nothing that a stranger sends has anything fetched twice in a row: neither what failed nor a key that is not there is asked for
again before some time has passed.
"""

import asyncio
import time
from typing import Any, Final

import msgspec

from open_webui.access.oauth.providers import Provider
from open_webui.internal import oauth as http
from open_webui.internal.oauth import SignInFailed, is_address

# Seconds that what was said is good for, and until what failed, or a key that is not there, is asked for again.
GOOD_SECONDS: Final = 3_600.0
AGAIN_SECONDS: Final = 30.0
MAX_KEYS: Final = 100
# Of what is kept: settings change while the server runs.
MAX_PROVIDERS: Final = 20
# What a provider leaves open about the issuer where people of many organisations sign in.
TENANT: Final = "{tenantid}"


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The part that is used. issuer: "" of a site that has no OpenID; it may hold TENANT. algorithms: those of its tokens, where
    it says them. names_itself: whether it comes back with its name (RFC 9207).
    """

    issuer: str = ""
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str = ""
    jwks_uri: str = ""
    end_session_endpoint: str = ""
    introspection_endpoint: str = ""
    methods: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    names_itself: bool = False


# Of sites that speak OAuth without OpenID's discovery.
GITHUB: Final = Metadata(
    authorization_endpoint="https://github.com/login/oauth/authorize",
    token_endpoint="https://github.com/login/oauth/access_token",
    userinfo_endpoint="https://api.github.com/user",
)
FEISHU: Final = Metadata(
    authorization_endpoint="https://accounts.feishu.cn/open-apis/authen/v1/authorize",
    token_endpoint="https://open.feishu.cn/open-apis/authen/v2/oauth/token",
    userinfo_endpoint="https://open.feishu.cn/open-apis/authen/v1/user_info",
)


class _Kept(msgspec.Struct):
    """What is known of one provider. failed: why the last look brought nothing."""

    metadata: Metadata | None = None
    failed: str = ""
    looked_at: float = float("-inf")
    keys: list[dict[str, Any]] = msgspec.field(default_factory=list)
    keys_failed: str = ""
    keys_at: float = float("-inf")


class Discovery:
    """What providers said. One look at a time for each."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def metadata(self, provider: Provider) -> Metadata:
        """What a provider says of itself. Raises SignInFailed."""
        if provider.kind == "github":
            return GITHUB
        if provider.kind == "feishu":
            return FEISHU
        async with self._lock(provider):
            kept = self._of(provider)
            if kept.metadata is None or _age(kept.looked_at) > GOOD_SECONDS:
                await _look(provider, kept)
            if kept.metadata is None:
                raise SignInFailed(kept.failed)
            return kept.metadata

    async def keys(self, provider: Provider, kid: str | None) -> list[dict[str, Any]]:
        """The keys of a provider among which one by this id should be; all where it has none. Raises SignInFailed."""
        metadata = await self.metadata(provider)
        async with self._lock(provider):
            kept = self._of(provider)
            if _age(kept.keys_at) > GOOD_SECONDS:
                await _look_at_keys(provider, metadata, kept)
            found = _by_id(kept.keys, kid)
            if not found and _age(kept.keys_at) > AGAIN_SECONDS:
                # They change from time to time. Asked for once; who sends ids that are not there waits.
                await _look_at_keys(provider, metadata, kept)
                found = _by_id(kept.keys, kid)
            if not found and kept.keys_failed:
                raise SignInFailed(kept.keys_failed)
            return found

    def forget(self) -> None:
        """To be called when settings changed: they may name another provider, or what failed was corrected."""
        self._kept.clear()

    def _of(self, provider: Provider) -> _Kept:
        if provider.discovery not in self._kept and len(self._kept) >= MAX_PROVIDERS:
            self._kept.clear()
        return self._kept.setdefault(provider.discovery, _Kept())

    def _lock(self, provider: Provider) -> asyncio.Lock:
        if provider.id not in self._locks:
            self._locks[provider.id] = asyncio.Lock()
        return self._locks[provider.id]


def _age(at: float) -> float:
    return time.monotonic() - at


def _by_id(keys: list[dict[str, Any]], kid: str | None) -> list[dict[str, Any]]:
    return keys if kid is None else [key for key in keys if key.get("kid") == kid]


async def _look(provider: Provider, kept: _Kept) -> None:
    """What was known stays where nothing new can be had. Raises nothing: who asks is told by `failed`."""
    if kept.failed and _age(kept.looked_at) < AGAIN_SECONDS:
        return
    try:
        found = await http.get(provider.discovery, allow_local=True, seconds=provider.seconds)
        if found is None:
            raise SignInFailed(f"{provider.local} does not say how people sign in there.")
        kept.metadata, kept.failed = _read(provider, found), ""
    except SignInFailed as error:
        kept.failed = error.detail
    kept.looked_at = time.monotonic()


def _read(provider: Provider, found: dict[str, Any]) -> Metadata:
    """Raises SignInFailed for what can't be used."""

    def place(name: str, *, needed: bool = False) -> str:
        url = found.get(name)
        if is_address(url):
            return str(url)
        if needed:
            raise SignInFailed(f"{provider.local} does not say its {name}.")
        return ""

    issuer = found.get("issuer")
    if not isinstance(issuer, str) or not is_address(issuer.replace(TENANT, "t")):
        raise SignInFailed(f"{provider.local} does not say who it is.")
    # Who answers at an address must be whom it belongs to (OpenID Connect Discovery, 4.3); a tenant's name may stand for its id.
    expected = provider.discovery.partition("/.well-known/")[0]
    if TENANT not in issuer and provider.id != "microsoft" and issuer.rstrip("/") != expected.rstrip("/"):
        raise SignInFailed(f"{provider.local} says that it is somebody else ({issuer[:200]}).")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=place("authorization_endpoint", needed=True),
        token_endpoint=place("token_endpoint", needed=True),
        jwks_uri=place("jwks_uri", needed=True),
        userinfo_endpoint=place("userinfo_endpoint"),
        end_session_endpoint=place("end_session_endpoint"),
        introspection_endpoint=place("introspection_endpoint"),
        methods=tuple(http.texts(found.get("token_endpoint_auth_methods_supported"))[:20]),
        algorithms=tuple(http.texts(found.get("id_token_signing_alg_values_supported"))[:50]),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


async def _look_at_keys(provider: Provider, metadata: Metadata, kept: _Kept) -> None:
    if kept.keys_failed and _age(kept.keys_at) < AGAIN_SECONDS:
        return
    kept.keys_at = time.monotonic()
    try:
        local = http.is_on(metadata.jwks_uri, provider.local)
        found = await http.get(metadata.jwks_uri, allow_local=local, seconds=provider.seconds)
        listed = (found or {}).get("keys")
        if not isinstance(listed, list):
            raise SignInFailed(f"{provider.local} does not show its keys.")
        # A secret among them would let anybody who reads it sign.
        kept.keys = [
            key for key in listed[:MAX_KEYS]
            if isinstance(key, dict) and key.get("kty") in {"RSA", "EC"} and key.get("use", "sig") == "sig"
        ]  # fmt: skip
        kept.keys_failed = ""
    except SignInFailed as error:
        kept.keys_failed = error.detail
