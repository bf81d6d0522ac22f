"""open_webui.constants: what tasks are called, and messages about errors."""

from enum import Enum


class TASKS(str, Enum):  # noqa: UP042 - plugins compare it with texts and format it
    """What a model is asked beside the conversation."""

    DEFAULT = "default"
    TITLE_GENERATION = "title_generation"
    FOLLOW_UP_GENERATION = "follow_up_generation"
    TAGS_GENERATION = "tags_generation"
    EMOJI_GENERATION = "emoji_generation"
    QUERY_GENERATION = "query_generation"
    IMAGE_PROMPT_GENERATION = "image_prompt_generation"
    AUTOCOMPLETE_GENERATION = "autocomplete_generation"
    FUNCTION_CALLING = "function_calling"
    MOA_RESPONSE_GENERATION = "moa_response_generation"

    def __str__(self) -> str:
        return self.value


class ERROR_MESSAGES(str, Enum):  # noqa: N801, UP042 - the name that plugins import
    """Sentences."""

    DEFAULT = "Something went wrong."
    NOT_FOUND = "We could not find what you're looking for :/"
    ACCESS_PROHIBITED = "You do not have permission to access this resource."
    UNAUTHORIZED = "401 Unauthorized"

    def __str__(self) -> str:
        return self.value
