"""Settings that an admin changes on pages: connections, models, banners, suggestions, background tasks, all as a file."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn

from fastapi import Request

from open_webui.access.policy import ADMIN, USER
from open_webui.config import BY_KEY
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest
from open_webui.routing import allow, new_router
from open_webui.schemas import replies, tasks
from open_webui.schemas.configs import (
    Banners,
    CodeExecution,
    ConnectionsConfig,
    ImportConfig,
    ModelsConfig,
    Subagents,
    Suggestions,
    TerminalServers,
    ToolServers,
    Visibility,
)
from open_webui.schemas.documents import clean
from open_webui.schemas.replies.shape import Shape
from open_webui.state import State

router = new_router(prefix="/api/v1/configs", tag="configs")
task_router = new_router(prefix="/api/v1/tasks", tag="tasks")

NOT_YET: Final = "This server does not have {} yet, so it can't be switched on."
MODELS: Final = {
    "DEFAULT_MODELS": "ui.default_models",
    "DEFAULT_PINNED_MODELS": "ui.default_pinned_models",
    "MODEL_ORDER_LIST": "ui.model_order_list",
    "DEFAULT_MODEL_METADATA": "models.default_metadata",
    "DEFAULT_MODEL_PARAMS": "models.default_params",
}
JUPYTER: Final = {"URL": "", "AUTH": "", "AUTH_TOKEN": "", "AUTH_PASSWORD": "", "TIMEOUT": 60}
CODE: Final[dict[str, Any]] = (
    {"ENABLE_CODE_EXECUTION": False, "CODE_EXECUTION_ENGINE": "pyodide"}
    | {f"CODE_EXECUTION_JUPYTER_{k}": v for k, v in JUPYTER.items()}
    | {"ENABLE_CODE_INTERPRETER": False, "CODE_INTERPRETER_ENGINE": "pyodide", "CODE_INTERPRETER_PROMPT_TEMPLATE": ""}
    | {f"CODE_INTERPRETER_JUPYTER_{k}": v for k, v in JUPYTER.items()}
)
SUBAGENTS: Final[dict[str, Any]] = {
    "ENABLE_SUBAGENTS": False,
    "SUBAGENTS_BACKGROUND_ENABLED": False,
    "SUBAGENTS_MAX_CONCURRENT": 20,
    "SUBAGENTS_MAX_ASYNC": 20,
    "SUBAGENTS_MAX_ITERATIONS": 30,
    "SUBAGENTS_MAX_OUTPUT": 30_000,
    "SUBAGENTS_SYSTEM_PROMPT": "",
}


async def save(state: State, changes: Mapping[str, Any], *, partly: bool = False) -> None:
    """Stores settings. Raises BadRequest naming one of the wrong type, and unless `partly` those that the environment fixes."""
    try:
        await state.save_config(dict(changes), partly=partly)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None


def _shown(state: State, names: Mapping[str, str]) -> dict[str, Any]:
    return {name: state.config[key] for name, key in names.items()}


@router.get("/fixed")
@allow(ADMIN)
async def fixed(state: AppState) -> dict[str, str]:
    """The settings that the environment fixes, each with its variable: pages show them, and can't change them."""
    return state.config.fixed


@router.get("/export")
@allow(ADMIN)
async def export(state: AppState) -> dict[str, Any]:
    """Every setting in force, by its key."""
    return _every(state)


def _every(state: State) -> dict[str, Any]:
    return {key: state.config[key] for key in BY_KEY}


@router.post("/import")
@allow(ADMIN)
async def import_config(form: ImportConfig, state: AppState) -> dict[str, Any]:
    """Takes over settings from a file, flat or nested.

    Names that this server doesn't know are passed over, and so is what its environment fixes: the file may be another's.
    """
    try:
        given = clean(form.config)
    except ValueError as error:
        raise BadRequest(f"The settings can't be taken over: the file {error}.") from None
    await save(state, _flat(given), partly=True)
    return _every(state)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Known keys and their values out of a nested object."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        key = prefix + name
        if key in BY_KEY:
            out[key] = value
        elif isinstance(value, dict):
            out |= _flat(value, f"{key}.")
    return out


