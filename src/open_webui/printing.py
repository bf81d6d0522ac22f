"""What the command line prints: every setting with its value and source; every route and event with its policy."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import Mount, WebSocketRoute

from open_webui.access.policy import Policy, policy_of
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import dumps, open_database, shown_url
from open_webui.internal.route_index import RouteIndex
from open_webui.main import create_app
from open_webui.migrations import HEAD
from open_webui.migrations.runner import failures_as_sentences, stored_revision
from open_webui.models import configs
from open_webui.utils.masking import MASK, masked


async def print_config(settings: Settings) -> None:
    """Prints the process settings, then those that an admin may change. Secrets are masked, also inside addresses.

    It looks at the database, and neither makes nor migrates one. Raises StartupError where that can't be read, when all
    that the environment says is printed.
    """
    for name in Settings.model_fields:
        source = "environment" if name in settings.model_fields_set else "default"
        print(f"{name.upper()}={_shown(settings, name)}  ({source})")
    config = Config()
    revision, problem = None, None
    try:
        revision = await stored_revision(settings)
        if revision == HEAD:
            config.load(await _stored(settings))
    except StartupError as error:
        problem = error
    for key, value, source in config.describe():
        print(f"{key}={dumps(masked(value))}  ({source})")
    if problem is not None:
        raise problem
    if revision != HEAD:
        why = f"has schema {revision}, this release {HEAD}" if revision else "is not there yet"
        print(f"The database {why}: settings that are stored in it are not shown.", file=sys.stderr)


async def _stored(settings: Settings) -> dict[str, Any]:
    database = open_database(settings)
    try:
        with failures_as_sentences(settings):
            async with database.read() as connection:
                return await configs.get_all(connection)
    finally:
        await database.close()


def _shown(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if name == "database_url" and value:
        try:
            return shown_url(settings)
        except StartupError:
            # Where a password stands in it, nobody can say.
            return MASK
    return masked(value)


class Declared(msgspec.Struct, frozen=True, order=True):
    """A route of the server. kind: an HTTP method, "socket" or "event". policy is None when somebody forgot it."""

    path: str
    kind: str
    policy: Policy | None = msgspec.field(default=None)


BEGIN: Final = "<!-- policies: begin (written by `oui-backend policies --write`) -->"
END: Final = "<!-- policies: end -->"


def declared(app: FastAPI) -> list[Declared]:
    """Every route of an application, as it is served: HTTP routes, sockets and socket events."""
    routes = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            policy = policy_of(route.endpoint)
            routes += [Declared(route.path, method, policy) for method in route.methods or ()]
        elif isinstance(route, WebSocketRoute):
            routes.append(Declared(route.path, "socket", policy_of(route.endpoint)))
        elif not isinstance(route, RouteIndex) and not (
            isinstance(route, Mount) and route.app is app.state.sockets.app
        ):
            routes.append(Declared(getattr(route, "path", repr(route)), "?", None))
    routes += [Declared(name, "event", policy) for name, policy in app.state.sockets.policies().items()]
    return sorted(routes, key=lambda route: (route.kind == "event", route.path, route.kind))


def policy_table() -> str:
    """The routes of this release as a Markdown table, however it is configured."""
    app = create_app(Settings.model_construct(env="prod"))
    lines = ["| route | policy |", "| --- | --- |"]
    for route in declared(app):
        policy = route.policy.describe() if route.policy else "**none**"
        lines.append(f"| `{route.kind} {route.path}` | {policy} |")
    return "\n".join(lines)


def print_policies(write: Path | None) -> None:
    """Prints the table, or puts it between the marks of a Markdown file. Raises StartupError when that can't be done."""
    table = policy_table()
    if write is None:
        print(table)
        return
    try:
        before, begin, rest = write.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise StartupError(f"{write} has no marks for the table ({BEGIN} and {END}).")
        write.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{write} can't be written ({error.strerror}).") from None
