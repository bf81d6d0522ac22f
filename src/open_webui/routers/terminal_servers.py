"""Terminal servers, as an admin sets them up, and what an admin asks of orchestrators."""

from typing import Annotated, Any

from open_webui.access.policy import ADMIN
from open_webui.deps import AppState
from open_webui.errors import BadRequest
from open_webui.routers.configs import save
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.documents import clean
from open_webui.schemas.replies.shape import Object, Shape
from open_webui.schemas.terminals import (
    TerminalServerConnection,
    TerminalServerLifecycle,
    TerminalServerPolicy,
    TerminalServerRefresh,
    TerminalServers,
)
from open_webui.state import State

router = new_router(prefix="/api/v1/configs/terminal_servers", tag="configs")
KEY = "terminal_server.connections"


def _shown(state: State) -> dict[str, list[Any]]:
    return {"TERMINAL_SERVER_CONNECTIONS": state.config[KEY]}


def _entry(form: TerminalServerConnection) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = clean(form.model_dump())
    except ValueError as error:
        raise BadRequest(f"The terminal server can't be stored: it {error}.") from None
    return entry


@router.get("")
@allow(ADMIN)
async def terminal_servers(
    state: AppState,
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.TerminalServersConfig)]":
    """The terminal servers as they are in force."""
    return _shown(state)


@router.post("")
@allow(ADMIN)
async def set_terminal_servers(
    form: TerminalServers, state: AppState
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.TerminalServersConfig)]":
    """Replaces the terminal servers; refused where the environment fixes them otherwise."""
    entries = [_entry(connection) for connection in form.TERMINAL_SERVER_CONNECTIONS]
    state.terminals.check(entries)
    await save(state, {KEY: entries})
    return _shown(state)


@router.post("/verify")
@allow(ADMIN)
async def verify(form: TerminalServerConnection, state: AppState) -> "Annotated[dict[str, Any], Shape(Object)]":
    """Asks a server what it is, to see whether it answers; nothing is stored."""
    return await state.terminals.verify(_entry(form))


@router.post("/policy")
@allow(ADMIN)
async def policy(form: TerminalServerPolicy, state: AppState) -> "Annotated[Any, Shape(Object)]":
    """A policy of an orchestrator; with `policy_data` it is set."""
    return await state.terminals.policy(form.model_dump(), "", form.policy_data)


@router.post("/lifecycle")
@allow(ADMIN)
async def lifecycle(form: TerminalServerLifecycle, state: AppState) -> "Annotated[Any, Shape(Object)]":
    """How an orchestrator renews the terminals of a policy; with `lifecycle_data` it is set."""
    return await state.terminals.policy(form.model_dump(), "/lifecycle", form.lifecycle_data)


@router.post("/refresh")
@allow(ADMIN)
async def refresh(form: TerminalServerRefresh, state: AppState) -> "Annotated[Any, Shape(Object)]":
    """Has an orchestrator stop terminals, so that they begin anew."""
    which = {name: getattr(form, name) for name in ("user_id", "policy_id", "only_idle", "reset")}
    entry = {"url": form.url, "key": form.key, "auth_type": form.auth_type}
    return await state.terminals.ask(entry, "POST", "/api/v1/terminals/refresh", which)
