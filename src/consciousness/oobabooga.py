"""A backend on text-generation-webui, by the API that it serves when started with `--api`."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

from consciousness.base import Parameters, TextGenerationBackend, checked_prompt, closed
from consciousness.emotions import is_number
from consciousness.express import Rule, Settings, merged
from consciousness.sources import api_base, connected
from llamaforge import threads
from llamaforge.backends.openai_api import OpenAIBackend
from llamaforge.exceptions import APIError, LlamaForgeError, ModelLoadError, ModelNotFoundError, ParameterError
from llamaforge.parameters import unknown

DEFAULT_URL = "http://127.0.0.1:5000"
_LOAD_SECONDS = 600.0
_NO_NAME = "default"  # the server does not look at it

# What its completions take beside OpenAI's own, by its API documentation (http://127.0.0.1:5000/docs of a running one).
SAMPLERS = frozenset(
    "preset dynatemp_low dynatemp_high dynatemp_exponent smoothing_factor smoothing_curve min_p top_k typical_p "
    "xtc_threshold xtc_probability epsilon_cutoff eta_cutoff tfs top_a top_n_sigma adaptive_target adaptive_decay "
    "dry_multiplier dry_allowed_length dry_base dry_sequence_breakers repetition_penalty encoder_repetition_penalty "
    "no_repeat_ngram_size repetition_penalty_range penalty_alpha guidance_scale mirostat_mode mirostat_tau mirostat_eta "
    "prompt_lookup_num_tokens max_tokens_second do_sample dynamic_temperature temperature_last auto_max_new_tokens "
    "ban_eos_token add_bos_token skip_special_tokens static_cache truncation_length seed sampler_priority "
    "custom_token_bans negative_prompt grammar_string enable_thinking reasoning_effort".split()
)
_OPENAI = frozenset("temperature top_p stop frequency_penalty presence_penalty logit_bias user".split())
_CHAT = frozenset(
    "mode instruction_template instruction_template_str character bot_name name1 name2 context greeting user_bio "
    "chat_template_str chat_instruct_command continue_".split()
)


class OobaboogaBackend(TextGenerationBackend):
    """Text of a text-generation-webui server, drawn under an emotional state.

    A prompt is continued (`endpoint="completions"`) or answered by the model's instruction template ("chat").
    `model_name` is loaded on the server before the first answer, unless it is loaded already; None takes what is.
    A server without that internal API gets the name with each request instead.

    Raises APIConnectionError (a ConnectionError) where the server can't be reached or breaks off, APITimeoutError (a
    TimeoutError) where it is silent too long, ModelLoadError where it can't load the model, and APIError or its kin where
    it refuses; MissingExtraError without the openai SDK.
    """

    def __init__(
        self,
        model_name: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        endpoint: Literal["completions", "chat"] = "completions",
        load_args: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        rule: Rule = merged,
    ) -> None:
        """base_url, api_key: else OOBABOOGA_BASE_URL (else port 5000 of this machine) and OOBABOOGA_API_KEY; a key of the
        environment is not sent to another server than the environment's.
        load_args: of the server's loader, such as {"ctx_size": 8192}.
        timeout: seconds without a byte.
        rule: how the state shapes the settings.
        Raises ParameterError.
        """
        if endpoint not in {"completions", "chat"}:
            raise ParameterError(f"'endpoint' must be 'completions' or 'chat', not {endpoint!r}.")
        url = base_url or os.environ.get("OOBABOOGA_BASE_URL") or DEFAULT_URL
        if api_key is None and base_url in {None, os.environ.get("OOBABOOGA_BASE_URL")}:
            api_key = os.environ.get("OOBABOOGA_API_KEY")
        self.model_name = _checked_name(model_name)
        self.current_model: str | None = None
        self.emotional_modifiers = MappingProxyType({})
        if not is_number(timeout) or timeout <= 0:
            raise ParameterError("'timeout' must be a positive number of seconds.")
        self.base_url = api_base(url)
        self._key = api_key
        self._timeout = timeout
        self._backend: OpenAIBackend | None = None
        self._endpoint = endpoint
        self._load_args = dict(load_args or {})
        self._rule = rule
        self._has_loader = True
        # A lock belongs to the event loop in which it was waited for.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    # ---- answers

    async def generate(self, prompt: str, model: str | None = None, **kwargs: Any) -> str:
        """An answer to `prompt` by this model, or by the backend's own. kwargs: sent as they are, the state left aside."""
        return await self._complete(prompt, model, dict(kwargs))

    async def generate_text(self, prompt: str, parameters: Parameters | None = None) -> str:
        return await self._complete(prompt, None, self.settings(parameters))

    async def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> AsyncIterator[str]:
        request = self._request(prompt, self.settings(parameters))
        request["extra_body"] |= await self._ready(None)
        async with closed((await self._server()).agenerate_stream(prompt, request)) as pieces:
            async for piece in pieces:
                yield piece

    def settings(self, parameters: Parameters | None = None) -> Settings:
        """All that is sent of sampling: the parameters over the documented defaults, changed by the state."""
        return self._rule(parameters, self.emotional_modifiers)

    # ---- the server's model

    async def load_model(self, name: str) -> None:
        """Load `name` in the place of the server's model. Raises ModelLoadError, with the nearest names it has."""
        name = _checked_name(name) or ""
        try:
            body = {"model_name": name} | ({"args": self._load_args} if self._load_args else {})
            patience = max(self._timeout, _LOAD_SECONDS)
            await (await self._server()).arequest("post", "/internal/model/load", body, timeout=patience)
            loaded = await self._loaded()
        except (APIError, ModelNotFoundError) as error:
            raise ModelLoadError(f"The server could not load '{name}': {error}{await self._hint(name)}") from error
        if loaded != name:
            raise ModelLoadError(f"The server could not load '{name}'.{await self._hint(name)}")
        self.current_model = name

    async def list_models(self) -> list[str]:
        """The names of the models that the server can load."""
        answer = await (await self._server()).arequest("get", "/internal/model/list")
        found = answer.get("model_names") if isinstance(answer, Mapping) else None
        return [str(name) for name in found] if isinstance(found, list) else []

    async def _server(self) -> OpenAIBackend:
        if self._backend is None:
            name = self.model_name or _NO_NAME
            self._backend = await threads.call(connected, self.base_url, self._key, name, self._timeout)
        return self._backend

    async def _ready(self, model: str | None) -> Settings:
        """Makes the wanted model the server's, and returns what a request must say about it."""
        name = _checked_name(model) or self.model_name
        if name is None:
            return {}
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if self._has_loader and name != self.current_model:
                try:
                    present = await self._loaded()
                except ModelNotFoundError:  # 404: another server that speaks OpenAI's API
                    self._has_loader = False
                else:
                    if present != name:
                        await self.load_model(name)
                    self.current_model = name
        return {} if self._has_loader else {"model": name}

    async def _loaded(self) -> str | None:
        answer = await (await self._server()).arequest("get", "/internal/model/info")
        name = answer.get("model_name") if isinstance(answer, Mapping) else None
        return name if isinstance(name, str) and name != "None" else None

    async def _hint(self, name: str) -> str:
        try:
            known = [other for other in await self.list_models() if other != name]
        except (LlamaForgeError, OSError):
            return ""
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            return f" Did you mean {' or '.join(repr(other) for other in near)}?"
        return f" It has: {', '.join(known[:20])}." if known else ""

    # ---- requests

    async def _complete(self, prompt: str, model: str | None, settings: Settings) -> str:
        request = self._request(prompt, settings)
        request["extra_body"] |= await self._ready(model)
        return await (await self._server()).agenerate(prompt, request)

    def _request(self, prompt: str, settings: Settings) -> Settings:
        checked_prompt(prompt)
        mode = {"mode": "instruct"} if self._endpoint == "chat" else {}
        return {"endpoint": self._endpoint, "extra_body": mode | self._body(settings)}

    def _body(self, settings: Settings) -> Settings:
        """The settings under the server's names. Raises ParameterError for those that it does not have."""
        settings = dict(settings)
        extra = settings.pop("extra_body", {})
        if not isinstance(extra, Mapping):
            raise ParameterError("'extra_body' must be an object.")
        known = SAMPLERS | _OPENAI | (_CHAT if self._endpoint == "chat" else frozenset())
        longest = settings.pop("max_new_tokens", settings.pop("max_tokens", None))
        for name in settings:
            if name not in known:
                raise ParameterError(unknown(name, known))
        if longest == -1:
            settings["auto_max_new_tokens"] = True
        elif longest is not None:
            settings["max_tokens"] = longest
        return {**settings, **extra}


def _checked_name(name: object) -> str | None:
    if name is None or (isinstance(name, str) and name.strip()):
        return name
    raise ParameterError("The name of a model must be text that is not blank.")
