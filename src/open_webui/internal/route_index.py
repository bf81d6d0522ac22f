"""Finds the few routes that a path may belong to, so that a request is not compared with all of several hundred."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

# Segments of a path by which routes are told apart.
_DEPTH: Final = 5
_FOUND: Final = "oui.route"


class RouteIndex(BaseRoute):
    """Stands before other routes in an application's list, and answers for them: in their order, as the list would.

    Routes are grouped by the segments that are literally theirs. What it does not find, the list itself is asked for.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """routes: in the order in which they are tried. Those that have no path are left to the list."""
        fixed: dict[tuple[str, ...], list[tuple[int, BaseRoute]]] = {}
        for place, route in enumerate(routes):
            if (path := getattr(route, "path", None)) is not None:
                fixed.setdefault(_literal(path), []).append((place, route))
        self._groups: dict[tuple[str, ...], Sequence[BaseRoute]] = {key: _in_order(fixed, key) for key in fixed}
        # What was found for paths without parameters: each route once a method.
        self._known: dict[tuple[str, str], tuple[BaseRoute, Scope]] = {}

    def candidates(self, path: str) -> Sequence[BaseRoute]:
        """Every route that may match a path, in order. path: as the server has decoded it, with a leading slash."""
        key = tuple(path.split("/", _DEPTH + 1)[1 : _DEPTH + 1])
        while key:
            if (found := self._groups.get(key)) is not None:
                return found
            key = key[:-1]
        return self._groups.get((), ())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        partial: tuple[Match, Scope] = (Match.NONE, {})
        if scope["type"] not in ("http", "websocket") or scope.get("root_path"):
            return partial
        asked = (scope["method"] if scope["type"] == "http" else "", scope["path"])
        if (known := self._known.get(asked)) is not None and not scope.get("path_params"):
            route, child = known
            return Match.FULL, {**child, "path_params": {}, _FOUND: route}
        for route in self.candidates(scope["path"]):
            match, child = route.matches(scope)
            if match is Match.FULL:
                # A mount matches whatever method somebody makes up, and a parameter's name may stand in an address.
                is_plain = "{" not in scope["path"] and getattr(route, "path", None) == scope["path"]
                if is_plain and asked[0] in (getattr(route, "methods", None) or ()):
                    self._known[asked] = route, child
                return match, {**child, _FOUND: route}
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, {**child, _FOUND: route}
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: BaseRoute = scope.pop(_FOUND)
        await route.handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Addresses are made by the routes themselves."""
        raise NoMatchFound(name, path_params)


def _literal(path: str) -> tuple[str, ...]:
    """The whole segments before a path's first parameter, at most so many."""
    head, parameter, _ = path.partition("{")
    segments = head.split("/")[1:]
    return tuple((segments[:-1] if parameter else segments)[:_DEPTH])


def _in_order(
    fixed: Mapping[tuple[str, ...], list[tuple[int, BaseRoute]]], key: tuple[str, ...]
) -> Sequence[BaseRoute]:
    """The routes of a key and of all that it begins with, by their places."""
    found = [placed for length in range(len(key) + 1) for placed in fixed.get(key[:length], ())]
    found.sort(key=itemgetter(0))
    return tuple([route for _, route in found])
