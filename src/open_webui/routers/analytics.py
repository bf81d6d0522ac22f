"""What all people did with models, counted for administrators."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import ADMIN
from open_webui.deps import AppState
from open_webui.models.analytics import LAST, Metric
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.services import analytics
from open_webui.services.leaderboard import MAX_DAYS

router = new_router(prefix="/api/v1/analytics", tag="analytics")
ModelId = Annotated[str, Path(max_length=constants.MAX_ID)]
MaybeId = Annotated[str | None, Query(max_length=constants.MAX_ID)]
Time = Annotated[int | None, Query(ge=0, le=LAST)]
Limit = Annotated[int, Query(ge=1, le=100)]
People = Annotated[int, Query(ge=1, le=1_000)]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]
Word = Annotated[str, Query(max_length=50)]
Days = Annotated[int, Query(ge=0, le=MAX_DAYS - 1)]


@router.get("/models")
@allow(ADMIN)
async def models(
    state: AppState, *, start_date: Time = None, end_date: Time = None, group_id: MaybeId = None
) -> "Annotated[dict[str, Any], Shape(replies.analytics.Models)]":
    """Answers by model, the most used first. Times are seconds since the epoch."""
    analytics.check_on(state)
    return await analytics.models(state.database, analytics.span(start_date, end_date, group_id))


@router.get("/users")
@allow(ADMIN)
async def users(
    state: AppState,
    *,
    start_date: Time = None,
    end_date: Time = None,
    group_id: MaybeId = None,
    limit: People = 50,
    metric: Metric = "messages",
) -> "Annotated[dict[str, Any], Shape(replies.analytics.People)]":
    """The busiest people: by messages, or by tokens, where `count` is of answers alone."""
    analytics.check_on(state)
    asked = analytics.span(start_date, end_date, group_id)
    return await analytics.users(state.database, asked, metric, limit)


@router.get("/messages")
@allow(ADMIN)
async def messages(
    state: AppState,
    *,
    model_id: MaybeId = None,
    user_id: MaybeId = None,
    chat_id: MaybeId = None,
    start_date: Time = None,
    end_date: Time = None,
    skip: Skip = 0,
    limit: Limit = 50,
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.analytics.Message])]":
    """Messages of a model, a person or a chat, the newest first, where the server lets administrators see chats."""
    analytics.check_on(state)
    asked = analytics.span(start_date, end_date)
    return await analytics.messages(
        state, asked, model_id=model_id, user_id=user_id, chat_id=chat_id, offset=skip, limit=limit
    )


@router.get("/summary")
@allow(ADMIN)
async def summary(
    state: AppState, *, start_date: Time = None, end_date: Time = None, group_id: MaybeId = None
) -> "Annotated[Any, Shape(replies.analytics.Summary)]":
    """How many answers, chats, models and people there were."""
    analytics.check_on(state)
    return await analytics.summary(state.database, analytics.span(start_date, end_date, group_id))


@router.get("/daily")
@allow(ADMIN)
async def daily(
    state: AppState,
    *,
    start_date: Time = None,
    end_date: Time = None,
    group_id: MaybeId = None,
    granularity: analytics.Granularity = "daily",
    metric: Metric = "messages",
    compare: bool = False,
) -> "Annotated[dict[str, Any], Shape(replies.analytics.Daily)]":
    """Answers or tokens by time (of UTC) and model; with `compare`, beside them those of the time before."""
    analytics.check_on(state)
    asked = analytics.span(start_date, end_date, group_id)
    return await analytics.timeline(state.database, asked, granularity, metric, compare=compare)


@router.get("/tokens")
@allow(ADMIN)
async def tokens(
    state: AppState, *, start_date: Time = None, end_date: Time = None, group_id: MaybeId = None
) -> "Annotated[dict[str, Any], Shape(replies.analytics.Tokens)]":
    """Tokens of answers by model, and in all."""
    analytics.check_on(state)
    return await analytics.tokens(state.database, analytics.span(start_date, end_date, group_id))


@router.get("/models/{model_id:path}/chats")
@allow(ADMIN)
async def model_chats(
    model_id: ModelId,
    state: AppState,
    *,
    start_date: Time = None,
    end_date: Time = None,
    skip: Skip = 0,
    limit: Limit = 50,
    order_by: Word = "updated_at",
    direction: Word = "desc",
) -> "Annotated[dict[str, Any], Shape(replies.analytics.ModelChats)]":
    """The chats in which a model answered."""
    analytics.check_on(state)
    asked = analytics.span(start_date, end_date)
    return await analytics.chats(state, model_id, asked, offset=skip, limit=limit, sort=order_by, direction=direction)


@router.get("/models/{model_id:path}/overview")
@allow(ADMIN)
async def overview(
    model_id: ModelId, state: AppState, days: Days = 30
) -> "Annotated[dict[str, Any], Shape(replies.analytics.Overview)]":
    """How a model was rated by day, and the tags of chats in which it answered."""
    analytics.check_on(state)
    return await analytics.overview(state.database, model_id, days)
