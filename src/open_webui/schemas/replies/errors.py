"""What a refusal looks like."""

from typing import Any, NotRequired, TypedDict


class Problem(TypedDict):
    """What is wrong with one part of a request. loc: where it is, from `body`, `query` or `path` on."""

    type: str
    loc: list[str | int]
    msg: str
    input: NotRequired[Any]
    ctx: NotRequired[dict[str, Any]]


class ClientError(TypedDict):
    """The same for clients of OpenAI's API."""

    message: str
    type: str
    code: int | str
    param: NotRequired[str | None]


class Refusal(TypedDict):
    """Why a request was not done: a sentence for a person, or what is wrong with the parts of the request."""

    detail: str | list[Problem]
    error: NotRequired[ClientError]