@router.get("/namespace/{namespace}")
@allow(ADMIN)
async def namespace(namespace: str, state: AppState) -> dict[str, Any]:
    """The settings whose keys begin with a name."""
    return {key: state.config[key] for key in BY_KEY if key.startswith(f"{namespace}.")}


def _connections(state: State) -> dict[str, bool]:
    return {
        "ENABLE_DIRECT_CONNECTIONS": False,
        "ENABLE_DIRECT_INTEGRATIONS": False,
        "ENABLE_BASE_MODELS_CACHE": state.config["models.base_models_cache"],
    }


@router.get("/connections")
@allow(ADMIN)
async def connections(state: AppState) -> "Annotated[dict[str, bool], Shape(replies.settings.ConnectionsConfig)]":
    """How connections are used."""
    return _connections(state)


@router.post("/connections")
@allow(ADMIN)
async def set_connections(
    form: ConnectionsConfig, state: AppState
) -> "Annotated[dict[str, bool], Shape(replies.settings.ConnectionsConfig)]":
    """Changes how connections are used."""
    if form.ENABLE_DIRECT_CONNECTIONS or form.ENABLE_DIRECT_INTEGRATIONS:
        raise BadRequest(NOT_YET.format("connections from the browser"))
    await save(state, {"models.base_models_cache": form.ENABLE_BASE_MODELS_CACHE})
    return _connections(state)


@router.get("/models")
@allow(ADMIN)
async def models(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.settings.ModelsConfig)]":
    """Which models people begin with, in which order they are listed, and what all have."""
    return _shown(state, MODELS)


@router.post("/models")
@allow(ADMIN)
async def set_models(
    form: ModelsConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.ModelsConfig)]":
    """Changes which models people begin with, in which order they are listed, and what all have."""
    changes = {MODELS[name]: getattr(form, name) for name in form.model_fields_set}
    for key, empty in (("ui.model_order_list", []), ("models.default_metadata", {}), ("models.default_params", {})):
        if key in changes and changes[key] is None:
            changes[key] = empty
    await save(state, changes)
    return _shown(state, MODELS)


@router.get("/models/defaults")
@allow(USER)
async def model_defaults(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.settings.ModelDefaults)]":
    """What new models begin with."""
    return {"DEFAULT_MODEL_METADATA": state.config["models.default_metadata"]}


@router.get("/banners")
@allow(USER)
async def banners(state: AppState) -> "Annotated[list[Any], Shape(list[replies.settings.Banner])]":
    """What stands above every page."""
    shown: list[Any] = state.config["ui.banners"]
    return shown


@router.post("/banners")
@allow(ADMIN)
async def set_banners(form: Banners, state: AppState) -> "Annotated[list[Any], Shape(list[replies.settings.Banner])]":
    """Sets what stands above every page."""
    await save(state, {"ui.banners": [clean(banner.model_dump()) for banner in form.banners]})
    shown: list[Any] = state.config["ui.banners"]
    return shown


@router.post("/suggestions")
@allow(ADMIN)
async def set_suggestions(
    form: Suggestions, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.Suggestions)]":
    """Sets what a page proposes to ask."""
    given = None if form.suggestions is None else [clean(s.model_dump()) for s in form.suggestions]
    await save(state, {"ui.prompt_suggestions": given, "ui.prompt_suggestions_i18n": form.i18n or {}})
    return {
        "suggestions": state.config["ui.prompt_suggestions"],
        "i18n": state.config["ui.prompt_suggestions_i18n"],
    }


@router.post("/interface/visibility")
@allow(ADMIN)
async def set_visibility(
    form: Visibility, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.InterfaceVisibility)]":
    """Sets which parts of a page are shown."""
    await save(state, {"ui.visibility": form.visibility})
    return {"visibility": state.config["ui.visibility"]}


# What comes later: off, and said so when somebody tries to switch it on.


