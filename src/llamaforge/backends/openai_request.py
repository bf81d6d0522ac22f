"""What is sent to an OpenAI-compatible provider: parameters become the body of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamaforge.backends.base import Message, checked_texts, messages_to_prompt
from llamaforge.exceptions import ParameterError
from llamaforge.parameters import SAMPLING, SHAPE, Parameter, resolve

Json = dict[str, Any]

ENDPOINTS = ("auto", "chat", "completions")

LOAD_PARAMETERS: tuple[Parameter, ...] = (
    Parameter("api_key", "text"),
    Parameter("api_base", "text", ("base_url",)),
    Parameter("organization", "text"),
    Parameter("project", "text"),
    Parameter("azure_endpoint", "text"),
    Parameter("azure_deployment", "text", ("deployment",)),
    Parameter("api_version", "text"),
    Parameter("timeout", "float", low=0.001),
    Parameter("max_retries", "int", low=0),
    Parameter("default_headers", "object", ("headers",)),
    Parameter("default_query", "object"),
    Parameter("endpoint", "text"),
)
_OWN: tuple[Parameter, ...] = (
    Parameter("endpoint", "text"),
    Parameter("extra_body", "object"),
    Parameter("extra_headers", "object"),
)
_OF_OPENAI: tuple[Parameter, ...] = (
    Parameter("best_of", "int", low=1),
    Parameter("echo", "bool"),
    Parameter("logit_bias", "object"),
    Parameter("logprobs", "any"),
    Parameter("metadata", "object"),
    Parameter("modalities", "list"),
    Parameter("n", "int", low=1),
    Parameter("prediction", "object"),
    Parameter("reasoning_effort", "text"),
    Parameter("service_tier", "text"),
    Parameter("store", "bool"),
    Parameter("stream_options", "object"),
    Parameter("suffix", "text"),
    Parameter("top_logprobs", "int", low=0),
    Parameter("user", "text"),
    Parameter("verbosity", "text"),
)
GENERATION_PARAMETERS = (*SAMPLING, *SHAPE, *_OWN, *_OF_OPENAI)
_EMBED_PARAMETERS = (
    Parameter("dimensions", "int", low=1),
    Parameter("user", "text"),
    Parameter("extra_body", "object"),
    Parameter("extra_headers", "object"),
)

# Models of OpenAI that are offered at /completions only, and those that know max_tokens by its newer name only.
_COMPLETION_MODELS = re.compile(r"gpt-3\.5-turbo-instruct|davinci|babbage")
_NEWER_MODELS = re.compile(r"o[1-9](-|$)|gpt-[5-9]")
# Names that compatible servers have for one thing, sent as the caller wrote them.
_AS_WRITTEN = {"repeat_penalty": ("repetition_penalty",), "max_tokens": ("max_completion_tokens",)}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path: below the API's base. chat: whether it goes to the chat endpoint."""

    path: str
    body: Json
    headers: Mapping[str, str]
    chat: bool = True


def checked_endpoint(endpoint: str) -> str:
    """`endpoint` if it is one. Raises ParameterError."""
    if endpoint not in ENDPOINTS:
        raise ParameterError(f"'endpoint' must be one of {', '.join(ENDPOINTS)}, not '{endpoint}'.")
    return endpoint


def is_chat(model: str, endpoint: str) -> bool:
    """Whether requests to `model` go to the chat endpoint, by its name where `endpoint` is "auto"."""
    return endpoint == "chat" or (endpoint == "auto" and not _COMPLETION_MODELS.match(model))


def generation(
    model: str, content: str | Sequence[Message], parameters: Mapping[str, Any] | None, endpoint: str, *, stream: bool
) -> Request:
    """A request for an answer to a prompt or to messages.

    endpoint: that of the model; one among the parameters wins. "auto" is chat, a prompt becoming one user message,
    except for the models of OpenAI that have no chat. Raises ParameterError.
    """
    given = resolve(parameters, GENERATION_PARAMETERS)
    chat = is_chat(model, checked_endpoint(given.pop("endpoint", endpoint)))
    extra, headers = given.pop("extra_body", {}), given.pop("extra_headers", {})
    body: Json = {"model": model}
    if chat:
        body["messages"] = [{"role": "user", "content": content}] if isinstance(content, str) else list(content)
    else:
        body["prompt"] = content if isinstance(content, str) else messages_to_prompt(content)
    body |= _spelled(_shaped(given), parameters or {}, model)
    if stream:
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
    else:
        body.pop("stream_options", None)
    return Request("/chat/completions" if chat else "/completions", {**body, **extra}, headers, chat)


def embeddings(model: str, texts: Sequence[str], parameters: Mapping[str, Any] | None) -> Request:
    """A request for one vector a text. Raises ParameterError."""
    given = resolve(parameters, _EMBED_PARAMETERS)
    extra, headers = given.pop("extra_body", {}), given.pop("extra_headers", {})
    return Request("/embeddings", {"model": model, "input": checked_texts(texts), **given, **extra}, headers)


def _shaped(given: Json) -> Json:
    """A bare JSON schema in the form in which OpenAI takes it; no limit of length is no parameter."""
    if given.get("max_tokens") == -1:
        del given["max_tokens"]
    schema = given.pop("json_schema", None)
    if schema is not None:
        if "response_format" in given:
            raise ParameterError("'json_schema' and 'response_format' say the same; give one of them.")
        named = {"name": "answer", "schema": schema, "strict": True}
        given["response_format"] = {"type": "json_schema", "json_schema": named}
    return given


def _spelled(given: Json, written: Mapping[str, Any], model: str) -> Json:
    for name, spellings in _AS_WRITTEN.items():
        if name in given:
            spelling = next((s for s in spellings if s in written), name)
            if name == "max_tokens" and _NEWER_MODELS.match(model):
                spelling = "max_completion_tokens"
            given[spelling] = given.pop(name)
    return given
