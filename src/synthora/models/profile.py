"""What the families of models and their providers want of a request, where they differ from OpenAI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

Api = Literal["openai", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True)
class Profile:
    """api: whose shape of requests is meant. sends_names: messages go with the name of their author.

    returns_reasoning: the field in which a provider wants back what its model thought, None where it does not.
    schemas: how a pydantic class is asked for: "openai-strict", as "anthropic" or "gemini" take it, "plain" (the schema as
    pydantic makes it, not strict) or "json_object" (JSON of any form: tell the model which). max_tokens: the parameter's
    name, None for what is given. supports_tools: where it is False, a request with tools is refused before it is sent.
    """

    api: Api = "openai"
    sends_names: bool = True
    returns_reasoning: Literal["reasoning_content", "reasoning", "reasoning_details"] | None = None
    schemas: Literal["openai-strict", "anthropic", "gemini", "plain", "json_object"] = "openai-strict"
    max_tokens: Literal["max_tokens", "max_completion_tokens"] | None = None
    supports_tools: bool = True


OPENAI: Final = Profile()
ANTHROPIC: Final = Profile(api="anthropic", sends_names=False, schemas="anthropic")
GEMINI: Final = Profile(api="gemini", sends_names=False, schemas="gemini")
_MISTRAL: Final = Profile(sends_names=False, max_tokens="max_tokens")
# Models of OpenAI's that know the limit by its newer name only.
_NEWER: Final = Profile(max_tokens="max_completion_tokens")
_IS_NEWER: Final = re.compile(r"o[1-9](-|$)|gpt-[5-9]")
# By the provider's domain, wherever it is known which it is.
_DOMAINS: Final = {
    "deepseek.com": Profile(returns_reasoning="reasoning_content", schemas="json_object"),
    "moonshot.ai": Profile(returns_reasoning="reasoning_content"),
    "moonshot.cn": Profile(returns_reasoning="reasoning_content"),
    "z.ai": Profile(returns_reasoning="reasoning_content"),
    "openrouter.ai": Profile(returns_reasoning="reasoning_details"),
    "mistral.ai": _MISTRAL,
    "groq.com": Profile(sends_names=False),
}
# By the model's family, on servers of one's own (vLLM, SGLang, llama.cpp), which check requests as the family's own API.
_FAMILIES: Final = (
    (re.compile(r"(mis|minis|magis|devs|codes|voxs)tral|mixtral|pixtral", re.IGNORECASE), _MISTRAL),
    (
        re.compile(r"deepseek|kimi|glm-[4-9]|qwen3|minimax", re.IGNORECASE),
        Profile(returns_reasoning="reasoning_content"),
    ),
    (re.compile(r"gpt-oss", re.IGNORECASE), Profile(returns_reasoning="reasoning")),
)


def profile_of(model: str, base_url: str | None = None) -> Profile:
    """The profile for a model at an address; OpenAI's where neither is known. base_url: None for OpenAI itself."""
    host = urlsplit(base_url or "https://api.openai.com").hostname or ""
    for domain, profile in _DOMAINS.items():
        if host == domain or host.endswith(f".{domain}"):
            return profile
    if host == "openai.com" or host.endswith(".openai.com"):
        return _NEWER if _IS_NEWER.match(model) else OPENAI
    return next((profile for family, profile in _FAMILIES if family.search(model)), OPENAI)
