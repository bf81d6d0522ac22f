"""MCP servers in an answer: their sessions, what a call tells the person, and what a server may ask for meanwhile."""

import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from open_webui.connections import remote_filters
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.gate import Gate
from open_webui.errors import Forbidden, Unavailable
from open_webui.events import Caller, ChatEvent, Emitter
from open_webui.services.deps import FileDeps
from open_webui.services.mcp_leaves import Leaves
from open_webui.services.tool_sign_in import EARLY, MORE, ToolSignIn
from open_webui.services.tool_sign_in import Deps as SignInDeps
from open_webui.tools import oauth
from open_webui.tools.mcp.frames import Ask, Listing, Method, Target
from open_webui.tools.mcp.frames import Progress as Step
from open_webui.tools.mcp.process import Refused
from open_webui.tools.mcp.results import definition, result_of
from open_webui.tools.mcp.sessions import Key, Sessions
from open_webui.tools.oauth import SignInGone
from open_webui.tools.outgoing import Signing, headers_for
from open_webui.tools.port import Asked, Progress, Tool, ToolResult
from open_webui.tools.servers import Server

# Seconds: what a session is opened with when the server signs people in is good for so long, and used for so long.
TOKEN_SECONDS: Final = 3_600
USED_SECONDS: Final = 3_000.0
# Of ways to sign in that send what ends: a provider's token lasts so long at least when it is given.
_GOOD_FOR: Final[Mapping[str, float]] = {"session": USED_SECONDS, "system_oauth": float(EARLY)}
# Seconds that a person has for an answer.
ANSWER_SECONDS: Final = 120.0
# Of one call: steps that are shown, and questions to the person or to a model.
MOST_STEPS: Final = 50
MOST_QUESTIONS: Final = 20
MOST_TOKENS: Final = 4_000
NOBODY: Final = "No page is open that could ask the person."
ALLOW: Final = 'An administrator can let this server ask models: `sampling` in its `config` is "allow" then.'
GONE: Final = "Client session disconnected."


class Deps(FileDeps, Signing, SignInDeps, Protocol):
    """What it needs of the state."""

    emitter: Emitter
    caller: Caller
    catalogue: Catalogue
    gate: Gate


class MCPServers:
    """The MCP servers' part of the tools."""

    def __init__(self, deps: Deps, sessions: Sessions | None = None) -> None:
        self.deps = deps
        self.sessions = sessions or Sessions()
        self.sign_in = ToolSignIn(deps)
        self.leaves = Leaves()

    def at(self, server: Server, asked: Asked) -> "At":
        """A server as somebody uses it."""
        return At(self, server, asked)

    async def tools(self, server: Server, asked: Asked) -> list[Tool]:
        """What a server offers to somebody. Raises OuiError."""
        at = self.at(server, asked)
        found: list[Tool] = []
        for tool in (await at.listing()).tools:
            name = tool.get("name")
            if not isinstance(name, str) or not server.offers(name):
                continue
            if (described := definition(server.id, tool)) is not None:
                found.append(MCPTool(at, name, described))
        return found

    async def verify(self, server: Server, asked: Asked | None = None) -> dict[str, Any]:
        """What a server offers, in a session that ends at once; of one for people who sign in, that they can. Raises OuiError."""
        if server.is_signed_in_to:
            await oauth.discover(server.url)
            return {"status": True, "specs": []}
        key = ("verify", uuid.uuid4().hex)
        try:
            target = _target(server, await headers_for(server, self.deps, asked))

            async def way() -> Target:
                return target

            listing = await self.sessions.listing(key, way)
        finally:
            self.sessions.forget(key)
        described = (definition(server.id, tool) for tool in listing.tools)
        return {"status": True, "specs": [one for one in described if one is not None]}

    async def close(self) -> None:
        """Ends all sessions."""
        await self.sessions.close()


