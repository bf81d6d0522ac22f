"""An MCP server at which people sign in, with the server of its sign-in on the same port: OAuth 2.1 with PKCE and registration.

Its one tool says who signed in. It holds each client to what it registered, each code and each refresh token to one use.
"""

import base64
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

TOOL = {"name": "whoami", "description": "Who signed in.", "inputSchema": {"type": "object", "properties": {}}}


class OAuthMCP:
    """The running server. person: who signs in next. lasts: seconds of the tokens that it gives. pkce, registers, issuer: change
    them for a server that does not do its part. refused: refresh tokens are. log: what it was asked for. wants: what a call
    needs to have been asked for at the sign-in.
    """

    def __init__(self) -> None:
        self.url = ""
        self.person = "Ann"
        self.lasts = 3_600
        self.pkce = ["S256"]
        self.registers = True
        self.issuer: str | None = None
        self.refused = False
        self.wants = ""
        self.scopes: dict[str, str] = {}
        self.log: list[str] = []
        self.clients: dict[str, list[str]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.access: dict[str, str] = {}
        self.refreshes: dict[str, str] = {}
        self._numbers = itertools.count(1)

    @property
    def mcp_url(self) -> str:
        return f"{self.url}/mcp"

    async def resource(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"resource": self.mcp_url, "authorization_servers": [self.url], "scopes_supported": ["tools"]}
        )

    async def metadata(self, _request: web.Request) -> web.Response:
        found = {
            "issuer": self.issuer or self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "code_challenge_methods_supported": self.pkce,
        }
        return web.json_response(found | ({"registration_endpoint": f"{self.url}/register"} if self.registers else {}))

    async def register(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        client = f"client-{next(self._numbers)}"
        self.clients[client] = wanted["redirect_uris"]
        return web.json_response({"client_id": client} | wanted, status=201)

    async def authorize(self, request: web.Request) -> web.Response:
        given = request.query
        if given["redirect_uri"] not in self.clients.get(given["client_id"], ()):
            return web.Response(status=400, text="unknown client")
        assert given["code_challenge_method"] == "S256"
        assert given["resource"] == self.mcp_url
        code = f"code-{next(self._numbers)}"
        self.codes[code] = {"who": self.person, **given}
        where = f"{given['redirect_uri']}?{urlencode({'code': code, 'state': given['state']})}"
        return web.Response(status=302, headers={"location": where})

    async def token(self, request: web.Request) -> web.Response:
        given = await request.post()
        self.log.append(str(given["grant_type"]))
        if given["grant_type"] == "refresh_token":
            who = self.refreshes.pop(str(given["refresh_token"]), None)
            if who is None or self.refused:
                return web.json_response({"error": "invalid_grant"}, status=400)
        else:
            known = self.codes.pop(str(given["code"]), None)
            digest = base64.urlsafe_b64encode(hashlib.sha256(str(given["code_verifier"]).encode()).digest())
            if (
                known is None
                or known["code_challenge"] != digest.rstrip(b"=").decode()
                or known["redirect_uri"] != given["redirect_uri"]
            ):
                return web.json_response({"error": "invalid_grant"}, status=400)
            who = known["who"]
            self.scopes[who] = known.get("scope", "")
        access, again = f"access-{next(self._numbers)}", f"refresh-{next(self._numbers)}"
        self.access[access], self.refreshes[again] = who, who
        return web.json_response(
            {"access_token": access, "token_type": "Bearer", "expires_in": self.lasts, "refresh_token": again}
        )

    async def mcp(self, request: web.Request) -> web.Response:
        who = self.access.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if who is None:
            named = f'Bearer resource_metadata="{self.url}/.well-known/oauth-protected-resource/mcp"'
            return web.Response(status=401, headers={"www-authenticate": named})
        if request.method != "POST":
            return web.Response(status=405)
        asked = await request.json()
        if asked["method"] == "tools/call" and self.wants not in self.scopes.get(who, ""):
            refused = f'Bearer error="insufficient_scope", scope="{self.wants}"'
            return web.Response(status=403, headers={"www-authenticate": refused})
        if "id" not in asked:
            return web.Response(status=202)
        result: dict[str, Any]
        match asked["method"]:
            case "initialize":
                result = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "signed", "version": "1"},
                }
            case "tools/list":
                result = {"tools": [TOOL]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": f"You are {who}."}]}
            case _:
                error = {"code": -32601, "message": "Method not found"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        headers = {"mcp-session-id": "one"} if asked["method"] == "initialize" else {}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result}, headers=headers)


@asynccontextmanager
async def open_oauth_mcp() -> AsyncIterator[OAuthMCP]:
    server = OAuthMCP()
    app = web.Application()
    app.router.add_get("/.well-known/oauth-protected-resource/mcp", server.resource)
    app.router.add_get("/.well-known/oauth-authorization-server", server.metadata)
    app.router.add_post("/register", server.register)
    app.router.add_get("/authorize", server.authorize)
    app.router.add_post("/token", server.token)
    app.router.add_route("*", "/mcp", server.mcp)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
