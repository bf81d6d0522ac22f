"""Answers held to a form: a JSON schema, a grammar, or a call of a tool. llguidance says which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from llamaforge.backends.huggingface.options import Form
from llamaforge.backends.huggingface.tool_calls import CLOSE, OPEN
from llamaforge.exceptions import MissingExtraError, ParameterError, UnsupportedError
from llamaforge.formats.schema import checked_schema, rule


class Vocabulary:
    """A model's tokens as llguidance knows them. Making one takes up to a second."""

    def __init__(self, tokenizer: Tokenizer, ends: Collection[int]) -> None:
        """Raises UnsupportedError where answers of this model can't be held, MissingExtraError without llguidance."""
        try:
            import llguidance  # noqa: PLC0415 -- loaded with the first answer that needs it
        except ImportError as error:
            raise MissingExtraError("transformers", "llguidance") from error
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        known = sorted(token for token in ends if token < size)
        if not known:
            raise UnsupportedError("The model has no token that ends an answer, so that it can't be held to a form.")
        try:
            self._tokens = llguidance.LLTokenizer(tokenizer.to_str(), eos_token=known)
        except ValueError as error:
            raise UnsupportedError(f"Answers of this model can't be held to a form: {error}") from error
        self._numbers = {mark: tokenizer.token_to_id(mark) for mark in (OPEN, CLOSE)}

    def mask(self, form: Form) -> Mask:
        """For one answer. Raises ParameterError where the form can't be held."""
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 -- as above

        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._tokens, self._grammar(form), log_level=0, limits=limits)
        if matcher.is_error():
            raise ParameterError(f"The answer can't be held to that form: {_reason(matcher.get_error())}")
        return Mask(matcher)

    def _grammar(self, form: Form) -> str:
        """The form in llguidance's notation, which is Lark's."""
        if form.grammar is not None:
            return _of_gbnf(form.grammar)
        starts, rules = [], []
        if form.schema is not None:
            starts.append("value")
            rules.append(f"value: {rule(form.schema)}")
        if form.tools:
            starts.append('call ("\\n" call)*' if form.many else "call")
            rules.append(f'call: {self._mark(OPEN)} "\\n" request "\\n" {self._mark(CLOSE)}')
            rules.append(f"request: {rule({'anyOf': [_call_of(tool) for tool in form.tools]})}")
        return "\n".join(["%llguidance {}", f"start: {' | '.join(starts)}", *rules])

    def _mark(self, text: str) -> str:
        """A mark in a grammar: by itself where it is a token that llguidance takes for a special one, else as text."""
        number = self._numbers[text]
        return text if number is not None and self._tokens.is_special_token(number) else json.dumps(text)


class Mask:
    """Holds one answer to its form. Not for several threads at once.

    failure: why it can't go on, "" while it can. It never raises, since in a batch that would end the others' answers.
    """

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher
        self.failure = ""

    def allowed(self, scores: torch.Tensor) -> torch.Tensor:
        """Which tokens may come next, as booleans beside `scores`, of shape [vocabulary]."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = torch.zeros(len(scores), dtype=torch.bool)
        known = min(len(bits) * 8, len(scores))
        allowed[:known] = torch.from_numpy(np.unpackbits(bits, count=known, bitorder="little")).bool()
        self._check()
        return allowed.to(scores.device)

    def take(self, token: int) -> None:
        """The answer goes on with `token`."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error() and not self.failure:
            self.failure = f"The answer could not be held to its form: {_reason(self._matcher.get_error())}"


def _call_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call of `tool` as models write it."""
    function = tool["function"]
    try:
        arguments = checked_schema(function.get("parameters") or {"type": "object"})
    except ParameterError as error:
        raise ParameterError(f"A call of the tool '{function['name']}' can't be forced. {error}") from error
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _of_gbnf(grammar: str) -> str:
    if grammar.startswith("%llguidance"):
        return grammar
    from llguidance.gbnf_to_lark import gbnf_to_lark  # noqa: PLC0415 -- as above

    try:
        lark: str = gbnf_to_lark(grammar)
    except Exception as error:  # its parser raises the base class itself
        raise ParameterError(f"The grammar can't be read: {_reason(str(error))}") from error
    return lark


def _reason(message: str) -> str:
    """The first paragraph of a message, which goes on with the grammar itself."""
    return " ".join(message.partition("\n\n")[0].partition("\n   1 |")[0].split())[:500]
