"""An OpenID provider for tests that does as it is told: also what no honest one does."""

import asyncio
import base64
import functools
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from aiohttp import web
from joserfc import jwk, jwt

from tests.support.live import Live

CLIENT, SECRET = "oui", "a-secret-of-tests"
Claims = dict[str, Any]


@functools.cache
def key(kid: str) -> Any:
    return jwk.RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


def public(kid: str) -> dict[str, Any]:
    found: dict[str, Any] = key(kid).as_dict(private=False)
    return found


def signed(claims: Claims, kid: str = "k1", **header: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": kid} | header, claims, key(kid))


class FakeProvider:
    """person: whose claims come next. kids: whose public keys it shows; signs_with: one of them, or not. twist: changes the
    claims of an id_token. make_token: makes it instead. metadata: more, or other, of what it says of itself. iss: what it
    comes back with. log: what it was asked for.
    """

    def __init__(self) -> None:
        self.url = ""
        self.person: Claims = {"sub": "ann", "email": "ann@example.com", "email_verified": True, "name": "Ann"}
        self.kids = ["k1"]
        self.signs_with = "k1"
        self.twist: Callable[[Claims], Claims] = lambda claims: claims
        self.make_token: Callable[[Claims], str] | None = None
        self.metadata: Claims = {}
        self.iss: str | None = None
        self.wait = 0.0
        self.discovery_body: bytes | None = None
        self.userinfo: Claims | None = None
        self.tokens: dict[str, Claims] = {}
        # Refresh tokens that are good, each for one use; seconds that an access token lasts; what a renewal is answered with.
        self.again: dict[str, Claims] = {}
        self.lasts: Any = 300
        self.renewal: web.Response | None = None
        self.renewed = 0
        self.log: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._numbers = itertools.count(1)

    def asked(self, path: str) -> int:
        return self.log.count(path)

    def claims(self, nonce: str | None = None) -> Claims:
        """Of an id_token of the person, as it should be."""
        now = int(time.time())
        made = self.person | {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 600,
            "sid": f"sid-{self.person['sub']}",
        }
        return made | ({} if nonce is None else {"nonce": nonce})

    def logout_token(self, **changes: Any) -> str:
        now = int(time.time())
        said = {
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": f"j{next(self._numbers)}",
            "sub": self.person["sub"],
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | changes  # fmt: skip
        return signed(
            {name: value for name, value in said.items() if value is not None}, self.signs_with, typ="logout+jwt"
        )

    async def _discovery(self, _request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.wait)
        if self.discovery_body is not None:
            return web.Response(body=self.discovery_body, content_type="application/json")
        said = {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks", "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/end", "introspection_endpoint": f"{self.url}/introspect",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        } | self.metadata  # fmt: skip
        return web.json_response(said)

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [public(kid) for kid in self.kids]})

    async def _authorize(self, request: web.Request) -> web.Response:
        given = request.query
        if given.get("client_id") != CLIENT or given.get("code_challenge_method") != "S256":
            return web.Response(status=400, text="no such client, or no PKCE")
        code = f"code-{next(self._numbers)}"
        self._codes[code] = dict(given)
        fields = {"code": code, "state": given["state"]} | ({} if self.iss is None else {"iss": self.iss})
        return web.Response(status=302, headers={"location": f"{given['redirect_uri']}?{urlencode(fields)}"})

    async def _token(self, request: web.Request) -> web.Response:
        given = await request.post()
        if given.get("grant_type") == "refresh_token":
            return await self._renew(str(given.get("refresh_token")))
        begun = self._codes.pop(str(given.get("code")), None)
        digest = hashlib.sha256(str(given.get("code_verifier")).encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if begun is None or proof != begun["code_challenge"] or given.get("redirect_uri") != begun["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if given.get("client_secret") != SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        claims = self.twist(self.claims(begun.get("nonce")))
        made = self.make_token(claims) if self.make_token is not None else signed(claims, self.signs_with)
        return web.json_response(self._tokens(self.person) | {"id_token": made})

    def _tokens(self, person: Claims) -> dict[str, Any]:
        access, again = f"access-{next(self._numbers)}", f"again-{next(self._numbers)}"
        self.tokens[access] = self.again[again] = person
        return {"access_token": access, "token_type": "Bearer", "expires_in": self.lasts, "refresh_token": again}

    async def _renew(self, token: str) -> web.Response:
        self.renewed += 1
        await asyncio.sleep(self.wait)
        if self.renewal is not None:
            return self.renewal
        person = self.again.pop(token, None)
        if person is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.lasts = 300
        return web.json_response(self._tokens(person))

    async def _userinfo(self, request: web.Request) -> web.Response:
        found = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        return web.Response(status=401) if found is None else web.json_response(self.userinfo or found)

    async def _introspect(self, request: web.Request) -> web.Response:
        given = await request.post()
        found = self.tokens.get(str(given.get("token")))
        known = {"active": True, "client_id": CLIENT, "sub": found["sub"]} if found is not None else {"active": False}
        return web.json_response(known | (self.userinfo or {}))

    async def _picture(self, _request: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG\r\n\x1a\n" + bytes(60), content_type="image/png")

    @web.middleware
    async def _logged(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.log.append(request.path)
        answer: web.StreamResponse = await handler(request)
        return answer


@asynccontextmanager
async def fake_provider() -> AsyncIterator[FakeProvider]:
    made = FakeProvider()
    app = web.Application(middlewares=[made._logged])
    app.router.add_get("/.well-known/openid-configuration", made._discovery)
    for path, handler in (
        ("jwks", made._jwks),
        ("authorize", made._authorize),
        ("userinfo", made._userinfo),
        ("p.png", made._picture),
    ):
        app.router.add_get(f"/{path}", handler)
    app.router.add_post("/token", made._token)
    app.router.add_post("/introspect", made._introspect)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


def environment(url: str, **more: str) -> dict[str, str]:
    """The variables by which a server has people sign in there."""
    return {
        "OPENID_PROVIDER_URL": url,
        "OAUTH_CLIENT_ID": CLIENT,
        "OAUTH_CLIENT_SECRET": SECRET,
        "ENABLE_OAUTH_SIGNUP": "true",
    } | more


async def there(browser: httpx.AsyncClient, begin: str = "/oauth/oidc/login") -> str:
    """Where the provider sends somebody back to, who set out here in this browser: a path of ours with its query."""
    away = await browser.get(begin)
    assert away.status_code == 302, away.text
    return await at_provider(away.headers["location"])


async def at_provider(url: str) -> str:
    """The same from where the provider is."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as outside:
        while True:
            back = await outside.get(url)
            assert back.status_code in {302, 303}, back.text
            url = str(httpx.URL(url).join(back.headers["location"]))
            if "/callback" in url:
                break
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


async def sign_in(browser: httpx.AsyncClient) -> httpx.Response:
    """There and back."""
    return await browser.get(await there(browser))


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def who(browser: httpx.AsyncClient) -> Any:
    """Who the browser's session is of, or the status of the refusal."""
    reply = await browser.get("/api/v1/auths/")
    return reply.json() if reply.status_code == 200 else reply.status_code


def problem(reply: httpx.Response) -> str:
    """What a failed way back leaves for the page to show."""
    assert reply.status_code == 302, reply.text
    return str(httpx.URL(f"http://x/?p={reply.cookies.get('sign_in_problem', '')}").params["p"])


async def make(live: Live, provider: FakeProvider, **person: Any) -> httpx.AsyncClient:
    """The browser of somebody who signed in by the provider; the caller closes it."""
    provider.person = {
        "email_verified": True,
        "name": person["sub"].title(),
        "email": f"{person['sub']}@example.com",
    } | person
    browser = live.client()
    reply = await sign_in(browser)
    assert reply.headers["location"] == "/", problem(reply)
    return browser
