"""The index of routes answers as the list of all routes does, and has few to try."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from open_webui.env import Settings
from open_webui.internal.route_index import RouteIndex
from open_webui.main import create_app

VALUES = ("x", "", "a/b", "pinned", "%2F", "é", "..")
ODD = ("", "/", "//", "///", "x", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v1//x", "/nowhere", "/a/b/c/d/e/f/g/h")
METHODS = ("GET", "POST", "DELETE", "HEAD", "BREW")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data"), env="dev"))


def scope(path: str, method: str = "GET", kind: str = "http") -> Scope:
    return {"type": kind, "path": path, "method": method, "headers": [], "query_string": b""}


def in_list(routes: list[BaseRoute], asked: Scope) -> tuple[Match, BaseRoute | None, object]:
    """What a router finds that tries one after the other."""
    partial = None
    for route in routes:
        match, child = route.matches(dict(asked))
        if match is Match.FULL:
            return match, route, child.get("path_params")
        if match is Match.PARTIAL and partial is None:
            partial = match, route, child.get("path_params")
    return partial or (Match.NONE, None, None)


def in_index(index: RouteIndex, asked: Scope) -> tuple[Match, BaseRoute | None, object]:
    match, child = index.matches(dict(asked))
    return match, child.get("oui.route"), child.get("path_params")


def addresses(routes: list[BaseRoute]) -> Iterator[str]:
    """Each route's address with an odd value in it, and something that is close to it."""
    for number, route in enumerate(routes):
        parts = [part.partition("}") for part in getattr(route, "path", "").split("{")]
        path = parts[0][0] + "".join(VALUES[number % 7] + rest for _, _, rest in parts[1:])
        close = (path + "/", path.rstrip("/"), path + "/more", path.upper(), "/" + path, path.replace("/api", ""))
        yield from (path, close[number % 6])
    yield from ODD


def test_it_finds_what_the_list_finds(app: FastAPI) -> None:
    index, *routes = app.routes
    assert isinstance(index, RouteIndex)
    asked = sorted(set(addresses(routes)))
    assert len(asked) > 800
    for number, path in enumerate(asked):
        one = scope(path, METHODS[number % 5])
        assert in_index(index, one) == in_list(routes, one), one
        if number % 5 == 0:
            one = scope(path, kind="websocket")
            assert in_index(index, one) == in_list(routes, one), path


def test_few_are_tried(app: FastAPI) -> None:
    """Those of one resource at most, whatever the path is."""
    index, *routes = app.routes
    assert isinstance(index, RouteIndex)
    tried = [len(index.candidates(path)) for path in addresses(routes)]
    assert len(routes) > 500
    assert max(tried) < 40
    assert len(index.candidates("/api/v1/skills/")) < 20


def test_the_order_of_the_list_counts() -> None:
    async def answer(_request: object) -> PlainTextResponse:
        return PlainTextResponse("x")

    first, second, third = Route("/a/{x}", answer), Route("/a/b", answer), Route("/a/b", answer, methods=["POST"])
    index = RouteIndex([first, second, third])
    assert in_index(index, scope("/a/b"))[1] is first
    assert in_index(index, scope("/a/b", "POST"))[:2] == (Match.FULL, third)
    assert in_index(index, scope("/a/c", "POST"))[:2] == (Match.PARTIAL, first)


def test_mounts_and_sockets() -> None:
    async def socket(_socket: object) -> None: ...

    mounted, by_socket = Mount("/m/n", app=socket), WebSocketRoute("/m/s/{id}", socket)
    index = RouteIndex([by_socket, mounted])
    assert in_index(index, scope("/m/n/deep/er"))[1] is mounted
    assert in_index(index, scope("/m/s/1", kind="websocket"))[1] is by_socket
    assert in_index(index, scope("/m/s/1"))[0] is Match.NONE


def test_what_it_can_not_judge_is_left_to_the_list(app: FastAPI) -> None:
    index = app.routes[0]
    assert index.matches({"type": "lifespan"})[0] is Match.NONE
    assert index.matches(scope("/below/api/config") | {"root_path": "/below"})[0] is Match.NONE


def test_what_is_remembered_is_no_more_than_there_is() -> None:
    plain = Route("/plain", lambda _: PlainTextResponse(""), methods=["GET"])
    index = RouteIndex(
        [plain, Mount("/below", app=PlainTextResponse("")), Route("/{any}", lambda _: PlainTextResponse(""))]
    )
    for number in range(50):
        for path in ("/plain", "/below", f"/x{number}", "/{any}"):
            for method in ("GET", f"MADE-UP-{number}"):
                index.matches(scope(path, method))
    assert set(index._known) == {("GET", "/plain")}
    # And no request has a part in another's.
    _, first = index.matches(scope("/plain"))
    first["path_params"]["n"] = 1
    assert index.matches(scope("/plain"))[1]["path_params"] == {}
