"""Ratings, the leaderboard and the arena, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class EvaluationConfig(TypedDict):
    ENABLE_EVALUATION_ARENA_MODELS: bool
    EVALUATION_ARENA_MODELS: list[Object]


class FeedbackId(TypedDict):
    id: str
    user_id: str
    created_at: int
    updated_at: int


class Feedback(FeedbackId):
    """A rating. data: what somebody thinks. meta: what it is about. snapshot: the chat as it was."""

    version: int
    type: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    snapshot: NotRequired[Object | None]


class Rater(TypedDict):
    id: str
    name: str
    email: str
    role: str
    last_active_at: int
    updated_at: int
    created_at: int


class ListedFeedback(FeedbackId):
    version: int
    type: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    user: NotRequired[Rater | None]


class FeedbackPage(TypedDict):
    items: list[ListedFeedback]
    total: int


class TagCount(TypedDict):
    tag: str
    count: int


class LeaderboardEntry(TypedDict):
    """rating_low, rating_high: its rating lies between them in 95 of 100 cases."""

    model_id: str
    rating: int
    won: int
    lost: int
    count: int
    top_tags: list[TagCount]
    rating_low: int
    rating_high: int


class Leaderboard(TypedDict):
    entries: list[LeaderboardEntry]


class ModelDay(TypedDict):
    date: str
    won: int
    lost: int


class ModelHistory(TypedDict):
    model_id: str
    history: list[ModelDay]
