"""Usage as the page shows it."""

from typing import Any


def page_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage with the names of both wires, as the page shows it."""
    out = dict(usage)
    for ours, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        if ours not in out and isinstance(out.get(theirs), int):
            out[ours] = out[theirs]
        elif theirs not in out and isinstance(out.get(ours), int):
            out[theirs] = out[ours]
    return out