class At:
    """A server for one answer, or for one thing that a person wants of it: the asker's session with it."""

    def __init__(self, servers: "MCPServers", server: Server, asked: Asked) -> None:
        self.deps, self.sessions, self.sign_in = servers.deps, servers.sessions, servers.sign_in
        self.leaves = servers.leaves
        self.server, self.asked = server, asked
        # A session is a person's own: what a server remembers of one is for nobody else.
        self.key: Key = ("" if server.shared else asked.principal.id, _fingerprint(server))

    async def target(self) -> Target:
        about = msgspec.structs.replace(self.asked, chat_id=None, message_id=None)
        headers = await headers_for(self.server, self.deps, about, TOKEN_SECONDS)
        good_for = _GOOD_FOR.get(self.server.auth)
        if self.server.is_signed_in_to:
            tokens = await self.sign_in.token(self.asked.principal, self.server)
            headers["authorization"] = f"Bearer {tokens.access_token}"
            good_for = None if tokens.expires_at is None else max(1.0, tokens.expires_at - EARLY - time.time())
        return _target(self.server, headers, good_for)

    async def listing(self) -> Listing:
        return await self.sessions.listing(self.key, self.target)

    async def items(self, method: Method) -> list[dict[str, Any]]:
        """What the server lists beside its tools; nothing where it does not say that it has such things. Raises OuiError."""
        offer = method.partition("/")[0]
        return await self.sessions.items(self.key, self.target, method) if await self.has(offer) else []

    async def has(self, offer: str) -> bool:
        """Whether the server says that it has such things. Raises OuiError."""
        return offer in (await self.listing()).offers

    async def call(
        self, name: str, arguments: dict[str, Any], hearer: "Hearer | None" = None, method: Method = "tools/call"
    ) -> dict[str, Any]:
        """What the server says. Raises OuiError."""
        try:
            said: dict[str, Any] = await self.sessions.call(self.key, self.target, name, arguments, hearer, method)
            return said
        except Refused as error:
            if error.trouble != "scope":
                raise
            scope, server = error.detail, self.server
            if not server.is_signed_in_to:
                raise Forbidden(f"{server.name} wants more rights for this than its key has ({scope}).") from None
            way = self.sign_in.way_to_more(self.asked.principal, server, scope)
            raise SignInGone(MORE.format(server.name, scope, way)) from None


