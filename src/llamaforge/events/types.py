"""The events of an answer, the same for every format.

Each has `choice`, the number of the alternative answer that it belongs to (0 where a provider gives one), and `details`:
what the provider said about it besides, in the provider's own form.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Event(msgspec.Struct, frozen=True, gc=False):
    pass


class Text(_Event, frozen=True, gc=False):
    """A piece of what the model says."""

    text: str
    choice: int = 0
    details: dict[str, Any] | None = None


class Reasoning(_Event, frozen=True, gc=False):
    """A piece of what the model thinks. signature: the provider's proof of it, which it wants back unchanged.

    text is empty where only a signature or details came.
    """

    text: str
    signature: str | None = None
    choice: int = 0
    details: dict[str, Any] | None = None


class ToolCall(_Event, frozen=True, gc=False):
    """A piece of a call. `index` and `id` say of which call, as far as the provider tells (see parts.place_of).

    arguments: a piece of their JSON.
    """

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    choice: int = 0
    details: dict[str, Any] | None = None


class Source(_Event, frozen=True, gc=False):
    """Where something that was said comes from. url: http(s). text: what is quoted, where the provider tells."""

    url: str
    title: str | None = None
    text: str | None = None
    choice: int = 0
    details: dict[str, Any] | None = None


class Image(_Event, frozen=True, gc=False):
    """A picture that the model made. url: a `data:image/` or an http(s) address."""

    url: str
    choice: int = 0
    details: dict[str, Any] | None = None


class Refusal(_Event, frozen=True, gc=False):
    """A piece of the sentence with which the model declines."""

    text: str
    choice: int = 0
    details: dict[str, Any] | None = None


class Usage(_Event, frozen=True, gc=False):
    """Tokens of the request and its answer so far; a later one replaces an earlier one of the same request.

    cached: of the prompt, those that the provider had cached. reasoning: of the completion, those that were thought.
    None where the provider does not tell. raw: all that the provider said about it.
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    raw: dict[str, Any] = {}


class Error(_Event, frozen=True, gc=False):
    """The provider gave up in the middle; nothing follows. detail: its words, None where it gave none.

    status: an HTTP status of 400 to 599. body: its error as it came.
    """

    detail: str | None
    status: int
    body: Any = None


class Done(_Event, frozen=True, gc=False):
    """The answer is over. finish_reason: OpenAI's word for why, such as "stop", "length", "tool_calls"."""

    finish_reason: str
    choice: int = 0
    details: dict[str, Any] | None = None


class Notice(_Event, frozen=True, gc=False):
    """A sentence about the answer for the person who reads it, told at its end; no word of the model's."""

    text: str


Event = Text | Reasoning | ToolCall | Source | Image | Refusal | Usage | Error | Done | Notice
