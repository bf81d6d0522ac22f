"""Settings that an admin changes on pages: connections, models, banners, suggestions, background tasks, all as a file."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from open_webui.access.policy import ADMIN, USER
from open_webui.config import BY_KEY
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest
from open_webui.internal.log import get_logger
from open_webui.routing import allow, new_router
from open_webui.schemas import replies, tasks
from open_webui.schemas.configs import (
    Banners,
    ConnectionsConfig,
    ImportConfig,
    ModelsConfig,
    Subagents,
    Suggestions,
    Visibility,
)
from open_webui.schemas.documents import clean
from open_webui.schemas.replies.shape import Shape
from open_webui.state import State

router = new_router(prefix="/api/v1/configs", tag="configs")
task_router = new_router(prefix="/api/v1/tasks", tag="tasks")
log = get_logger(__name__)

# Of an import: as many names as a reply lists of what was not taken.
MAX_NAMED: Final = 500
MODELS: Final = {
    "DEFAULT_MODELS": "ui.default_models",
    "DEFAULT_PINNED_MODELS": "ui.default_pinned_models",
    "MODEL_ORDER_LIST": "ui.model_order_list",
    "DEFAULT_MODEL_METADATA": "models.default_metadata",
    "DEFAULT_MODEL_PARAMS": "models.default_params",
}
SUBAGENTS: Final = {
    "ENABLE_SUBAGENTS": "subagents.enable",
    "SUBAGENTS_BACKGROUND_ENABLED": "subagents.background_enabled",
    "SUBAGENTS_MAX_CONCURRENT": "subagents.max_concurrent",
    "SUBAGENTS_MAX_ASYNC": "subagents.max_async",
    "SUBAGENTS_MAX_ITERATIONS": "subagents.max_iterations",
    "SUBAGENTS_MAX_OUTPUT": "subagents.max_output",
    "SUBAGENTS_SYSTEM_PROMPT": "subagents.system_prompt",
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
@allow(ADMIN.freshly_proven())
async def export(state: AppState) -> dict[str, Any]:
    """Every setting, by its key: those in force, and those that are kept for what is to come."""
    return _every(state)


def _every(state: State) -> dict[str, Any]:
    return {key: state.config[key] for key in BY_KEY}


@router.post("/import")
@allow(ADMIN.freshly_proven())
async def import_config(form: ImportConfig, state: AppState) -> dict[str, Any]:
    """Takes over settings from a file, flat or nested.

    What is not taken is named under `refused`, each with the reason: names that this server doesn't know, what its
    environment fixes (the file may be another's), and what it can't switch on.
    """
    try:
        given = clean(form.config)
    except ValueError as error:
        raise BadRequest(f"The settings can't be taken over: the file {error}.") from None
    changes = _flat(given)
    refused = state.config.left_out(changes)
    await save(state, changes, partly=True)
    if not refused:
        return _every(state)
    named = {name[:200]: reason for name, reason in sorted(refused.items())[:MAX_NAMED]}
    log.info("settings of an imported file were not taken", names=list(named), number=len(refused))
    return _every(state) | {"refused": named}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The keys of a nested object with their values; what leads to none of ours is a key as well."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        key = prefix + name
        if key not in BY_KEY and isinstance(value, dict) and value:
            out |= _flat(value, f"{key}.")
        else:
            out[key] = value
    return out


@router.get("/namespace/{namespace}")
@allow(ADMIN)
async def namespace(namespace: str, state: AppState) -> dict[str, Any]:
    """The settings whose keys begin with a name."""
    return {key: state.config[key] for key in BY_KEY if key.startswith(f"{namespace}.")}


def _connections(state: State) -> dict[str, bool]:
    return {
        "ENABLE_DIRECT_CONNECTIONS": state.config["direct.enable"],
        "ENABLE_DIRECT_INTEGRATIONS": state.config["direct.integrations.enable"],
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
    changes = {
        "direct.enable": form.ENABLE_DIRECT_CONNECTIONS,
        "models.base_models_cache": form.ENABLE_BASE_MODELS_CACHE,
    }
    if form.ENABLE_DIRECT_INTEGRATIONS is not None:
        changes["direct.integrations.enable"] = form.ENABLE_DIRECT_INTEGRATIONS
    await save(state, changes)
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


@router.get("/subagents")
@allow(ADMIN)
async def subagents(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.settings.SubagentsConfig)]":
    """How models hand tasks to sub-agents."""
    return _shown(state, SUBAGENTS)


@router.post("/subagents")
@allow(ADMIN)
async def set_subagents(
    form: Subagents, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.SubagentsConfig)]":
    """Sets how models hand tasks to sub-agents."""
    await save(state, {SUBAGENTS[name]: getattr(form, name) for name in form.model_fields_set})
    return _shown(state, SUBAGENTS)


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
