"""Side questions to a model (titles, tags, follow-ups): which model is asked, and one call without a stream."""

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from open_webui.chat import prompts
from open_webui.config import Config
from open_webui.connections.base import Connection, Models, Target
from open_webui.connections.gate import Gate
from open_webui.errors import ProviderError, Unavailable
from open_webui.principal import Principal
from open_webui.utils.loading import load

if TYPE_CHECKING:
    from synthora.messages import BaseMessage

# A side question is given up after so many seconds, and by a model of this machine after so many tokens.
SECONDS: Final = 60.0
LOCAL_TOKENS: Final = 400
# Of other models, thinking counted.
TOKENS: Final = 2_000
# How often one begins anew that had to give way to a person.
_TURNS: Final = 20
# A provider that can't hold an answer to a schema refuses the request with one of these.
_REFUSALS: Final = frozenset({400, 422, 501})
# The models that did.
_shapeless: Final[weakref.WeakKeyDictionary[Connection, set[str]]] = weakref.WeakKeyDictionary()
_BACKEND: Final = "open_webui.chat.backend"


class Shape(Protocol):
    """Makes OpenAI's `response_format`. bounded: with bounds, which the engines of this machine hold."""

    def __call__(self, *, bounded: bool) -> dict[str, Any]: ...


def text_under(key: str, *, longest: int, most: int | None = None) -> Shape:
    """A text under a key, or with `most` a list of texts."""

    def shape(*, bounded: bool) -> dict[str, Any]:
        schema = prompts.shape(key, most=most, longest=longest, bounded=bounded)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}

    return shape


def task_model(config: Config, catalogue: Models, target: Target) -> Target:
    """The model for side questions about an answer by `target`: the configured one for its kind, else itself."""
    key = "task.model.external" if target.entry.kind == "openai" else "task.model.default"
    wanted = config[key]
    found = catalogue.find(wanted) if wanted else None
    return found or target


async def ask(
    gate: Gate,
    principal: Principal,
    target: Target,
    prompt: str,
    *,
    fields: Mapping[str, Any] | None = None,
    attempts: int = 1,
    patient: bool = False,
) -> "BaseMessage":
    """One question; the answer, with the provider's JSON as `original_response`. Raises ProviderError, Unavailable.

    attempts: how often it is asked, where the provider is overloaded or can't be reached. patient: nobody waits for it;
    at a model of this machine it waits for others, and Unavailable ends it when one of them has to wait.
    """
    await load(_BACKEND)
    from open_webui.chat.backend import Asking, ConnectionBackend  # noqa: PLC0415 -- not needed to start
    from synthora.messages import user  # noqa: PLC0415

    backend = Asking(ConnectionBackend(gate, principal, target, fields, patient=patient), attempts=attempts)
    answer: BaseMessage = await backend.async_run(user(prompt), stream=False)
    return answer


async def ask_shaped(
    gate: Gate,
    principal: Principal,
    target: Target,
    prompt: str,
    shape: Shape,
    *,
    fields: Mapping[str, Any] | None = None,
    attempts: int = 1,
) -> str:
    """The text of the answer to a question that nobody waits for, held to a JSON schema wherever the model can be.

    A model of this machine serves people first: the question waits for them, gives way to them, and begins anew. Raises
    ProviderError, Unavailable; TimeoutError after SECONDS.
    """
    is_local = target.entry.kind == "local"
    bounds: dict[str, Any] = {"max_tokens": LOCAL_TOKENS if is_local else TOKENS}
    if is_local:
        bounds["chat_template_kwargs"] = {"enable_thinking": False}
    given = bounds | dict(fields or {})
    shaped = given | {"response_format": shape(bounded=is_local)}
    refused = _shapeless.setdefault(target.connection, set())
    async with asyncio.timeout(SECONDS):
        for turn in range(_TURNS):
            sent = given if target.entry.remote_id in refused else shaped
            try:
                answer = await ask(gate, principal, target, prompt, fields=sent, attempts=attempts, patient=True)
                return answer.content or ""
            except ProviderError as error:
                if sent is given or error.status not in _REFUSALS:
                    raise
                refused.add(target.entry.remote_id)
            except Unavailable:
                if not is_local or turn == _TURNS - 1:
                    raise
    raise Unavailable("The model was wanted by others all the time.")


def conversation(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Role and text of messages that people or models wrote."""
    return [
        {"role": m.get("role"), "content": prompts.plain_text(m.get("content"))}
        for m in messages
        if m.get("role") in ("user", "assistant")
    ]