class MCPTool:
    """One tool of a server, for one answer."""

    def __init__(self, at: At, name: str, described: dict[str, Any]) -> None:
        self.definition = described
        # A person who is asked has their time.
        self.seconds = max(at.deps.settings.tool_server_seconds, ANSWER_SECONDS * 1.5)
        self._at, self._name = at, name

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`. Cancelling it tells the server so."""
        return result_of(await heard(self._at, self._name, arguments, progress))


async def heard(
    at: At, name: str, arguments: dict[str, Any], progress: Progress, method: Method = "tools/call"
) -> dict[str, Any]:
    """What a server says while the person hears how far it is, and may be asked. Raises OuiError."""
    hearer = Hearer(at, name, progress)
    try:
        return await at.call(name, arguments, hearer, method)
    except SignInGone as error:
        await progress.add_status({"action": "tools", "description": error.detail, "done": True})
        raise
    finally:
        await hearer.over()


class Hearer:
    """Hears of one call: progress becomes statuses, and what the server asks for goes to the person or to a model."""

    def __init__(self, at: At, name: str, progress: Progress) -> None:
        self._at, self._name, self._progress = at, name, progress
        self._steps = 0
        self._questions = 0

    async def progressed(self, progress: Step) -> None:
        if self._steps < MOST_STEPS:
            self._steps += 1
            of = f" of {progress.total:g}" if progress.total else ""
            told = f": {progress.message[:300]}" if progress.message else ""
            await self._say(f"{self._name} is at {progress.progress:g}{of}{told}", done=False)

    async def over(self) -> None:
        """The call is over, however it went."""
        if self._steps:
            await self._say(f"{self._name} is over", done=True)

    async def _say(self, text: str, *, done: bool) -> None:
        await self._progress.add_status({"action": "tools", "description": text, "done": done})

    async def asked(self, ask: Ask) -> Any:
        self._questions += 1
        if self._questions > MOST_QUESTIONS:
            raise Forbidden("The server has asked too often.")
        if self._at.server.shared:
            # Who of those that call it is meant can't be known.
            raise Forbidden(
                "This server is shared by all people here, so that nobody can be asked. Set per_user for it."
            )
        return await (self._elicit(ask.params) if ask.kind == "elicit" else self._sample(ask.params))

    async def _elicit(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the person says, at the page that asked."""
        asked = self._at.asked
        if asked.session_id is None:
            raise Unavailable(NOBODY)
        interaction = uuid.uuid4().hex
        data = params | {
            "server": {"id": self._at.server.id, "name": self._at.server.name},
            "timeout_ms": int(ANSWER_SECONDS * 1000),
            "interaction_id": interaction,
        }
        event = ChatEvent(asked.chat_id or "", asked.message_id, "request:elicitation", data)
        caller, emitter, who = self._at.deps.caller, self._at.deps.emitter, asked.principal.id
        try:
            answer = await caller.call(asked.session_id, who, event.wire(), ANSWER_SECONDS)
        except TimeoutError:
            answer = None
        except LookupError:
            raise Unavailable(GONE) from None
        finally:
            done = ChatEvent(
                asked.chat_id or "", asked.message_id, "request:interaction:done", {"interaction_id": interaction}
            )
            await emitter.chat(who, done)
        return _answered(answer)

    async def _sample(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the model of the answer says, asked as the person who is answered, and with their leave."""
        deps, asked, server = self._at.deps, self._at.asked, self._at.server
        if not server.asks_models:
            if asked.session_id is None:
                raise Unavailable(f"{NOBODY} {ALLOW}")
            key = (asked.principal.id, asked.chat_id or asked.session_id, server.tool_id)
            if not await self._at.leaves.given(key, lambda: self._ask_leave(params)):
                raise Forbidden(f"The person did not let {server.name} ask a model.")
        target = deps.catalogue.resolve(asked.principal, asked.model_id)
        told = {"chat_id": asked.chat_id, "message_id": asked.message_id}
        payload = await remote_filters.inlet(deps.gate, asked.principal, target, _question(params), told)
        async with deps.gate.chat(
            asked.principal, target, payload, kind="task", chat_id=asked.chat_id, message_id=asked.message_id
        ) as reply:
            text = _said(await reply.whole())
        return {"role": "assistant", "content": {"type": "text", "text": text}, "model": asked.model_id}

    async def _ask_leave(self, params: dict[str, Any]) -> bool:
        name = self._at.server.name
        said = "\n".join(str(m["content"]) for m in _question(params)["messages"] if m["role"] != "system")
        question = {
            "title": f"Let {name[:100]} ask the model?",
            "message": f"{name[:100]} wants to ask your model something, in your name and at your expense, as often as it"
            f" likes in this chat. Now it asks: {said[:500]}",
        }
        return await self._progress.ask("confirmation", question, seconds=ANSWER_SECONDS) is True


def _answered(answer: Any) -> dict[str, Any]:
    """A page's answer as MCP has it; anything that is none is a no."""
    if isinstance(answer, dict) and answer.get("action") in {"accept", "decline", "cancel"}:
        content = answer.get("content")
        accepted = answer["action"] == "accept" and isinstance(content, dict)
        return {"action": answer["action"]} | ({"content": content} if accepted else {})
    return {"action": "cancel"}


def _question(params: dict[str, Any]) -> dict[str, Any]:
    """A `sampling/createMessage` as a chat request."""
    messages: list[dict[str, Any]] = []
    if isinstance(system := params.get("systemPrompt"), str):
        messages.append({"role": "system", "content": system})
    for message in params.get("messages") or ():
        blocks = message.get("content")
        texts = [b.get("text") for b in (blocks if isinstance(blocks, list) else [blocks]) if isinstance(b, dict)]
        if any(not isinstance(text, str) for text in texts):
            raise Unavailable("Models are asked with texts only.")
        messages.append({"role": message.get("role"), "content": "\n".join(str(text) for text in texts)})
    payload: dict[str, Any] = {"messages": messages, "stream": False}
    payload["max_tokens"] = min(int(params.get("maxTokens") or MOST_TOKENS), MOST_TOKENS)
    if isinstance(params.get("temperature"), int | float):
        payload["temperature"] = params["temperature"]
    if params.get("stopSequences"):
        payload["stop"] = params["stopSequences"][:4]
    return payload


def _said(body: bytes) -> str:
    try:
        text = msgspec.json.decode(body)["choices"][0]["message"]["content"]
    except (msgspec.DecodeError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise Unavailable("The model said nothing that could be understood.")
    return text


def _target(server: Server, headers: dict[str, str], good_for: float | None = None) -> Target:
    return server.program or Target(transport=server.transport, url=server.url, headers=headers, good_for=good_for)


def _fingerprint(server: Server) -> str:
    about = [server.tool_id, server.url, server.transport, server.auth, server.key, server.headers, server.program]
    about.append(server.registration)
    return hashlib.sha256(msgspec.json.encode(about)).hexdigest()
