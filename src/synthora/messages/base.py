"""BaseMessage: one turn of a conversation, from whoever and to whichever model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from llamaforge.events import Event
from synthora.exceptions import MessageError
from synthora.messages import answers
from synthora.messages.images import parse_image
from synthora.messages.ordered import Part, Stored, fields_of, parts_of
from synthora.messages.parts import ToolCall, as_tool_call
from synthora.messages.requests import Wants, encoded
from synthora.types import MessageRole, Node, NodeType

_AUTHORS = {
    MessageRole.USER: ("user", NodeType.USER),
    MessageRole.SYSTEM: ("system", NodeType.SYSTEM),
    MessageRole.ASSISTANT: ("assistant", NodeType.AGENT),
    MessageRole.TOOL_RESPONSE: ("tool", NodeType.TOOL),
}
_ROLES = {
    "user": MessageRole.USER,
    "system": MessageRole.SYSTEM,
    "developer": MessageRole.SYSTEM,
    "assistant": MessageRole.ASSISTANT,
    "tool": MessageRole.TOOL_RESPONSE,
    "function": MessageRole.TOOL_RESPONSE,
}


class BaseMessage(BaseModel):
    """A message. It has at least one of content, tool_calls, tool_response, images (empty ones count).

    id: of a provider's answer; of a tool response, that of the call it answers. source: its author, by the role where
    left out. chunk: what is new in this step of a stream. content: the text, in a stream all of it so far.
    parsed: the object that `response_format` asked for. images: http(s) addresses or data: URIs.
    metadata: of an answer: created, model, service_tier, system_fingerprint, usage, finish_reason; cost, reasoning and
    refusal where there are any. original_response: what the provider sent for this message.

    `parts` has all of it in order, with what a provider wants back. A message can be made of `parts` instead of the fields;
    `ordered` is how their order is stored.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    role: MessageRole
    id: str | None = None
    source: Node = Field(default_factory=lambda given: _author(given["role"]))
    chunk: str | None = None
    parsed: Any = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_response: Any = None
    images: list[str] | None = None
    original_response: Any = Field(
        default=None,
        repr=False,
        exclude=True,
        validation_alias=AliasChoices("original_response", "origional_response"),
    )
    metadata: dict[str, Any] = Field(default_factory=dict)
    ordered: list[Stored] | None = Field(default=None, repr=False, exclude_if=lambda ordered: ordered is None)

    @model_validator(mode="before")
    @classmethod
    def _from_parts(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("parts") is None:
            return given
        fields = fields_of(given["parts"])
        if twice := [name for name in ("content", "images", "tool_calls") if given.get(name) is not None]:
            raise MessageError(f"A message has its '{twice[0]}' from its parts; give one of them.")
        metadata = {**fields.pop("metadata"), **(given.get("metadata") or {})}
        return {**given, **fields, "metadata": metadata}

    @field_validator("tool_calls", mode="before")
    @classmethod
    def _readable_calls(cls, calls: Any) -> Any:
        return [as_tool_call(call) for call in calls] if isinstance(calls, list | tuple) else calls

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.content is None and self.tool_calls is None and self.tool_response is None and self.images is None:
            raise MessageError("A message needs a content, tool calls, a tool response or images.")
        if self.role is MessageRole.TOOL_RESPONSE and not self.id:
            raise MessageError("A tool response needs the id of the tool call that it answers.")
        if self.role is MessageRole.SYSTEM and self.images:
            raise MessageError("A system message can't have images.")
        return self

    @property
    def parts(self) -> list[Part]:
        """Text, thoughts, images, tool calls, a tool's result, refusals and sources, in order. A new list each time."""
        return parts_of(self)

    @property
    def is_complete(self) -> bool:
        """Whether the model has finished its answer."""
        return bool(self.metadata.get("finish_reason"))

    @property
    def has_tool_calls(self) -> bool:
        """Whether the model asks for tools."""
        return bool(self.tool_calls)

    @property
    def origional_response(self) -> Any:
        """`original_response` under the name that Synthora published."""
        return self.original_response

    @classmethod
    def create_message(  # noqa: PLR0917 -- as published
        cls,
        role: MessageRole | str,
        id: str | None = None,  # noqa: A002
        content: Any = None,
        images: Sequence[str | PathLike[str]] | None = None,
        tool_calls: Sequence[Any] | None = None,
        tool_response: Any = None,
        source: Node | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """A message with what its role may have: users and systems have neither id nor tool calls.

        content: text, or a message whose text is taken. images: see `parse_image`.
        Raises MessageError (an unknown role, nothing in it, a tool response without id, a system's images), ImageError.
        """
        kind = _role(role)
        if kind in {MessageRole.USER, MessageRole.SYSTEM}:
            id, tool_calls = None, None  # noqa: A001
        if isinstance(content, BaseMessage):
            content = content.content
        if content is not None and not isinstance(content, str):
            raise MessageError(f"The content of a message must be text, not {type(content).__name__}.")
        if isinstance(images, str):
            raise MessageError("Give images as a list.")
        return cls._checked(
            role=kind,
            id=id,
            source=source or _author(kind),
            content=content,
            images=None if images is None else [parse_image(image) for image in images],
            tool_calls=None if tool_calls is None else [as_tool_call(call) for call in tool_calls],
            tool_response=tool_response,
            metadata=dict(metadata or {}),
        )

    @classmethod
    def from_parts(cls, role: MessageRole | str, parts: Sequence[Part], source: Node | None = None) -> Self:
        """A message of parts in this order. Raises as `create_message` does, and MessageError for what is no part."""
        kind = _role(role)
        return cls._checked(role=kind, source=source or _author(kind), parts=parts)

    # ---- OpenAI's format

    def to_openai_message(self, profile: Wants | None = None) -> dict[str, Any]:
        """The message as a chat completion request has it. profile: of the model that it goes to, else OpenAI's own."""
        return encoded(self, profile)

    @classmethod
    def from_openai_message(cls, message: Mapping[str, Any], source: Node | None = None) -> Self:
        """A message from one of a chat completion request. Raises MessageError."""
        role = _ROLES.get(str(message.get("role")))
        if role is None:
            raise MessageError(f"{message.get('role')!r} is no role of a chat: {', '.join(_ROLES)}.")
        content, images = _read_content(message.get("content"))
        if source is None and message.get("name"):
            source = Node(name=str(message["name"]), type=_AUTHORS[role][1])
        return cls.create_message(
            role,
            id=message.get("tool_call_id"),
            content=content,
            images=images,
            tool_calls=message.get("tool_calls"),
            source=source,
        )

    @classmethod
    def from_openai_chat_response(cls, response: Any, source: Node | None = None) -> Self:
        """The answer in a chat completion, the SDK's or a dictionary."""
        return cls._answer(answers.of_chat(response), source)

    @classmethod
    def from_openai_chat_stream_response(
        cls, chunk: Any, source: Node | None = None, previous: BaseMessage | None = None
    ) -> Self:
        """The answer after one more chunk of a chat completion. previous: the answer before it, which stays as it is."""
        return cls._grown(previous, answers.of_chat_chunk(chunk, previous), source)

    @classmethod
    def from_openai_completion_response(cls, response: Any, source: Node | None = None) -> Self:
        """The text in a completion without roles."""
        return cls._answer(answers.of_completion(response), source)

    @classmethod
    def from_openai_completion_stream_response(
        cls, chunk: Any, source: Node | None = None, previous: BaseMessage | None = None
    ) -> Self:
        """The text after one more chunk of a completion without roles."""
        return cls._grown(previous, answers.of_completion_chunk(chunk, previous), source)

    @classmethod
    def from_events(
        cls, events: Sequence[Event], source: Node | None = None, previous: BaseMessage | None = None, **about: Any
    ) -> Self:
        """The answer after some more events of any provider's (see llamaforge.events), or all of a whole one's.

        about: original (what the provider sent), model and id (as it names them). Raises NoAnswerError for an Error.
        """
        return cls._grown(previous, answers.of_events(events, previous, **about), source)

    @classmethod
    def _answer(cls, fields: answers.Fields, source: Node | None) -> Self:
        return cls(role=MessageRole.ASSISTANT, source=source or _author(MessageRole.ASSISTANT), **fields)

    @classmethod
    def _grown(cls, previous: BaseMessage | None, fields: answers.Fields, source: Node | None) -> Self:
        """The next message of a stream. What is made of one that was checked need not be checked, nor copied, again."""
        if not isinstance(previous, cls):
            return cls._answer(fields, source)
        if source is not None:
            fields["source"] = source
        grown = cls.__new__(cls)
        # As a pickled message is restored: `model_copy` takes twice as long, for every token.
        grown.__setstate__(
            {
                "__dict__": {**previous.__dict__, **fields},
                "__pydantic_fields_set__": previous.model_fields_set,
                "__pydantic_extra__": None,
                "__pydantic_private__": None,
            }
        )
        return grown

    @classmethod
    def _checked(cls, **fields: Any) -> Self:
        """A message whose mistakes are told in one sentence, instead of pydantic's report of all fields."""
        try:
            return cls(**fields)
        except ValueError as error:
            causes = [problem.get("ctx", {}).get("error") for problem in getattr(error, "errors", list)()]
            told = next((cause for cause in causes if isinstance(cause, MessageError)), None)
            raise told or MessageError(str(error)) from None


def _author(role: MessageRole) -> Node:
    name, kind = _AUTHORS[role]
    return Node(name=name, type=kind)


def _role(role: MessageRole | str) -> MessageRole:
    try:
        return MessageRole(role)
    except ValueError:
        known = ", ".join(member.value for member in MessageRole)
        raise MessageError(f"{role!r} is no role of a message. Roles: {known}.") from None


def _read_content(content: Any) -> tuple[str | None, list[str] | None]:
    """The text and the images of a content, which may be a list of parts."""
    if content is None or isinstance(content, str):
        return content, None
    texts: list[str] = []
    images: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(str(part.get("text", "")))
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            images.append(str(part["image_url"].get("url")))
        else:
            raise MessageError(f"A message has a part of the unknown type {kind!r}.")
    return ("\n".join(texts) if texts else None), images or None
