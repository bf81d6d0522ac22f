"""A person's use of models, as it goes out."""

from typing import NotRequired, TypedDict


class UserUsageTotals(TypedDict):
    lifetime_tokens: NotRequired[int]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    peak_daily_tokens: NotRequired[int]
    longest_chat_seconds: NotRequired[int]
    current_streak: NotRequired[int]
    longest_streak: NotRequired[int]
    total_chats: NotRequired[int]
    active_days: NotRequired[int]
    models_used: NotRequired[int]
    messages: NotRequired[int]
    user_messages: NotRequired[int]
    assistant_messages: NotRequired[int]


class UserUsageHeatmapEntry(TypedDict):
    date: str
    messages: NotRequired[int]
    chats: NotRequired[int]
    tokens: NotRequired[int]
    models: NotRequired[dict[str, int]]


class UserUsageInsights(TypedDict):
    most_used_model: NotRequired[str | None]
    average_tokens_per_chat: NotRequired[float]
    average_messages_per_active_day: NotRequired[float]
    user_message_share: NotRequired[float]
    assistant_message_share: NotRequired[float]


class UserUsageModelEntry(TypedDict):
    model_id: str
    messages: NotRequired[int]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]


class UserUsageToolEntry(TypedDict):
    name: str
    count: int


class UserUsagePeriod(TypedDict):
    start_date: int
    end_date: int
    days: int


class UserUsage(TypedDict):
    totals: UserUsageTotals
    heatmap: list[UserUsageHeatmapEntry]
    weekly_heatmap: list[UserUsageHeatmapEntry]
    cumulative_heatmap: list[UserUsageHeatmapEntry]
    insights: UserUsageInsights
    top_models: list[UserUsageModelEntry]
    top_tools: NotRequired[list[UserUsageToolEntry]]
    period: UserUsagePeriod
