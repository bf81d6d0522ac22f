"""OpenAICompletionBackend: plain completions, `/v1/completions`: text in, its continuation out."""

from __future__ import annotations

from typing import Any

from synthora.exceptions import MessageError
from synthora.messages import BaseMessage, user
from synthora.messages.answers import failure
from synthora.models.openai_chat import OpenAIChatBackend
from synthora.models.provider import Json
from synthora.types import ModelBackendType


class OpenAICompletionBackend(OpenAIChatBackend):
    """`run` and `async_run` take a prompt: text, or one message. Everything else is as of OpenAIChatBackend."""

    backend = ModelBackendType.OPENAI_COMPLETION

    @classmethod
    def default(cls, model_type: str = "gpt-3.5-turbo-instruct", *args: Any, **kwargs: Any) -> Any:
        """As the constructor, for gpt-3.5-turbo-instruct unless told otherwise."""
        return cls(model_type, *args, **kwargs)

    def _input(self, messages: Any) -> Json:
        return {"prompt": as_prompt(messages).content}

    def _told(self, messages: Any, parameters: Json) -> Json:
        return {**parameters, "messages": [as_prompt(messages)]}

    def _message(self, response: Any) -> BaseMessage:
        if (error := failure(response)) is not None:
            raise error
        return BaseMessage.from_openai_completion_response(response, self.source)

    def _next_message(self, chunk: Any, previous: BaseMessage | None) -> BaseMessage:
        return BaseMessage.from_openai_completion_stream_response(chunk, self.source, previous)

    def _resource(self, client: Any) -> Any:
        return client.completions


def as_prompt(prompt: Any) -> BaseMessage:
    """A prompt as a message. Raises MessageError for several messages, and for one without text."""
    if isinstance(prompt, list | tuple) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return user(prompt)
    if not isinstance(prompt, BaseMessage) or prompt.content is None:
        raise MessageError("A completion continues one text: give a string or one message with text.")
    return prompt
