"""A terminal server as an admin set it up: an entry of the wire made a value, of the same kind as a tool server."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from open_webui.errors import BadRequest
from open_webui.tools.servers import ID, Server, grants_of, key_of, url_of

AUTH: Final = ("none", "bearer", "session", "system_oauth")
ORCHESTRATOR: Final = "orchestrator"
# The policy of an orchestrator where none is named.
DEFAULT_POLICY: Final = "default"
NO_POLICY: Final = "A policy of terminals can't have this name."
NO_COOKIES: Final = "Cookies of people are not passed on to other servers. Use the sign-in `session` instead."


def parse(entry: Mapping[str, Any], number: int) -> Server:
    """The server of an entry. number: its place in the list, which names it where it has no id. Raises BadRequest."""
    server_id = str(entry.get("id") or number)
    what = f"The terminal server {str(entry.get('name') or server_id)[:100]!r}"
    # Pages name it in addresses, where dots alone are steps.
    if not ID.fullmatch(server_id) or not server_id.strip("."):
        raise BadRequest(f"{what} needs an id of letters, digits, dots, dashes and underscores, at most 64.")
    auth = entry.get("auth_type") or "none"
    if auth not in AUTH:
        raise BadRequest(f"{what} has a way to sign in that this server does not know: {str(auth)[:50]!r}.")
    if entry.get("forward_cookies"):
        raise BadRequest(NO_COOKIES)
    url = url_of(entry.get("url"), what)
    config = entry.get("config")
    config = config if isinstance(config, dict) else {}
    return Server(
        id=server_id,
        kind="terminal",
        url=url + below(entry),
        path=str(entry.get("path") or "openapi.json"),
        name=str(entry.get("name") or urlsplit(url).hostname or server_id)[:200],
        auth=auth,
        key=key_of(entry.get("key"), what),
        enabled=entry.get("enabled") is not False and config.get("enable") is not False and _in_chats(config),
        grants=grants_of(config, what),
    )


def _in_chats(config: Mapping[str, Any]) -> bool:
    """Whether an admin lets chats use it."""
    contexts = config.get("contexts")
    return not isinstance(contexts, dict) or contexts.get("chat") is not False


def below(entry: Mapping[str, Any]) -> str:
    """Where an orchestrator has the terminals of a policy; its own interface is not below that, so nobody reaches it."""
    policy = entry.get("policy_id")
    policy = policy if isinstance(policy, str) and policy.strip() else ""
    if not policy and entry.get("server_type") != ORCHESTRATOR:
        return ""
    part = quote(policy or DEFAULT_POLICY, safe="")
    if not part.strip("."):
        raise BadRequest(NO_POLICY)
    return f"/p/{part}"


def parse_all(entries: list[Any]) -> list[Server]:
    """The servers of a list. Raises BadRequest, also where two have one id."""
    found: dict[str, Server] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadRequest("A terminal server is an object with a url.")
        server = parse(entry, number)
        if server.id in found:
            raise BadRequest(f"Two terminal servers have the id {server.id!r}. Give one of them another.")
        found[server.id] = server
    return list(found.values())
