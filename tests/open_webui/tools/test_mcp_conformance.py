"""The conformance suite of the protocol's makers, against our client and against `/mcp`. What does not apply is listed."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from open_webui.tools import oauth
from open_webui.tools.mcp import sessions as sessions_module
from open_webui.tools.mcp.frames import Ask, Progress, Target
from open_webui.tools.mcp.process import Refused
from open_webui.tools.mcp.sessions import Sessions
from tests.support.live import Actor, Live
from tests.support.mcp_server import conformance

pytestmark = [
    pytest.mark.xdist_group("mcp"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
ROOT = Path(__file__).resolve().parents[3]
ASKS = "this server asks its clients nothing (decision 52)"
OWN_RESOURCES = "resources are a person's documents and chats; none has an address of the suite's"
# Scenarios of each side that can't pass, and why.
NOT_FOR_THE_SERVER: Final = {
    "tools-call-with-logging": "levels are taken, and nothing is logged to clients: what a tool tells are its steps",
    "tools-call-sampling": ASKS,
    "tools-call-elicitation": ASKS,
    "elicitation-sep1034-defaults": ASKS,
    "elicitation-sep1330-enums": ASKS,
    **dict.fromkeys(("resources-read-text", "resources-read-binary", "resources-templates-read"), OWN_RESOURCES),
    **dict.fromkeys(("resources-subscribe", "resources-unsubscribe"), "nobody is told of resources that change"),
}
NO_GRANT = "people sign in; there is no grant without one"
NOT_FOR_THE_CLIENT: Final = {
    "auth/2025-03-26-oauth-endpoint-fallback": "a server that does not say how people sign in is refused, as later versions want",
    "auth/2025-03-26-oauth-metadata-backcompat": "its issuer is another than the address it was found at, which RFC 8414 forbids",
    "auth/client-credentials-jwt": NO_GRANT,
    "auth/client-credentials-basic": NO_GRANT,
    "auth/cross-app-access-complete-flow": NO_GRANT,
}
BACK = "http://localhost/back"


async def suite(*arguments: str) -> tuple[str, set[str]]:
    """What the suite prints, and the scenarios that failed; warnings, some of them about the clock, are none."""
    node, program = conformance()
    process = await asyncio.create_subprocess_exec(
        node, program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = re.sub(r"\x1b\[\d+m", "", (await process.communicate())[0].decode())
    results = re.findall(r"^[✓✗] ([\w/.-]+): \d+ passed, (\d+) failed", said, re.MULTILINE)
    assert len(results) > 20, said
    return said, {name for name, failed in results if failed != "0"}


@contextlib.asynccontextmanager
async def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Person:
    """Whoever is asked while a call runs: takes all that is there to begin with, as the page's form does."""

    async def progressed(self, progress: Progress) -> None:
        pass

    async def asked(self, ask: Ask) -> Any:
        fields = ask.params["requestedSchema"]["properties"]
        return {"action": "accept", "content": {name: about["default"] for name, about in fields.items()}}


async def signed_in(url: str, context: dict[str, str], scope: str = "") -> str:
    """A token, for which a person went there and back. scope: rights that were found missing."""
    metadata = await oauth.discover(url)
    by_hand = {"client_id": context.get("client_id", ""), "secret": context.get("client_secret", "")}
    client = oauth.with_scope(await oauth.register(metadata, BACK, "oui-backend", **by_hand), scope)
    verifier = oauth.new_verifier()
    async with aiohttp.ClientSession() as browser:
        there = await browser.get(oauth.authorization_url(client, "s", verifier), allow_redirects=False)
    code = parse_qs(urlsplit(there.headers["location"]).query)["code"][0]
    return (await oauth.redeem(client, code, verifier)).access_token


async def play(sessions: Sessions, scenario: str, url: str, context: dict[str, str]) -> None:
    """Our client's part: a session with the server, and a call of each of its tools."""
    headers = {}
    if scenario.startswith("auth/"):
        headers["authorization"] = f"Bearer {await signed_in(url, context)}"

    async def way() -> Target:
        return Target(url=url, headers=headers)

    key = (scenario, url)
    for tool in (await sessions.listing(key, way)).tools:
        arguments = {"a": 5, "b": 3} if tool["name"] == "add_numbers" else {}
        try:
            await sessions.call(key, way, tool["name"], arguments, Person())
        except Refused as error:
            if error.trouble != "scope":
                raise
            # The person signs in anew, once, and the call is made again.
            headers["authorization"] = f"Bearer {await signed_in(url, context, error.detail)}"
            await sessions.call(key, way, tool["name"], arguments, Person())
    sessions.forget(key)


async def test_our_client(database_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    sessions = Sessions()
    # One client for all scenarios: starting one for each would take most of the time.
    troubles: dict[str, str] = {}

    async def run(request: web.Request) -> web.Response:
        given = await request.post()
        scenario, context = str(given["scenario"]), json.loads(str(given["context"]) or "{}")
        try:
            await play(sessions, scenario, str(given["url"]), context)
        except Exception as error:  # noqa: BLE001 -- the suite judges; what went wrong is shown if it says no
            troubles[scenario] = repr(error)
            return web.Response(status=400)
        return web.Response()

    script = tmp_path / "client.sh"
    try:
        async with served(run) as port:
            script.write_text(
                'exec curl -sf --data-urlencode "url=$1" --data-urlencode "scenario=$MCP_CONFORMANCE_SCENARIO" '
                f'--data-urlencode "context=$MCP_CONFORMANCE_CONTEXT" http://127.0.0.1:{port}/\n'
            )
            said, failed = await suite("client", "--command", f"sh {script}", "--suite", "all", "-o", str(tmp_path))
    finally:
        await sessions.close()
    assert failed == NOT_FOR_THE_CLIENT.keys(), f"{said}\n{troubles}"


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setenv("ENABLE_MCP_SERVER", "true")
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    made = await make_live()
    folder = made.app.state.oui.settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    program = {"command": sys.executable, "args": [str(ROOT / "tests/support/mcp_conformance_tools.py")]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"test": program, "json": program}}))
    return made


async def test_our_server(live: Live, admin: Actor, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            """The suite signs nobody in."""
            headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
            headers["authorization"] = f"Bearer {admin.token}"
            body = await request.read()
            async with http.request(
                request.method, f"{live.url}{request.path_qs}", headers=headers, data=body
            ) as reply:
                kept = {
                    name: reply.headers[name] for name in ("content-type", "mcp-session-id") if name in reply.headers
                }
                out = web.StreamResponse(status=reply.status, headers=kept)
                await out.prepare(request)
                async for part in reply.content.iter_any():
                    await out.write(part)
                return out

        async with served(pass_on) as port:
            url = f"http://127.0.0.1:{port}/mcp"
            said, failed = await suite("server", "--url", url, "--suite", "all", "-o", str(tmp_path))
    assert failed == NOT_FOR_THE_SERVER.keys(), said
