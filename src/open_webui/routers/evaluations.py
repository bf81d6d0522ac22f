"""Ratings of answers, the leaderboard that comes of them, and the arena in which models are rated blindly."""

from typing import Annotated, Any, Final

from fastapi import Path, Query, Response
from fastapi.responses import StreamingResponse

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.errors import BadRequest
from open_webui.internal import acts
from open_webui.routers.configs import save
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.documents import bounded
from open_webui.schemas.evaluations import MAX_ARENA_JSON, Arena, EvaluationConfig, FeedbackForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import evaluations, leaderboard
from open_webui.state import State
from open_webui.utils.pieces import begun

router = new_router(prefix="/api/v1/evaluations", tag="evaluations")
CONFIG: Final = {
    "ENABLE_EVALUATION_ARENA_MODELS": "evaluation.arena.enable",
    "EVALUATION_ARENA_MODELS": "evaluation.arena.models",
}
READ, WRITE, DELETE = (USER.on("feedback", action) for action in ("read", "write", "delete"))
FeedbackId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
ModelId = Annotated[str, Path(max_length=constants.MAX_ID)]
OneModel = Annotated[str | None, Query(alias="model_id", max_length=constants.MAX_ID)]
Word = Annotated[str | None, Query(max_length=50)]
Topic = Annotated[str | None, Query(max_length=500)]
# 0: since the first rating.
Days = Annotated[int, Query(ge=0, le=leaderboard.MAX_DAYS)]


# The arena


def _config(state: State) -> dict[str, Any]:
    return {name: state.config[key] for name, key in CONFIG.items()}


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.evaluations.EvaluationConfig)]":
    """Whether there are arena models, and which."""
    return _config(state)


@router.post("/config")
@allow(ADMIN)
async def set_config(
    form: EvaluationConfig, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.EvaluationConfig)]":
    """Sets up arena models: which models answer behind each name, and who may ask them."""
    changes: dict[str, Any] = {}
    if form.ENABLE_EVALUATION_ARENA_MODELS is not None:
        changes[CONFIG["ENABLE_EVALUATION_ARENA_MODELS"]] = form.ENABLE_EVALUATION_ARENA_MODELS
    if form.EVALUATION_ARENA_MODELS is not None:
        changes[CONFIG["EVALUATION_ARENA_MODELS"]] = _arenas(form.EVALUATION_ARENA_MODELS, state)
    await save(state, changes)
    return _config(state)


def _arenas(given: list[Arena], state: State) -> list[dict[str, Any]]:
    """Arena models as they are stored. Raises BadRequest for ids that are taken, and for more than is kept."""
    ids = [arena.id for arena in given]
    if double := next((one for one in ids if ids.count(one) > 1), None):
        raise BadRequest(f"Two arena models have the id {double}. Give each an id of its own.")
    # A model that is switched off, and the other name of one, come before an arena, too.
    models = state.catalogue.snapshot
    if taken := next((one for one in ids if one in models.rows or models.find(one) is not None), None):
        raise BadRequest(f"There is a model with the id {taken}. Give the arena model another id.")
    try:
        stored = bounded(MAX_ARENA_JSON)({"arenas": [arena.model_dump(exclude_unset=True) for arena in given]})
    except ValueError as error:
        raise BadRequest(f"The arena models can't be stored: what they hold {error}.") from None
    arenas: list[dict[str, Any]] = stored["arenas"]
    return arenas


# Ratings


@router.post("/feedback")
@allow(USER.on("feedback", "create").needs("chat.rate_response"))
async def create(
    form: FeedbackForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.Feedback)]":
    """Rates an answer in a chat that one may read."""
    return await evaluations.create(state, caller, form)


@router.get("/feedback/{id}")
@allow(READ)
async def get(
    feedback_id: FeedbackId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.Feedback)]":
    """A rating of one's own, or for an administrator anybody's."""
    return await evaluations.get(state, caller, feedback_id)


@router.post("/feedback/{id}")
@allow(WRITE.needs("chat.rate_response"))
async def update(
    feedback_id: FeedbackId, form: FeedbackForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.Feedback)]":
    """Changes a rating of one's own; what is left out stays."""
    return await evaluations.update(state, caller, feedback_id, form)


@router.delete("/feedback/{id}")
@allow(DELETE)
async def delete(feedback_id: FeedbackId, state: AppState, caller: Caller) -> bool:
    """Removes a rating of one's own, or for an administrator anybody's."""
    return await evaluations.delete(state, caller, feedback_id)


@router.get("/feedbacks/user")
@allow(USER.on("feedback", "list"))
async def own(
    state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.FeedbackPage)]":
    """One's own ratings, 30 a page."""
    return await evaluations.own(state, caller, page)


@router.delete("/feedbacks")
@allow(USER.on("feedback", "list"))
async def delete_own(state: AppState, caller: Caller) -> bool:
    """Removes all of one's own ratings: true if there were any."""
    return await evaluations.delete_own(state, caller)


# All of them, for administrators


@router.get("/feedbacks/list")
@allow(ADMIN)
async def listed(
    state: AppState,
    *,
    order_by: Word = None,
    direction: Word = None,
    page: Page = 1,
    model_id: OneModel = None,
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.FeedbackPage)]":
    """Everybody's ratings, 30 a page, sorted by updated_at, created_at, user, model_id or rating."""
    return await evaluations.listed(state, page, model_id=model_id, sort=order_by, direction=direction)


@router.get("/feedbacks/models")
@allow(ADMIN)
async def models(state: AppState) -> list[str]:
    """The models that were rated."""
    return await evaluations.models(state)


@router.get("/feedbacks/all/ids")
@allow(ADMIN)
async def ids(state: AppState) -> "Annotated[Response, Shape(list[replies.evaluations.FeedbackId])]":
    """The ids of all ratings."""
    return StreamingResponse(await begun(evaluations.ids(state)), media_type="application/json")


@router.get("/feedbacks/all/export")
@allow(ADMIN)
async def export(
    state: AppState, model_id: OneModel = None
) -> "Annotated[Response, Shape(list[replies.evaluations.Feedback])]":
    """All ratings, or those of a model, with the chats where the server lets administrators export and see them."""
    acts.opened("feedback", "*", "*")
    return StreamingResponse(await begun(evaluations.export(state, model_id)), media_type="application/json")


@router.delete("/feedbacks/all")
@allow(ADMIN)
async def delete_all(state: AppState) -> bool:
    """Removes everybody's ratings: true if there were any."""
    return await evaluations.delete_all(state)


@router.get("/leaderboard")
@allow(ADMIN)
async def board(
    state: AppState, query: Topic = None
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.Leaderboard)]":
    """The models that were compared, the best first, by Elo ratings. query: a topic; ratings count as far as theirs is near."""
    return {"entries": await state.leaderboard.entries(query)}


@router.get("/leaderboard/{model_id:path}/history")
@allow(ADMIN)
async def history(
    model_id: ModelId, state: AppState, days: Days = 30
) -> "Annotated[dict[str, Any], Shape(replies.evaluations.ModelHistory)]":
    """Good and bad ratings of a model by day."""
    return {"model_id": model_id, "history": await leaderboard.history(state.database, model_id, days)}