@router.get("/tool_servers")
@allow(ADMIN)
async def tool_servers() -> "Annotated[dict[str, list[Any]], Shape(replies.settings.ToolServersConfig)]":
    """Tool servers: none yet."""
    return {"TOOL_SERVER_CONNECTIONS": []}


@router.post("/tool_servers")
@allow(ADMIN)
async def set_tool_servers(
    form: ToolServers,
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.ToolServersConfig)]":
    """Takes an empty list of tool servers, since there are none yet."""
    if form.TOOL_SERVER_CONNECTIONS:
        raise BadRequest(NOT_YET.format("tool servers"))
    return {"TOOL_SERVER_CONNECTIONS": []}


@router.get("/terminal_servers")
@allow(ADMIN)
async def terminal_servers() -> "Annotated[dict[str, list[Any]], Shape(replies.settings.TerminalServersConfig)]":
    """Terminal servers: none yet."""
    return {"TERMINAL_SERVER_CONNECTIONS": []}


@router.post("/terminal_servers")
@allow(ADMIN)
async def set_terminal_servers(
    form: TerminalServers,
) -> "Annotated[dict[str, list[Any]], Shape(replies.settings.TerminalServersConfig)]":
    """Takes an empty list of terminal servers, since there are none yet."""
    if form.TERMINAL_SERVER_CONNECTIONS:
        raise BadRequest(NOT_YET.format("terminal servers"))
    return {"TERMINAL_SERVER_CONNECTIONS": []}


@router.post("/tool_servers/verify")
@router.post("/terminal_servers/verify")
@router.post("/terminal_servers/policy")
@router.post("/terminal_servers/lifecycle")
@router.post("/terminal_servers/refresh")
@router.post("/oauth/clients/register")
@allow(ADMIN)
async def no_servers(_request: Request) -> NoReturn:
    """What tool and terminal servers would do: there are none yet."""
    raise BadRequest(NOT_YET.format("tool or terminal servers"))


@router.get("/code_execution")
@allow(ADMIN)
async def code_execution() -> "Annotated[dict[str, Any], Shape(replies.settings.CodeConfig)]":
    """How code is run: not yet."""
    return CODE


@router.post("/code_execution")
@allow(ADMIN)
async def set_code_execution(form: CodeExecution) -> "Annotated[dict[str, Any], Shape(replies.settings.CodeConfig)]":
    """Takes settings by which no code is run, since it isn't yet."""
    if form.ENABLE_CODE_EXECUTION or form.ENABLE_CODE_INTERPRETER:
        raise BadRequest(NOT_YET.format("the running of code"))
    return CODE


@router.get("/subagents")
@allow(ADMIN)
async def subagents() -> "Annotated[dict[str, Any], Shape(replies.settings.SubagentsConfig)]":
    """How subagents work: not yet."""
    return SUBAGENTS


@router.post("/subagents")
@allow(ADMIN)
async def set_subagents(form: Subagents) -> "Annotated[dict[str, Any], Shape(replies.settings.SubagentsConfig)]":
    """Takes settings without subagents, since there are none yet."""
    if form.ENABLE_SUBAGENTS:
        raise BadRequest(NOT_YET.format("subagents"))
    return SUBAGENTS


@task_router.get("/config")
@allow(USER)
async def task_config(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.settings.TaskConfig)]":
    """What happens after an answer. Prompts and parameters are for those who may write them."""
    shown = _shown(state, tasks.SETTINGS)
    if not caller.is_admin:
        shown |= {name: tasks.blank(shown[name]) for name in tasks.PRIVATE}
    return shown


@task_router.post("/config/update")
@allow(ADMIN)
async def set_task_config(
    form: tasks.TaskConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.TaskConfig)]":
    """Changes what happens after an answer."""
    changes: dict[str, Any] = {}
    for name in form.model_fields_set:
        value = getattr(form, name)
        key = tasks.SETTINGS[name]
        if value is not None:
            changes[key] = clean(value)
        elif BY_KEY[key].type is str:
            # The page's "none chosen".
            changes[key] = ""
    await save(state, changes)
    return _shown(state, tasks.SETTINGS)
