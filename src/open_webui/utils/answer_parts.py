"""What an answer is, put together from what was written of it while it grew. Pure; no I/O.

The journal writes parts: each holds what is new since the one before. `rebuild` makes the message of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

Frame = dict[str, Any]
Item = dict[str, Any]


class Part(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is new of a running answer. version: the answer's, after it.

    body and output: the whole of them, where there is nothing to build on; what came before such a part is void. frames:
    what the reducer gave since, as pages are told. set, append: fields of the body, and entries of lists in it.
    """

    version: int
    body: dict[str, Any] | None = None
    output: list[Item] | None = None
    frames: list[Frame] = []
    set: dict[str, Any] = {}
    append: dict[str, list[Any]] = {}


class Rebuilt(msgspec.Struct, frozen=True):
    """A message as parts tell it. body: all fields beside the columns, `output` included."""

    version: int
    content: str
    body: dict[str, Any]


def joined(frames: Iterable[Frame]) -> list[Frame]:
    """The same frames with neighbouring deltas of one item joined into one, at a cost that grows with their length."""
    out: list[Frame] = []
    texts: list[str] = []
    for frame in frames:
        last = out[-1] if out else None
        if (
            last is not None
            and "delta" in frame
            and last["type"] == frame["type"]
            and last["item_id"] == frame["item_id"]
        ):
            texts.append(frame["delta"])
            continue
        if len(texts) > 1 and last is not None:
            out[-1] = last | {"delta": "".join(texts)}
        texts = [frame["delta"]] if "delta" in frame else []
        out.append(frame)
    if len(texts) > 1:
        out[-1] = out[-1] | {"delta": "".join(texts)}
    return out


def apply_frames(items: Sequence[Item], frames: Iterable[Frame]) -> list[Item]:
    """The items as frames leave them, which is what a page makes of them. Frames of other types change nothing."""
    out = list(items)
    for frame in joined(frames):
        kind, at = frame.get("type"), frame.get("output_index")
        if not isinstance(at, int) or at > len(out):
            continue
        if kind in {"response.output_item.added", "response.output_item.done"}:
            out[at : at + 1] = [frame["item"]]
        elif kind == "response.output_text.delta":
            # A message is not announced: its first delta makes it.
            item = out[at] if at < len(out) else _message(frame["item_id"])
            out[at : at + 1] = [_with_text(item, frame["delta"])]
        elif at < len(out) and kind == "response.reasoning_text.delta":
            out[at] = _with_text(out[at], frame["delta"])
        elif at < len(out) and kind == "response.function_call_arguments.delta":
            out[at] = out[at] | {"arguments": out[at].get("arguments", "") + frame["delta"]}
        elif at < len(out) and kind == "response.function_call_arguments.done":
            out[at] = out[at] | {"arguments": frame["arguments"]}
    return out


def _message(item_id: str) -> Item:
    return {"type": "message", "id": item_id, "status": "in_progress", "role": "assistant", "content": []}


def _with_text(item: Item, delta: str) -> Item:
    return item | {"content": [{"type": "output_text", "text": _text(item) + delta}]}


def _text(item: Item) -> str:
    content = item.get("content")
    pieces = content if isinstance(content, list) else []
    return "".join(p["text"] for p in pieces if isinstance(p, dict) and isinstance(p.get("text"), str))


def rebuild(parts: Sequence[Part]) -> Rebuilt | None:
    """The message that parts, in order, tell of; None when they have no beginning."""
    begin = next((k for k in reversed(range(len(parts))) if parts[k].body is not None), None)
    if begin is None:
        return None
    body = dict(parts[begin].body or {})
    for part in parts[begin:]:
        for name, entries in part.append.items():
            earlier = body.get(name)
            body[name] = [*(earlier if isinstance(earlier, list) else []), *entries]
        body |= part.set
    frames = [frame for part in parts[begin:] for frame in part.frames]
    output = apply_frames(parts[begin].output or [], frames)
    body["output"] = output
    version = parts[-1].version
    body["meta"] = {**(body.get("meta") or {}), "sequence_number": version}
    return Rebuilt(version, "".join(_text(item) for item in output if item.get("type") == "message"), body)


def ended(body: dict[str, Any]) -> dict[str, Any]:
    """The body of an answer that nobody writes any more: what was open is incomplete."""
    output = body.get("output")
    items = output if isinstance(output, list) else []
    closed = [
        i | {"status": "incomplete"} if isinstance(i, dict) and i.get("status") == "in_progress" else i for i in items
    ]
    meta = {k: v for k, v in (body.get("meta") or {}).items() if k != "sequence_number"}
    return body | ({"output": closed} if closed else {}) | {"meta": meta}
