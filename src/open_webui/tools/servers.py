"""A tool server as an admin set it up: an entry of the wire made a value, and who may use it."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from open_webui.errors import BadRequest
from open_webui.models.grants import GrantTriple, audiences, parse_grant
from open_webui.principal import Principal
from open_webui.tools.mcp.frames import Target, Transport

Kind = Literal["openapi", "mcp", "terminal"]
KINDS: Final = ("openapi", "mcp")
AUTH: Final = ("none", "bearer", "session", "system_oauth", "oauth_2.1", "oauth_2.1_static")
# What stands before a server's id where a chat or a model names it.
PREFIX: Final = {"openapi": "server:", "mcp": "server:mcp:", "terminal": "terminal:"}
ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Headers that say how a request travels, and are the client's own.
_TRAVEL: Final = frozenset(
    "host content-length transfer-encoding connection keep-alive te trailer upgrade cookie".split()
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server. path: where its document is, below `url` or an address of its own. spec: the document itself, where it is
    not fetched. registration: of this server there, sealed, where people sign in. transport, program: of an MCP server, which
    may be a program of this machine. shared: all speak with it in one session. asks_models: it may ask people's models
    something without asking them first. grants: whom it is for, beside admins.
    functions: names of its tools that are offered, all where it is empty, and with a "!" before them those that are not.
    """

    id: str
    kind: Kind
    url: str
    path: str = ""
    name: str
    description: str = ""
    auth: str = "none"
    key: str = ""
    headers: dict[str, str] = {}
    enabled: bool = True
    spec: str | None = None
    grants: tuple[GrantTriple, ...] = ()
    functions: tuple[str, ...] = ()
    registration: str = ""
    transport: Transport = "http"
    program: Target | None = None
    shared: bool = False
    asks_models: bool = False

    @property
    def is_signed_in_to(self) -> bool:
        """Whether each person signs in there."""
        return self.auth.startswith("oauth")

    @property
    def tool_id(self) -> str:
        """How a chat or a model names it."""
        return PREFIX[self.kind] + self.id

    def may_use(self, principal: Principal) -> bool:
        """Whether somebody may use it: admins every one, others what they are granted."""
        if principal.is_admin:
            return True
        named = audiences(principal)
        return any((kind, who) in named for kind, who, _ in self.grants)

    def offers(self, name: str) -> bool:
        """Whether an admin lets this one of its tools be called."""
        shut = {entry[1:] for entry in self.functions if entry.startswith("!")}
        open_ = {entry for entry in self.functions if not entry.startswith("!")}
        return name not in shut and (not open_ or name in open_)


def parse(entry: Mapping[str, Any], number: int) -> Server:
    """The server of an entry. number: its place in the list, which names it where it has no id. Raises BadRequest."""
    info, config = _object(entry, "info"), _object(entry, "config")
    server_id = str(info.get("id") or number)
    what = f"The tool server {str(info.get('name') or server_id)[:100]!r}"
    if not ID.fullmatch(server_id):
        raise BadRequest(f"{what} needs an id of letters, digits, dots, dashes and underscores, at most 64.")
    kind: Kind = "mcp" if entry.get("type") == "mcp" else "openapi"
    if (entry.get("type") or "openapi") not in KINDS:
        raise BadRequest(f"{what} is of a type that this server does not know. It may be openapi or mcp.")
    auth = entry.get("auth_type") or "none"
    if auth not in AUTH:
        raise BadRequest(f"{what} has a way to sign in that this server does not know: {str(auth)[:50]!r}.")
    if kind == "openapi" and auth.startswith("oauth"):
        raise BadRequest(f"{what} is an OpenAPI server. People sign in at MCP servers only.")
    url = url_of(entry.get("url"), what)
    return Server(
        id=server_id,
        kind=kind,
        url=url,
        path=str(entry.get("path") or ""),
        name=str(info.get("name") or urlsplit(url).hostname or server_id)[:200],
        description=str(info.get("description") or "")[:2_000],
        auth=auth,
        key=key_of(entry.get("key"), what),
        headers=_headers(entry.get("headers"), what),
        enabled=config.get("enable") is not False,
        spec=_spec(entry, what),
        grants=grants_of(config, what),
        functions=names_of(config.get("function_name_filter_list")),
        registration=str(info.get("oauth_client_info") or ""),
        transport="sse" if config.get("transport") == "sse" or urlsplit(url).path.endswith("/sse") else "http",
        asks_models=config.get("sampling") == "allow",
    )


