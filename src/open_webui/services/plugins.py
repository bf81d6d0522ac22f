"""What tools and functions have in common: their text is read before it is kept, and what is set of them is sealed."""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from open_webui.access.api_keys import Sealer
from open_webui.errors import BadRequest
from open_webui.internal import guarded_http
from open_webui.internal.log import get_logger
from open_webui.plugins.sources import Sources
from open_webui.plugins.text import MAX_CONTENT, PluginText
from open_webui.schemas.plugins import PluginForm
from open_webui.services.deps import Deps as ServiceDeps

log = get_logger(__name__)
_ID: Final = re.compile(r"[A-Za-z0-9_]+")
BAD_ID: Final = "Only letters, digits and underscores are allowed in the id."
TAKEN: Final = "This id is taken. Choose another one."
NOT_A_TOOL: Final = "A tool has a class Tools; this one has a class {}. It belongs among the functions."
NOT_A_FUNCTION: Final = "A function has a class Pipe, Filter, Action or Event. A class Tools belongs among the tools."
NOT_FETCHED: Final = "The plugin could not be fetched: {}"
FETCH_SECONDS: Final = 20.0
# What of `meta` is read from the text, and so is in no version.
DERIVED: Final = frozenset({"manifest", "has_user_valves", "toggle"})
_RAW: Final = "https://raw.githubusercontent.com"
# Files that are named for what they are in.
_PLAIN_NAMES: Final = frozenset({"main", "index", "__init__", "tool", "function"})
Wire = dict[str, Any]


class Reads(Protocol):
    """What reading a plugin's text needs."""

    sources: Sources


class Seals(Protocol):
    """What keeping values needs that nobody else reads."""

    sealer: Sealer


class Deps(ServiceDeps, Reads, Protocol):
    """What it needs of the state."""


def check_id(plugin_id: str) -> None:
    """Raises BadRequest."""
    if _ID.fullmatch(plugin_id) is None:
        raise BadRequest(BAD_ID)


async def read(deps: Reads, content: str, *, tool: bool) -> PluginText:
    """A text that is going to be kept. Raises BadRequest for what is no such plugin, and for what it may not do."""
    text = await deps.sources.read(content)
    if tool and text.kind != "tool":
        raise BadRequest(NOT_A_TOOL.format(text.kind.title()))
    if not tool and text.kind == "tool":
        raise BadRequest(NOT_A_FUNCTION)
    refused = [one for one in text.findings if one.refused]
    if refused:
        place = f" (line {refused[0].line})" if refused[0].line else ""
        raise BadRequest(f"{refused[0].message}{place}")
    return text


def told(form: PluginForm) -> Wire:
    """A form's `meta`, without what is read from the text. Raises BadRequest."""
    try:
        meta = form.told()
    except ValueError as error:
        raise BadRequest(f"The description can't be stored: it {error}.") from None
    return {name: value for name, value in meta.items() if name not in DERIVED}


def snapshot(name: str, content: str, meta: Mapping[str, Any]) -> Wire:
    """What a version of a plugin holds."""
    own = {key: value for key, value in meta.items() if key not in DERIVED and value is not None}
    return {"name": name, "content": content, "meta": own}


# What is set of it


def seal(deps: Seals, kind: str, plugin_id: str, values: Mapping[str, Any], user_id: str = "") -> str:
    """Values as they are stored: only this server reads them, and only as those of this plugin and person."""
    return deps.sealer.seal(msgspec.json.encode(values).decode(), _place(kind, plugin_id, user_id))


def unseal(deps: Seals, kind: str, plugin_id: str, sealed: str | None, user_id: str = "") -> Wire:
    """The values; none, with a line in the log, where they were sealed with another secret."""
    if sealed is None:
        return {}
    text = deps.sealer.unseal(sealed, _place(kind, plugin_id, user_id))
    if text is None:
        log.warning("what is set of a plugin can't be read: the server's secret was another", kind=kind, id=plugin_id)
        return {}
    values = msgspec.json.decode(text)
    return values if isinstance(values, dict) else {}


def _place(kind: str, plugin_id: str, user_id: str) -> str:
    return f"valves of {kind} {plugin_id} {user_id}"


# From elsewhere


async def fetch(deps: ServiceDeps, url: str) -> Wire:
    """Name and text of a plugin that lies at an address of the web; one of a page of GitHub means the file on it.

    Raises BadRequest.
    """
    raw = raw_url(url)
    local = deps.settings.enable_rag_local_web_fetch
    try:
        page = await guarded_http.fetch(raw, limit=4 * MAX_CONTENT, timeout=FETCH_SECONDS, allow_local=local)
        text = page.body.decode(page.charset or "utf-8")
    except (guarded_http.Unreachable, UnicodeDecodeError, LookupError) as error:
        log.info("a plugin could not be fetched", why=str(error))
        raise BadRequest(NOT_FETCHED.format(_said(error))) from None
    if len(text) > MAX_CONTENT:
        raise BadRequest(NOT_FETCHED.format(f"it has more than {MAX_CONTENT:,} characters."))
    return {"name": name_of(raw), "content": text.replace("\x00", "")}


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, guarded_http.Unreachable) else "it is no text."


def raw_url(url: str) -> str:
    """Where the text itself lies: a page of a file on GitHub has it elsewhere, that of a folder means its main.py."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.hostname not in {"github.com", "www.github.com"}:
        return url
    owner, repository, what, *rest = [*[part for part in parts.path.split("/") if part], "", "", ""]
    rest = [part for part in rest if part]
    if what == "blob" and len(rest) > 1:
        return "/".join((_RAW, owner, repository, *rest))
    if what == "tree" and rest:
        return "/".join((_RAW, owner, repository, *rest, "main.py"))
    return url


def name_of(url: str) -> str:
    """What a plugin from an address may be called: its file's name, or its folder's where that says nothing."""
    parts = [part for part in urlsplit(url).path.split("/") if part]
    names = [part.removesuffix(".py") for part in reversed(parts)]
    return next((name for name in names if name.lower() not in _PLAIN_NAMES), "plugin")[:100]
