"""OpenAI-compatible connections: their settings, their models, embeddings. One model of any kind, for OpenAI's packages."""

from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

from fastapi import Path, Query, Request, Response

from open_webui.access.policy import ADMIN, USER
from open_webui.connections import profiles
from open_webui.connections.gate import asker_of
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.specs import build, check_entries, check_secret, check_url
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError, ProviderError, UnknownModel
from open_webui.routing import allow, json_object, new_router
from open_webui.schemas import replies
from open_webui.schemas.openai import OpenAIConfig, ProviderModel, VerifyOpenAI
from open_webui.schemas.replies.shape import Shape
from open_webui.state import State

if TYPE_CHECKING:
    from open_webui.schemas import bodies

router = new_router(tag="openai")
# Registered after every other address that begins with /openai/, /api/models/, /api/v1/models/ or /ollama/v1/models/.
PASSTHROUGH_OFF: Final = "Passing arbitrary calls through to a provider is not switched on."
NO_OPERATION: Final = "The provider of this connection does not do this on request."
Index = Annotated[int, Path(ge=0, le=1_000)]


def _wire(state: State) -> dict[str, Any]:
    config = state.config
    urls, keys = config["openai.api_base_urls"], config["openai.api_keys"]
    return {
        "ENABLE_OPENAI_API": config["openai.enable"],
        "OPENAI_API_BASE_URLS": urls,
        # Pages look for an address's key at the address's place.
        "OPENAI_API_KEYS": [*keys, *[""] * (len(urls) - len(keys))],
        "OPENAI_API_CONFIGS": config["openai.api_configs"],
    }


@router.get("/openai/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.connections.OpenAIConfig)]":
    """The connections as they are in force."""
    return _wire(state)


@router.post("/openai/config/update")
@allow(ADMIN)
async def update_config(
    form: OpenAIConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.connections.OpenAIConfig)]":
    """Replaces the connections; refused where the environment fixes them otherwise."""
    urls = [check_url(url) for url in form.OPENAI_API_BASE_URLS]
    check_entries(form.OPENAI_API_CONFIGS)
    keys = [check_secret(key, "A key") for key in form.OPENAI_API_KEYS][: len(urls)]
    changes: dict[str, object] = {
        "openai.api_base_urls": urls,
        "openai.api_keys": keys + [""] * (len(urls) - len(keys)),
        "openai.api_configs": form.OPENAI_API_CONFIGS,
    }
    if form.ENABLE_OPENAI_API is not None:
        changes["openai.enable"] = form.ENABLE_OPENAI_API
    await state.save_config(changes)
    return _wire(state)


@router.post("/openai/verify")
@allow(ADMIN)
async def verify(
    form: VerifyOpenAI, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.ProvidersModels)]":
    """Asks an address for its models, to see whether it answers, as the caller would; nothing is stored."""
    entry = {k: v for k, v in (form.config or {}).items() if k != "model_ids"}
    check_entries({"0": entry})
    spec = build("openai", 0, check_url(form.url), check_secret(form.key, "The key"), entry)
    timeout = state.settings.aiohttp_client_timeout_model_list
    connection = OpenAIConnection(state.http, spec, timeout, state.catalogue.person_token)
    return await list_provider_models(connection, asker_of(caller))


async def list_provider_models(connection: OpenAIConnection, user: dict[str, str] | None = None) -> Any:
    """The provider's own list. Its refusals come out as sentences for a page: a 401 of a provider is none of ours."""
    try:
        return await connection.raw_models(user)
    except ProviderError as error:
        raise page_error(error) from error


def page_error(error: ProviderError) -> OuiError:
    """A provider's error for somebody at a page: its sentence, with a status that is about us and not about it."""
    return OuiError(error.detail, status=error.status if error.status >= 500 else 400)


@router.get("/openai/models")
@allow(USER.on("model", "list"))
async def models(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.OfferedModels)]":
    """The models of all OpenAI-compatible connections that the caller may use."""
    await state.catalogue.wait_for_lists()
    visible = state.catalogue.visible(caller)
    return {"data": [profiles.base_wire(p.entry) for p in visible if p.entry.kind == "openai" and not p.is_custom]}


@router.get("/openai/models/{url_idx:int}")
@allow(USER.on("model", "list"))
async def connection_models(
    url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.ProvidersModels)]":
    """The models of one connection: for admins what it answers now, for others those that they may use."""
    connection = state.catalogue.remote("openai", url_idx)
    if caller.is_admin and isinstance(connection, OpenAIConnection):
        return await list_provider_models(connection)
    found = [
        p.entry for p in state.catalogue.visible(caller) if p.entry.connection == connection.key and not p.is_custom
    ]
    return {"object": "list", "data": [entry.raw for entry in found]}


@router.get("/openai/models/{url_idx}/catalog")
@router.get("/openai/models/{url_idx}/download/status/{job_id}")
@allow(ADMIN)
async def no_operation(url_idx: Index, state: AppState) -> NoReturn:
    """Loading and fetching models is not part of OpenAI's API."""
    state.catalogue.remote("openai", url_idx)
    raise BadRequest(NO_OPERATION)


@router.post("/openai/models/{url_idx}/download")
@router.post("/openai/models/{url_idx}/load")
@router.post("/openai/models/{url_idx}/unload")
@allow(ADMIN)
async def no_operation_on_model(
    url_idx: Index,
    form: ProviderModel,  # noqa: ARG001 - read to be checked
    state: AppState,
) -> NoReturn:
    """So is loading, fetching and letting go of one."""
    state.catalogue.remote("openai", url_idx)
    raise BadRequest(NO_OPERATION)


@router.delete("/openai/models/{url_idx}")
@allow(ADMIN)
async def no_removal(
    url_idx: Index,
    model: Annotated[str, Query(max_length=MAX_ID)],  # noqa: ARG001 - read to be checked
    state: AppState,
) -> NoReturn:
    """So is removing one."""
    state.catalogue.remote("openai", url_idx)
    raise BadRequest(NO_OPERATION)


@router.post("/openai/embeddings")
@router.post("/api/embeddings")
@router.post("/api/v1/embeddings")
@allow(USER.on("model", "use"))
async def embeddings(
    request: "Annotated[Request, Shape(bodies.Embeddings)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.Embeddings)]":
    """Embeddings by any model of the catalogue whose provider makes them."""
    body = await json_object(request)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("'model' should be the id of a model.")
    target = await state.gate.target(caller, model)
    with state.streams.reserve(caller):
        return Response(await state.gate.embed(caller, target, body), media_type="application/json")


@router.get("/api/models/{model_id:path}")
@router.get("/api/v1/models/{model_id:path}")
@router.get("/openai/models/{model_id:path}")
@router.get("/ollama/v1/models/{model_id:path}")
@allow(USER.on("model", "read"))
async def one_model(
    model_id: str, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.connections.ListedModel)]":
    """One model as OpenAI's packages ask for it (`models.retrieve`): as the list of `/api/models` has it."""
    await state.catalogue.wait_until_listed(model_id)
    try:
        return profiles.shown_to(state.catalogue.profile(caller, model_id), caller)
    except NotFound as error:
        raise UnknownModel from error


@router.api_route("/openai/{path:path}", methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False)
@allow(USER)
async def passthrough(path: str) -> None:
    if not path:
        raise NotFound
    raise Forbidden(PASSTHROUGH_OFF, status=403)
