"""What a provider, or who pretends to be one, sends that must not be believed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwk, jwt
from joserfc.errors import SecurityWarning

from open_webui.access.oauth import discovery as discovery_module
from open_webui.access.oauth import id_tokens
from open_webui.access.oauth.discovery import Discovery, Metadata
from open_webui.access.oauth.providers import Provider
from open_webui.internal.oauth import SignInFailed
from tests.open_webui.oauth.conftest import Serve
from tests.support.fake_oidc import CLIENT, Claims, FakeProvider, key, problem, public, sign_in, signed, who
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def unsigned(claims: Claims) -> str:
    return jwt.encode({"alg": "none"}, claims, None, algorithms=["none"])  # type: ignore[arg-type]


def by_public_key(claims: Claims) -> str:
    """Signed with what everybody may read, as a shared secret."""
    shared = jwk.OctKey.import_key(key("k1").as_pem(private=False))
    return jwt.encode({"alg": "HS256", "kid": "k1"}, claims, shared, algorithms=["HS256"])


def own_key(claims: Claims) -> str:
    """Signed with a key that comes along."""
    return jwt.encode({"alg": "RS256", "jwk": public("k9"), "jku": "http://127.0.0.1:1/"}, claims, key("k9"))


def tampered(claims: Claims) -> str:
    head, _, signature = signed(claims).split(".")
    _, body, _ = signed(claims | {"sub": "boss"}).split(".")
    return f"{head}.{body}.{signature}"


FORGED: list[Callable[[Claims], str]] = [
    unsigned, by_public_key, own_key, tampered,
    lambda claims: signed(claims, "k9"),
    lambda claims: signed(claims, "k9", kid="k1"),
    lambda claims: signed(claims, kid="../../etc/passwd"),
    lambda _: "a.b.c",
    lambda _: "",
    lambda _: "eyJhbGciOiJSUzI1NiJ9..",
    lambda claims: signed(claims | {"pad": "x" * 120_000}),
]  # fmt: skip


async def test_a_token_that_is_not_the_providers(live: Live, admin: Actor, provider: FakeProvider) -> None:
    async with live.client() as browser:
        for number, make in enumerate(FORGED):
            provider.make_token = make
            assert problem(await sign_in(browser)), number
            assert await who(browser) == 401
    # Nothing was asked that a token names, and keys not for each.
    assert provider.asked("/jwks") == 1
    assert (await admin.client.get("/api/v1/users/")).json()["total"] == 1


NOW = time.time
TWISTS: dict[str, Callable[[Claims], Claims]] = {
    "nonce": lambda claims: claims | {"nonce": "other"},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "aud": lambda claims: claims | {"aud": "other"},
    "aud list": lambda claims: claims | {"aud": ["other"]},
    "azp": lambda claims: claims | {"azp": "other"},
    "several aud without azp": lambda claims: claims | {"aud": [CLIENT, "other"]},
    "iss": lambda claims: claims | {"iss": "https://evil.example"},
    "iss with a slash": lambda claims: claims | {"iss": claims["iss"] + "/"},
    "exp": lambda claims: claims | {"exp": int(NOW()) - 120},
    "no exp": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "exp as text": lambda claims: claims | {"exp": "9999999999"},
    "iat": lambda claims: claims | {"iat": int(NOW()) + 600},
    "nbf": lambda claims: claims | {"nbf": int(NOW()) + 600},
    "no sub": lambda claims: claims | {"sub": ""},
    "at_hash": lambda claims: claims | {"at_hash": "AAAA"},
}


async def test_claims_that_are_not_of_this_sign_in(live: Live, admin: Actor, provider: FakeProvider) -> None:
    async with live.client() as browser:
        for name, twist in TWISTS.items():
            provider.twist = twist
            assert "token can't be used" in problem(await sign_in(browser)), name
            assert await who(browser) == 401
        # Userinfo of somebody else.
        provider.twist, provider.userinfo = lambda claims: claims, {"sub": "boss"}
        assert "two people" in problem(await sign_in(browser))
        provider.userinfo = None
        provider.twist = lambda claims: claims | {"aud": [CLIENT, "other"], "azp": CLIENT, "exp": int(NOW()) - 10}
        assert (await sign_in(browser)).headers["location"] == "/"
    assert (await admin.client.get("/api/v1/users/")).json()["total"] == 2


async def test_keys_change(live: Live, admin: Actor, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live.client() as browser:
        assert (await sign_in(browser)).headers["location"] == "/"
        assert provider.asked("/jwks") == 1
        provider.kids, provider.signs_with = ["k2"], "k2"
        # Too soon after the last look: whoever invents ids has nothing asked for.
        assert "no key" in problem(await sign_in(browser))
        assert provider.asked("/jwks") == 1
        monkeypatch.setattr(discovery_module, "AGAIN_SECONDS", 0.0)
        assert (await sign_in(browser)).headers["location"] == "/"
        assert provider.asked("/jwks") == 2
        # The old key is not taken any more.
        provider.signs_with = "k1"
        assert "no key" in problem(await sign_in(browser))
        assert provider.asked("/.well-known/openid-configuration") == 1


BODIES = [
    (b"{" + b" " * 300_000 + b"}", "sent more than"),
    (b"[" * 100_000, "does not say"),
    (b"<html>", "does not say"),
    (b'{"issuer": 5}', "does not say who it is"),
    (b'{"issuer": "https://evil.example"}', "somebody else"),
]


async def test_discovery_that_can_not_be_used(live: Live, admin: Actor, provider: FakeProvider) -> None:
    async with live.client() as browser:
        for number, (body, said) in enumerate(BODIES, 1):
            provider.discovery_body = body
            live.app.state.oui.provider_sign_in.discovery.forget()
            for _ in range(3):
                reply = await browser.get("/oauth/oidc/login")
                assert reply.status_code >= 400
                assert said in reply.json()["detail"]
            # What failed is asked for again after a while.
            assert provider.asked("/.well-known/openid-configuration") == number
        assert (await browser.get("/health")).status_code == 200


async def test_slow_discovery_holds_nobody_else(serve: Serve, provider: FakeProvider) -> None:
    live = await serve(OAUTH_TIMEOUT="1")
    provider.wait = 30
    async with live.client() as browser, live.client() as other:
        waiting = asyncio.create_task(browser.get("/oauth/oidc/login"))
        assert (await other.get("/api/config")).status_code == 200
        assert (await other.get("/health")).status_code == 200
        assert not waiting.done()
        assert "did not answer" in (await waiting).json()["detail"]
    provider.wait = 0


async def test_private_addresses_are_asked_only_where_the_admin_chose_the_host(
    live: Live, admin: Actor, provider: FakeProvider
) -> None:
    elsewhere = provider.url.replace("127.0.0.1", "localhost")
    for name in ("token_endpoint", "jwks_uri", "userinfo_endpoint"):
        provider.metadata = {name: f"{elsewhere}/{name.split('_')[0]}"}
        live.app.state.oui.provider_sign_in.discovery.forget()
        async with live.client() as browser:
            assert "no public address" in problem(await sign_in(browser)), name


async def test_a_picture_is_one_or_is_left(live: Live, admin: Actor, provider: FakeProvider) -> None:
    bad = [
        f"{provider.url}/authorize",
        "http://169.254.169.254/x",
        "file:///etc/passwd",
        "data:text/html,x",
        "x" * 9_000,
        5,
    ]
    for number, picture in enumerate([*bad, f"{provider.url}/p.png"]):
        provider.person = {"sub": f"p{number}", "email": f"p{number}@example.com", "picture": picture}
        async with live.client() as browser:
            assert (await sign_in(browser)).headers["location"] == "/"
            image = (await admin.client.get(f"/api/v1/users/{(await who(browser))['id']}")).json()["profile_image_url"]
            assert (image != "/user.png") is (number == len(bad)), (picture, image)


def metadata() -> Metadata:
    return Metadata(issuer="https://i.example/{tenantid}/v2.0", authorization_endpoint="", token_endpoint="")


@pytest.mark.parametrize(
    ("tenant", "issuer", "fits"),
    [
        ("abc-1", "https://i.example/abc-1/v2.0", True),
        ("abc-1", "https://i.example/abc-2/v2.0", False),
        ("../evil", "https://i.example/../evil/v2.0", False),
        (None, "https://i.example/{tenantid}/v2.0", False),
    ],
)
def test_tenants_of_microsoft(database_kind: str, tenant: Any, issuer: str, fits: bool) -> None:
    now = int(time.time())
    claims = {"iss": issuer, "tid": tenant, "aud": "c", "sub": "1", "iat": now, "exp": now + 9}
    if fits:
        id_tokens.check(claims, metadata(), "c")
    else:
        with pytest.raises(SignInFailed):
            id_tokens.check(claims, metadata(), "c")


async def test_weak_and_foreign_keys_are_no_keys(database_kind: str) -> None:
    with pytest.warns(SecurityWarning):
        weak = jwk.RSAKey.generate_key(1024, {"kid": "w"})
    text = jwt.encode({"alg": "RS256", "kid": "w"}, {"sub": "1"}, weak)
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "o"}

    async def keys(_kid: str | None) -> list[dict[str, Any]]:
        return [weak.as_dict(private=False), shared]  # type: ignore[list-item]

    with pytest.raises(SignInFailed, match="no key"):
        await id_tokens.verified(text, metadata(), keys)
    asked: list[str | None] = []

    async def noted(kid: str | None) -> list[dict[str, Any]]:
        asked.append(kid)
        return []

    for junk in ("x", "a.b", "....", "é.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.x", "e30.e30.x"):
        with pytest.raises(SignInFailed):
            await id_tokens.verified(junk, metadata(), noted)
    assert asked == []


async def test_what_is_known_of_providers_is_bounded(database_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(discovery_module.http, "get", nobody)
    kept = Discovery()
    for number in range(100):
        place = f"https://p{number}.example/.well-known/openid-configuration"
        with pytest.raises(SignInFailed):
            await kept.metadata(
                Provider(id="oidc", label="x", client_id="c", client_secret="", scope="", discovery=place)
            )
    assert len(kept._kept) <= discovery_module.MAX_PROVIDERS
    assert len(kept._locks) == 1
