"""Pipelines servers: connections that speak OpenAI's wire and have filters and settings of their own besides.

Such a server says `pipelines` in its list of models, and of each model what it is to it (`pipeline`): a model, or a filter that
looks at questions and answers of other models.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

import msgspec

from open_webui.connections.base import ModelEntry, RemoteFilter, Target
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.transport import encode_payload
from open_webui.errors import BadRequest, NotFound, OuiError, ProviderError
from open_webui.principal import Principal

Hook = Literal["inlet", "outlet"]
# Seconds for a filter, and for a server that installs what a pipeline requires.
FILTER_SECONDS: Final = 60.0
CHANGE_SECONDS: Final = 300.0
# Bytes of a pipeline's text.
MAX_FILE: Final = 1_000_000
# As the wire has it.
NOT_FOUND: Final = "Pipeline not found"
NOT_UNDERSTOOD: Final = "The pipelines server answered with something that is no JSON."
AWAY: Final = (
    "The filter '{}' could not be asked, so the answer was not begun: {} An administrator can look after its server."
)
AWAY_AFTER: Final = "The filter '{}' could not look at the answer: {}"
NO_BODY: Final = "The filter '{}' did not give back the request with its messages."
_ALL: Final = "*"
# What a server says that knows no such hook of a model.
_NO_HOOK: Final = frozenset({404, 405})


class FilterAway(OuiError):
    """A filter could not be asked: its server is away, broken, or answers with what is none."""

    status = 503


class Servers(Protocol):
    """Which connections there are (catalogue.Catalogue)."""

    def remotes(self, kind: str) -> Sequence[Any]: ...

    def remote(self, kind: str, index: int) -> Any: ...


def _said(entry: ModelEntry) -> dict[str, Any]:
    said = entry.raw.get("pipeline")
    return said if isinstance(said, dict) else {}


def _hooks(entry: ModelEntry) -> str:
    """Where a filter's hooks are, below the server's address. A manifold's models have its hooks."""
    remote = entry.remote_id
    name = remote.partition(".")[0] if _said(entry).get("type") == "manifold" else remote
    return f"/{quote(name, safe='')}/filter"


def is_filter(entry: ModelEntry) -> bool:
    """Whether an entry of a connection is no model but a filter for others."""
    return entry.kind == "openai" and _said(entry).get("type") == "filter"


def ordered(filters: Iterable[RemoteFilter]) -> list[RemoteFilter]:
    """In the order in which they are run: by priority, then as their servers list them."""
    return sorted(filters, key=lambda one: _priority(one.entry))


def _priority(entry: ModelEntry) -> float:
    given = _said(entry).get("priority")
    return float(given) if isinstance(given, int | float) and abs(given) < 1e15 else 0.0


def concerning(filters: Iterable[RemoteFilter], target: Target) -> list[RemoteFilter]:
    """Those of a model's answers. One that names a model has all that was made of it, too, over however many steps."""
    names = {target.model_id, *target.made_of, target.entry.id, target.entry.remote_id, target.arena_id or _ALL}
    # Ollama's names mean their `latest` when they say nothing else.
    names |= {name.removesuffix(":latest") for name in names} | {_ALL}
    found = [one for one in filters if _names(one.entry) & names]
    if _said(target.entry).get("type") in {"pipe", "manifold"}:
        found.append(RemoteFilter(target.connection, target.entry, own=True))
    return found


def _names(entry: ModelEntry) -> set[str]:
    given = _said(entry).get("pipelines")
    return {name for name in given if isinstance(name, str)} if isinstance(given, list) else set()


async def run(remote: RemoteFilter, hook: Hook, body: dict[str, Any], user: dict[str, str]) -> dict[str, Any]:
    """A request, or a whole answer, after one filter. Raises OuiError with what the filter says against it."""
    server = remote.connection
    assert isinstance(server, OpenAIConnection), "others have no filters"
    try:
        said = await server.call(
            "POST", f"{_hooks(remote.entry)}/{hook}", {"user": user, "body": body}, user=user, timeout=FILTER_SECONDS
        )
    except ProviderError as error:
        if remote.own and error.status in _NO_HOOK:
            return body
        raise _refusal(remote, hook, error) from error
    try:
        changed = _decoded(said)
    except OuiError as error:
        raise FilterAway(_away(remote, hook, error.detail)) from error
    messages = changed.get("messages") if isinstance(changed, dict) else None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise FilterAway(NO_BODY.format(remote.entry.name))
    result: dict[str, Any] = changed
    return result


