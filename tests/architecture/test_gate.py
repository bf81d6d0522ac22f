"""Who calls a provider: nobody but the gate."""

import ast
from collections.abc import Iterable

import pytest

from tests.architecture.test_house_rules import SERVER, name, nodes

pytestmark = pytest.mark.xdist_group("sources")
# What a connection offers besides listing its models.
CALLS = {"open", "embed", "load", "send", "call", "json"}
# What connections are called, wherever they are: the only ways to one are a target and the catalogue.
NAMES = {"connection", "server", "remote"}
# Connections call themselves and each other's wires.
INSIDE = "open_webui/connections/"
# Where a connection may be looked up or made, and by whom else than the catalogue.
FINDERS = {"remote", "remotes", "named", "OpenAIConnection", "OllamaConnection", "LocalConnection", "ElizaConnection"}
MAY_FIND = {"open_webui/routers/openai.py", "open_webui/routers/ollama.py", "open_webui/routers/models.py"}
# Where a request to a provider may be made.
TRANSPORT = "open_webui.connections.transport"


def called_connections(module: Iterable[ast.AST]) -> list[str]:
    """The calls of what looks like a connection, as they are written."""
    return [
        ast.unparse(node.func)
        for node in module
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CALLS
        and _last_name(node.func.value) in NAMES
    ]


def _last_name(node: ast.expr) -> str | None:
    """`connection` of `turn.target.connection`, of `connections[key]` and of `self.connection()`."""
    match node:
        case ast.Name(id=found):
            return found.strip("_").removesuffix("s")
        case ast.Attribute(attr=found):
            return found.removesuffix("s")
        case ast.Subscript(value=inner) | ast.Call(func=inner) | ast.Await(value=inner):
            return _last_name(inner)
    return None


def outside() -> list[tuple[str, tuple[ast.AST, ...]]]:
    return [(name(f), nodes(f)) for f in SERVER if not name(f).startswith(INSIDE)]


def test_only_the_gate_calls_connections() -> None:
    assert [f"{place}: {call}" for place, module in outside() for call in called_connections(module)] == []


def test_connections_are_found_in_named_places_only() -> None:
    found = {
        place
        for place, module in outside()
        for node in module
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in FINDERS
    }
    assert found - MAY_FIND == set()


def test_requests_to_providers_are_made_by_connections_only() -> None:
    found = {
        f"{place}: {alias.name}"
        for place, module in outside()
        for node in module
        if isinstance(node, ast.ImportFrom) and node.module == TRANSPORT
        for alias in node.names
        if alias.name == "request"
    }
    assert found == set()


@pytest.mark.parametrize(
    ("code", "hit"),
    [
        ("await turn.target.connection.open(entry, payload)", True),
        ("await target.connection.embed(entry, body)", True),
        ("await server.send('POST', path)", True),
        ("await _server(state, index).json('GET', path)", True),
        ("state.catalogue.remote('ollama', 0).call('POST', path)", True),
        ("snapshot.connections[key].open(entry, payload)", True),
        ("gate.embed(principal, target, body)", False),
        ("path.open('rb')", False),
        ("await self._server.call('events', data)", False),
        ("await unit.connection.execute(statement)", False),
        ("await recorder.open()", False),
        ("self._socket.send(frame)", False),
    ],
)
def test_what_the_rule_sees(code: str, hit: bool) -> None:
    assert bool(called_connections(ast.walk(ast.parse(code)))) is hit
