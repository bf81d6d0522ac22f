"""What the route about background tasks takes."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from open_webui.schemas.openai import Configs

Template = Annotated[str, StringConstraints(max_length=100_000)]


class TaskConfig(BaseModel):
    """The whole page; what may be left out keeps its value."""

    TASK_MODEL: str | None
    TASK_MODEL_EXTERNAL: str | None
    TASK_MODEL_PARAMS: Configs | None = None
    ENABLE_TITLE_GENERATION: bool
    TITLE_GENERATION_PROMPT_TEMPLATE: Template
    IMAGE_PROMPT_GENERATION_PROMPT_TEMPLATE: Template
    ENABLE_AUTOCOMPLETE_GENERATION: bool
    AUTOCOMPLETE_GENERATION_INPUT_MAX_LENGTH: Annotated[int, Field(ge=-1, le=10_000_000)] | None = None
    AUTOCOMPLETE_GENERATION_PROMPT_TEMPLATE: Template
    TAGS_GENERATION_PROMPT_TEMPLATE: Template
    FOLLOW_UP_GENERATION_PROMPT_TEMPLATE: Template
    ENABLE_FOLLOW_UP_GENERATION: bool
    ENABLE_TAGS_GENERATION: bool
    ENABLE_SEARCH_QUERY_GENERATION: bool
    ENABLE_RETRIEVAL_QUERY_GENERATION: bool
    QUERY_GENERATION_PROMPT_TEMPLATE: Template
    TOOLS_FUNCTION_CALLING_PROMPT_TEMPLATE: Template
    ENABLE_VOICE_MODE_PROMPT: bool
    VOICE_MODE_PROMPT_TEMPLATE: Template | None


# The wire's names and the settings behind them.
SETTINGS: dict[str, str] = {
    "TASK_MODEL": "task.model.default",
    "TASK_MODEL_EXTERNAL": "task.model.external",
    "TASK_MODEL_PARAMS": "task.model.params",
    "TITLE_GENERATION_PROMPT_TEMPLATE": "task.title.prompt_template",
    "IMAGE_PROMPT_GENERATION_PROMPT_TEMPLATE": "task.image.prompt_template",
    "ENABLE_AUTOCOMPLETE_GENERATION": "task.autocomplete.enable",
    "AUTOCOMPLETE_GENERATION_INPUT_MAX_LENGTH": "task.autocomplete.input_max_length",
    "AUTOCOMPLETE_GENERATION_PROMPT_TEMPLATE": "task.autocomplete.prompt_template",
    "TAGS_GENERATION_PROMPT_TEMPLATE": "task.tags.prompt_template",
    "FOLLOW_UP_GENERATION_PROMPT_TEMPLATE": "task.follow_up.prompt_template",
    "ENABLE_FOLLOW_UP_GENERATION": "task.follow_up.enable",
    "ENABLE_TAGS_GENERATION": "task.tags.enable",
    "ENABLE_TITLE_GENERATION": "task.title.enable",
    "ENABLE_SEARCH_QUERY_GENERATION": "task.query.search.enable",
    "ENABLE_RETRIEVAL_QUERY_GENERATION": "task.query.retrieval.enable",
    "QUERY_GENERATION_PROMPT_TEMPLATE": "task.query.prompt_template",
    "TOOLS_FUNCTION_CALLING_PROMPT_TEMPLATE": "task.tools.prompt_template",
    "ENABLE_VOICE_MODE_PROMPT": "task.voice.prompt.enable",
    "VOICE_MODE_PROMPT_TEMPLATE": "task.voice.prompt_template",
}
# What people who can't write it need not read: texts an admin wrote, and parameters.
PRIVATE: frozenset[str] = frozenset(
    name for name in SETTINGS if name.endswith("_TEMPLATE") or name == "TASK_MODEL_PARAMS"
)


def blank(value: Any) -> Any:
    """What stands for a private value."""
    return {} if isinstance(value, dict) else ""
