"""What a call may cost at most, guessed before it is made: for a budget's reservation."""

from typing import Any, Final

from open_webui.connections.calls import Estimate

# A guess that is high for English and fair for most other languages.
_CHARACTERS_A_TOKEN: Final = 3
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "num_predict")
# Where a request has what the model reads.
_READ: Final = ("messages", "prompt", "suffix", "system", "input", "tools", "response_format", "format")


def estimate_of(payload: dict[str, Any]) -> Estimate:
    """Of a request on OpenAI's wire, or Ollama's."""
    characters = sum(_characters(payload.get(name)) for name in _READ)
    options = payload.get("options")
    places = (payload, options) if isinstance(options, dict) else (payload,)
    limits = [
        value
        for place in places
        for name in _LIMITS
        if isinstance(value := place.get(name), int) and not isinstance(value, bool) and value > 0
    ]
    return Estimate(-(-characters // _CHARACTERS_A_TOKEN), max(limits, default=None))


def _characters(value: Any) -> int:
    """How much text is in a JSON value; names of members and data: URLs aside."""
    count, left = 0, [value]
    while left:
        match left.pop():
            case str() as text if not text.startswith("data:"):
                count += len(text)
            case dict() as members:
                left += members.values()
            case list() | tuple() as items:
                left += items
    return count
