"""What the command line prints: every setting with its value and source; every route and event with its policy."""

from pathlib import Path
from typing import Final

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import Mount

from open_webui.access.policy import Policy, policy_of
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import dumps, open_database
from open_webui.main import create_app
from open_webui.migrations.runner import migrate
from open_webui.models import configs


async def print_config(settings: Settings) -> None:
    """Prints the process settings, then those that an admin may change. Secrets are masked."""
    given = settings.model_fields_set
    for name in Settings.model_fields:
        value = getattr(settings, name)
        shown = ("***" if value.get_secret_value() else "") if isinstance(value, SecretStr) else value
        print(f"{name.upper()}={shown}  ({'environment' if name in given else 'default'})")
    await migrate(settings)
    database = open_database(settings)
    try:
        config = Config()
        async with database.read() as connection:
            config.load(await configs.get_all(connection))
    finally:
        await database.close()
    for key, value, source in config.describe():
        print(f"{key}={dumps(value)}  ({source})")


class Declared(msgspec.Struct, frozen=True, order=True):
    """A route of the server. kind: an HTTP method or "event". policy is None when somebody forgot it."""

    path: str
    kind: str
    policy: Policy | None = msgspec.field(default=None)


BEGIN: Final = "<!-- policies: begin (written by `oui-backend policies --write`) -->"
END: Final = "<!-- policies: end -->"


def declared(app: FastAPI) -> list[Declared]:
    """Every route of an application, as it is served: HTTP routes and socket events."""
    routes = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            policy = policy_of(route.endpoint)
            routes += [Declared(route.path, method, policy) for method in route.methods or ()]
        elif not (isinstance(route, Mount) and route.app is app.state.sockets.app):
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
