"""ps and stop: the models of a `llamaforge serve` that runs."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from llamaforge.cli.models import AsJson
from llamaforge.cli.state import State, say, show_json, show_table
from llamaforge.exceptions import APIError, AuthenticationError

Url = Annotated[str | None, typer.Option("--url", help="Of the server; the configuration's address by default.")]
Key = Annotated[str | None, typer.Option("--api-key", help="Of the server.", envvar="LLAMAFORGE_API_KEY")]
_SECONDS = 300.0  # a running answer ends before its model goes


def ps(ctx: typer.Context, url: Url = None, api_key: Key = None, as_json: AsJson = False) -> None:
    """List the models that a running `llamaforge serve` has loaded."""
    models = _asked(ctx, url, api_key, "/api/ps")["models"]
    if as_json:
        show_json(models)
    elif models:
        show_table(["NAME", "STATE", "MEMORY", "REQUESTS", "UNTIL"], [_row(model) for model in models])
    else:
        say("No model is loaded.", err=True)


def stop(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="The models.")],
    force: Annotated[bool, typer.Option("--force", help="Cut off running answers.")] = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Unload models of a running `llamaforge serve`. Running answers end first."""
    for name in names:
        told = _asked(ctx, url, api_key, "/api/unload", {"model": name, "force": force})
        say(f"Stopped {told['model']}" if told["unloaded"] else f"{told['model']} was not loaded")


def _row(model: dict[str, Any]) -> list[str]:
    from llamaforge.memory.devices import readable  # noqa: PLC0415 - a command loads what it needs

    memory, until = model.get("size"), str(model.get("expires_at") or "")
    requests = f"{model.get('in_use', 0)} of {model.get('slots', '?')}"
    queued = f", {model['queued']} waiting" if model.get("queued") else ""
    return [
        model["name"],
        str(model.get("state", "")),
        readable(memory) if memory else "",
        requests + queued,
        until[:19],
    ]


def _asked(ctx: typer.Context, url: str | None, key: str | None, path: str, body: Any = None) -> dict[str, Any]:
    """The server's answer. Raises APIError where there is no such server, or it refuses."""
    state: State = ctx.obj
    settings = state.config().get("server")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings["host"], settings["host"])  # noqa: S104
    where = (url or f"http://{f'[{host}]' if ':' in host else host}:{settings['port']}").rstrip("/")
    stranger = APIError(f"What answers at {where} is no llamaforge.")
    try:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{where}{path}", data, {"Content-Type": "application/json"})  # noqa: S310 - the person's own address
        if key is not None:  # for this server, and none that it leads to
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_SECONDS) as response:
            found = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, where) or stranger from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise APIError(f"No server answers at {where} ({reason}). Start one: llamaforge serve") from error
    except ValueError as error:
        raise stranger from error
    if not isinstance(found, dict) or not (isinstance(found.get("models"), list) or "unloaded" in found):
        raise stranger
    return found


def _refusal(error: urllib.error.HTTPError, where: str) -> APIError | None:
    """What the server says is wrong, or None where it does not say it as ours does."""
    if error.code == 401:
        return AuthenticationError(f"{where} wants a key: give --api-key, or set LLAMAFORGE_API_KEY.", status=401)
    try:
        return APIError(str(json.load(error)["error"]["message"]), status=error.code)
    except (OSError, ValueError, TypeError, KeyError):
        return None