def _refusal(remote: RemoteFilter, hook: Hook, error: ProviderError) -> OuiError:
    """What a person is told: the filter's own sentence where it has one.

    What a server says that knows no such filter, or not our key, is no sentence of the filter's.
    """
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    if isinstance(detail, str) and detail.strip() and error.status not in _NO_HOOK | {401}:
        return OuiError(detail.strip()[:2_000], status=error.status if 400 <= error.status < 500 else 502)
    return FilterAway(_away(remote, hook, error.detail))


def _away(remote: RemoteFilter, hook: Hook, why: str) -> str:
    return (AWAY if hook == "inlet" else AWAY_AFTER).format(remote.entry.name, why)


# What an admin does with such a server


async def listed(servers: Servers) -> list[dict[str, Any]]:
    """The connections that are pipelines servers, as they answer now: address and place."""
    found = [server for server in servers.remotes("openai") if isinstance(server, OpenAIConnection)]
    answers = await asyncio.gather(*(_is_pipelines(server) for server in found))
    return [
        {"url": server.spec.url, "idx": server.spec.index} for server, yes in zip(found, answers, strict=True) if yes
    ]


async def _is_pipelines(server: OpenAIConnection) -> bool:
    try:
        said = await server.raw_models()
    except ProviderError:
        return False
    return isinstance(said, dict) and said.get("pipelines") is True


def _server(servers: Servers, index: int | None) -> OpenAIConnection:
    """The one at a place. Raises NotFound."""
    if index is None:
        raise NotFound(NOT_FOUND)
    found = servers.remote("openai", index)
    assert isinstance(found, OpenAIConnection)
    return found


def _address(pipeline_id: str, rest: str) -> str:
    """Below the server's own; an id is one part of it, whatever it holds. Raises NotFound."""
    part = quote(pipeline_id, safe="")
    if part in {"", ".", ".."}:
        raise NotFound(NOT_FOUND)
    return f"/{part}{rest}"


async def ask(
    servers: Servers,
    principal: Principal,
    index: int | None,
    method: str,
    path: str,
    payload: dict[str, Any] | None = None,
    *,
    timeout: float = FILTER_SECONDS,
) -> Any:
    """What a server answers to a request of an admin. Raises NotFound, and OuiError with its sentence."""
    server = _server(servers, index)
    return _decoded(await _told(server.call(method, path, payload, user=_asker(principal), timeout=timeout)))


async def upload(servers: Servers, principal: Principal, index: int, filename: str, text: bytes) -> Any:
    """Sends a pipeline's text to a server. Raises as `ask`, BadRequest for what is no Python file."""
    if not filename.endswith(".py"):
        raise BadRequest("A pipeline is a file that ends with .py.")
    server = _server(servers, index)
    sent = server.send_file("/pipelines/upload", filename, text, user=_asker(principal), timeout=CHANGE_SECONDS)
    return _decoded(await _told(sent))


async def valves(servers: Servers, principal: Principal, index: int | None, pipeline_id: str, rest: str = "") -> Any:
    """What can be set of a pipeline, or is. rest: "/spec" for the form."""
    return await ask(servers, principal, index, "GET", _address(pipeline_id, f"/valves{rest}"))


async def set_valves(
    servers: Servers, principal: Principal, index: int | None, pipeline_id: str, given: dict[str, Any]
) -> Any:
    """Sets them. Raises as `ask`, BadRequest for what has no JSON."""
    encode_payload(given)
    path = _address(pipeline_id, "/valves/update")
    return await ask(servers, principal, index, "POST", path, given, timeout=CHANGE_SECONDS)


def _asker(principal: Principal) -> dict[str, str]:
    return {"id": principal.id, "name": principal.name, "email": principal.email, "role": principal.role}


async def _told(work: Any) -> bytes:
    """What a call answered. A server's refusal is a sentence for the page, with a status that is about us."""
    try:
        answer: bytes = await work
    except ProviderError as error:
        detail = error.body.get("detail") if isinstance(error.body, dict) else None
        status = 404 if error.status == 404 else 400 if error.status < 500 else error.status
        raise OuiError(detail[:2_000] if isinstance(detail, str) and detail else error.detail, status=status) from error
    return answer


def _decoded(said: bytes) -> Any:
    try:
        return msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OuiError(NOT_UNDERSTOOD, status=502) from None
