"""The terminal servers of the settings: which there are for whom, what they offer to models, and what admins ask of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp

from open_webui.access.identify import Identifier
from open_webui.access.tokens import Tokens
from open_webui.config import Config
from open_webui.connections.transport import encode_payload
from open_webui.env import Settings
from open_webui.errors import BadRequest, NotFound, OuiError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.services.terminals.tools import Noticed
from open_webui.services.terminals.watch import Watch
from open_webui.services.tool_servers import ToolServers, tell
from open_webui.tools import terminals
from open_webui.tools.openapi_calls import ServerAway, fetch_json
from open_webui.tools.outgoing import SignIn, headers_for
from open_webui.tools.port import Asked, Tool
from open_webui.tools.servers import Server

log = get_logger(__name__)
KEY: Final = "terminal_server.connections"
# Seconds for what an admin asks of a server.
SECONDS: Final = 30.0
# Seconds for what a server says of itself to models, and characters of it.
ABOUT_SECONDS: Final = 5.0
MAX_ABOUT: Final = 20_000
GONE: Final = "The terminal {!r} is not there, or is not for you."
NONE: Final = "There is no such terminal server, or it is not for you."


class Deps(Protocol):
    """What it needs of the state."""

    settings: Settings
    config: Config
    database: Database
    http: aiohttp.ClientSession
    identifier: Identifier
    tokens: Tokens

    @property
    def tool_servers(self) -> ToolServers: ...

    @property
    def provider_sign_in(self) -> SignIn: ...

    @property
    def allowed_origins(self) -> frozenset[str]: ...


class Terminals:
    """A source of tools: the terminal that an answer's model may work on."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self._parsed: tuple[Any, list[Server]] = (None, [])
        self.watch = Watch(deps.identifier, self.may_use)

    def all(self) -> list[Server]:
        """Every server that is switched on. An entry of the environment or of a file that can't be read is passed over."""
        entries = self.deps.config[KEY]
        if self._parsed[0] is not entries:
            found: dict[str, Server] = {}
            for number, entry in enumerate(entries):
                try:
                    server = terminals.parse(entry if isinstance(entry, dict) else {}, number)
                except BadRequest as error:
                    log.warning("a terminal server can't be used", why=error.detail)
                else:
                    found.setdefault(server.id, server)
            self._parsed = (entries, [server for server in found.values() if server.enabled])
        return self._parsed[1]

    def check(self, entries: list[Any]) -> None:
        """Raises BadRequest for entries that can't be used, or not beside each other."""
        terminals.parse_all(entries)

    def listed(self, principal: Principal) -> list[dict[str, str]]:
        """Those that somebody may use. What an admin set up besides stays here, the server's own address too: pages reach it
        through this one.
        """
        return [
            {"id": server.id, "url": f"/api/v1/terminals/{server.id}", "name": server.name}
            for server in self.all()
            if server.may_use(principal)
        ]

    def may_use(self, principal: Principal, server_id: str) -> bool:
        """Whether there is such a server for somebody."""
        return any(server.id == server_id and server.may_use(principal) for server in self.all())

    def find(self, principal: Principal, server_id: str) -> Server:
        """One of those. Raises NotFound, also for one that is for others."""
        for server in self.all():
            if server.id == server_id and server.may_use(principal):
                return server
        raise NotFound(NONE)

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """See `ToolSource`. A terminal that is away is told to the person, and its tools are missing."""
        wanted = asked.terminal_id
        # A person's own comes with the question, among the servers that their page calls.
        if wanted is None or any(wanted in {own.get("id"), own.get("url")} for own in asked.servers if _is_named(own)):
            return ()
        try:
            server = self.find(asked.principal, wanted)
        except NotFound:
            await tell(asked, GONE.format(wanted[:100]))
            return ()
        return [Noticed(tool) for tool in await self.deps.tool_servers.offered(server, asked)]

    async def about(self, asked: Asked) -> str:
        """What the terminal of an answer says of itself to models: its system, its folders. Empty where it says nothing."""
        if asked.terminal_id is None or not self.may_use(asked.principal, asked.terminal_id):
            return ""
        server = self.find(asked.principal, asked.terminal_id)
        try:
            headers = {"accept": "application/json", **await headers_for(server, self.deps, asked)}
            said = await fetch_json(self.deps.http, "GET", f"{server.url}/system", headers, None, timeout=ABOUT_SECONDS)
        except OuiError:
            # Not every server has it.
            return ""
        prompt = said.get("prompt") if isinstance(said, dict) else None
        return prompt.strip()[:MAX_ABOUT] if isinstance(prompt, str) else ""

    async def headers(self, server: Server, principal: Principal, chat_id: str | None) -> dict[str, str]:
        """What a request of somebody's says to a server: its key, and who asks. Raises SignInFailed."""
        return await headers_for(server, self.deps, Asked(principal=principal, chat_id=chat_id))

    # What an admin asks

    async def verify(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What kind of server answers at an address, and which policies it has. Raises BadRequest where none does."""
        try:
            policies = await self.ask(entry, "GET", "/api/v1/policies")
        except OuiError:
            policies = None
        if policies is not None:
            shown = policies.get("policies", policies) if isinstance(policies, dict) else policies
            return {"status": True, "type": terminals.ORCHESTRATOR, "policies": shown}
        config = await self.ask(entry, "GET", "/api/config")
        return {"status": True, "type": "terminal", "config": config}

    async def policy(self, entry: Mapping[str, Any], rest: str, data: dict[str, Any] | None) -> Any:
        """A policy of an orchestrator, or what of it `rest` names; with data it is set. Raises BadRequest."""
        policy_id = str(entry["policy_id"])
        if not policy_id.strip("."):
            raise BadRequest(terminals.NO_POLICY)
        path = f"/api/v1/policies/{quote(policy_id, safe='')}{rest}"
        return await self.ask(entry, "GET" if data is None else "PUT", path, data)

    async def ask(self, entry: Mapping[str, Any], method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        """What a server's own interface answers, with the key of the entry. Raises BadRequest, and OuiError with its sentence."""
        server = terminals.parse(entry, 0)
        headers = {"accept": "application/json"}
        if server.key:
            headers["authorization"] = f"Bearer {server.key}"
        body = None if data is None else encode_payload(data)
        base = str(entry["url"]).strip().rstrip("/")
        try:
            return await fetch_json(self.deps.http, method, base + path, headers, body, timeout=SECONDS)
        except ServerAway as error:
            log.info("a terminal server did not answer as it should", url=base, why=error.detail)
            # Pages tell a policy that isn't there yet from a server that is away.
            raise OuiError(error.detail, status=404 if error.status == 404 else 400) from None

    async def close(self) -> None:
        """Ends what is open."""
        await self.watch.close()


def _is_named(own: Mapping[str, Any]) -> bool:
    return isinstance(own.get("id"), str | None) and isinstance(own.get("url"), str | None)