def parse_all(entries: list[Any]) -> list[Server]:
    """The servers of a list. Raises BadRequest, also where two of a kind have one id."""
    found: dict[str, Server] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadRequest("A tool server is an object with a url.")
        server = parse(entry, number)
        if server.tool_id in found:
            raise BadRequest(f"Two tool servers have the id {server.id!r}. Give one of them another.")
        found[server.tool_id] = server
    return list(found.values())


def _object(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def url_of(value: Any, what: str) -> str:
    """An address that can be called, without a slash at its end. Raises BadRequest."""
    url = value.strip().rstrip("/") if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(c <= " " for c in url):
        raise BadRequest(f"{what} needs an address that begins with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise BadRequest(f"{what} has a name or a password in its address. Give a key, or a header, instead.")
    return url


def key_of(value: Any, what: str) -> str:
    """A key that a header can carry. Raises BadRequest."""
    key = value if isinstance(value, str) else ""
    if not all(" " <= c != "\x7f" for c in key) or not key.isascii():
        raise BadRequest(f"{what} has a key with characters in it that no header can carry.")
    return key.strip()


def _headers(value: Any, what: str) -> dict[str, str]:
    """Headers that are sent along, given as an object or as its JSON."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value) if value.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            value = ""
    if value is None:
        value = {}
    if not isinstance(value, dict) or len(value) > 50:
        raise BadRequest(f"{what} has headers that are no object of names and texts.")
    for name, text in value.items():
        good = isinstance(text, str) and len(text) <= 8_000 and text.isascii() and all(c >= " " for c in text)
        if not good or not _NAME.fullmatch(name) or name.lower() in _TRAVEL:
            raise BadRequest(f"{what} has a header that can't be sent: {name[:50]!r}.")
    return {name.lower(): text for name, text in value.items()}


def _spec(entry: Mapping[str, Any], what: str) -> str | None:
    if entry.get("spec_type") != "json":
        return None
    spec = entry.get("spec")
    if isinstance(spec, dict):
        return msgspec.json.encode(spec).decode()
    if not isinstance(spec, str) or not spec.strip():
        raise BadRequest(f"{what} has no document, and its document is not to be fetched.")
    return spec


def grants_of(config: Mapping[str, Any], what: str) -> tuple[GrantTriple, ...]:
    """Those of the entry, or what its older form `access_control` says: null is everybody, an object names groups and users."""
    given = config.get("access_grants")
    if isinstance(given, list):
        if len(given) > 1_000 or not all(isinstance(grant, dict) for grant in given):
            raise BadRequest(f"{what} has grants that can't be read.")
        return tuple(parse_grant(grant) for grant in given)
    if "access_control" not in config:
        return ()
    control = config["access_control"]
    if control is None:
        return (("user", "*", "read"),)
    found = []
    for action in ("read", "write"):
        named = _object(control, action) if isinstance(control, dict) else {}
        for kind in ("group", "user"):
            ids = named.get(f"{kind}_ids")
            found += [(kind, who, action) for who in ids if isinstance(who, str)] if isinstance(ids, list) else []
    return tuple(found)


def names_of(value: Any) -> tuple[str, ...]:
    """Names with commas between them, or in a list."""
    entries = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(entry.strip() for entry in entries if isinstance(entry, str) and entry.strip())[:1_000]
