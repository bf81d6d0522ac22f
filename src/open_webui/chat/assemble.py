"""The reducer: a provider's chunks in, an answer's items and the frames that tell them out. No I/O, no clock but a given one.

The answer is a list of items as the wire's `output` has them (reasoning, message, function_call). Text is kept in parts
and joined when somebody asks, so that a long answer costs what its text costs.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from open_webui.chat.wire import Chunk, ToolCallPart, page_usage

Kind = Literal["message", "reasoning", "function_call", "other"]
Frame = dict[str, Any]

# Pairs of tags that local models put around their thinking at the start of an answer.
THINK_TAGS: Final[dict[str, str]] = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<reason>": "</reason>",
    "<reasoning>": "</reasoning>",
    "<thought>": "</thought>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
_LONGEST_TAG: Final = max(map(len, THINK_TAGS))
# A model that calls more tools at once than this is not calling tools.
MAX_CALLS: Final = 128


class Item(msgspec.Struct):
    """One item of the answer while it grows."""

    kind: Kind
    id: str
    parts: list[str]
    status: str = "in_progress"
    tags: tuple[str, str] = ("<think>", "</think>")
    started_at: float = 0.0
    ended_at: float | None = None
    call_id: str = ""
    name: str = ""
    # An item of a continued answer that we only keep: as it was stored.
    stored: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""

    def wire(self) -> dict[str, Any]:
        """The item as the wire's `output` has it."""
        if self.stored is not None:
            return self.stored
        if self.kind == "message":
            content = [{"type": "output_text", "text": self.text}]
            return {"type": "message", "id": self.id, "status": self.status, "role": "assistant", "content": content}
        if self.kind == "function_call":
            call = {"type": "function_call", "id": self.id, "call_id": self.call_id, "name": self.name}
            return call | {"arguments": self.text, "status": self.status}
        out: dict[str, Any] = {
            "type": "reasoning",
            "id": self.id,
            "status": self.status,
            "start_tag": self.tags[0],
            "end_tag": self.tags[1],
            "attributes": {"type": "reasoning_content"},
            "content": [{"type": "output_text", "text": self.text}] if self.parts else [],
            "summary": None,
            "started_at": self.started_at,
        }
        if self.ended_at is not None:
            out |= {"ended_at": self.ended_at, "duration": int(self.ended_at - self.started_at)}
        return out


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class Answer:
    """An answer being assembled. `feed` takes chunks; the frames it returns, applied in order, rebuild the same items.

    now: seconds since the epoch, handed in so that a test can hold the clock. prefix: text that the answer continues.
    """

    def __init__(self, now: Callable[[], float], prefix: list[Item] | None = None) -> None:
        self._now = now
        self.items: list[Item] = prefix or []
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.version = 0
        # Text before it is known whether it begins with a thinking tag; None once that is decided.
        self._undecided: str | None = None if prefix else ""
        self._closing: str | None = None
        # The end of thinking that may be the beginning of its closing tag.
        self._held = ""
        # Places of tool calls among the items, by the provider's index or, without one, by the call's id.
        self._calls: dict[int | str, int] = {}
        for item in self.items:
            item.status = "in_progress" if item is self.items[-1] and item.kind == "message" else item.status

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Takes one chunk and returns the frames that tell what it changed."""
        frames: list[Frame] = []
        if chunk.usage:
            self.usage = page_usage(chunk.usage)
            self.version += 1
        for choice in chunk.choices or ():
            if choice.index:
                # Further choices are other answers; a page shows one.
                continue
            delta = choice.delta or choice.message
            if delta is not None:
                thought = delta.reasoning_content or delta.reasoning or delta.thinking
                if thought:
                    self._append("reasoning", thought, frames)
                if delta.content:
                    self._content(delta.content, frames)
                for part in delta.tool_calls or ():
                    self._tool_call(part, frames)
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
        return frames

    def close(self, status: str = "completed") -> list[Frame]:
        """Ends the answer: everything open gets the status ("completed" or "incomplete")."""
        frames: list[Frame] = []
        if self._undecided:
            text, self._undecided = self._undecided, None
            self._append("message", text, frames)
        if self._closing and self._held:
            text, self._held = self._held, ""
            self._append("reasoning", text, frames)
        for index, item in enumerate(self.items):
            if item.status == "in_progress":
                self._finish(index, item, status, frames)
        self.version += 1
        return frames

    def append_text(self, text: str) -> list[Frame]:
        """Adds to what the answer says words that are not the model's; the frames tell them."""
        frames: list[Frame] = []
        if text:
            self._append("message", text, frames)
        return frames

    def replace_text(self, text: str) -> None:
        """Makes a text what the answer says so far. No frame can tell this."""
        messages = [item for item in self.items if item.kind == "message"]
        if not messages:
            self.append_text(text)
            return
        for item in messages[:-1]:
            item.parts = []
        messages[-1].parts = [text]
        self.version += 1

    def _content(self, text: str, frames: list[Frame]) -> None:
        if self._undecided is None and self._closing is None:
            self._append("message", text, frames)
            return
        if self._undecided is not None:
            text = self._decide(text, frames)
        if text and self._closing is not None:
            text = self._until_closing(text, frames)
        if text:
            self._append("message", text, frames)

    def _decide(self, text: str, frames: list[Frame]) -> str:
        """Holds text back until it is clear whether it opens with a thinking tag. Returns what is left to handle."""
        held = (self._undecided or "") + text
        start = held.lstrip()
        for opening, closing in THINK_TAGS.items():
            if start.startswith(opening):
                self._undecided, self._closing = None, closing
                self._open("reasoning", frames, tags=(opening, closing))
                return start[len(opening) :]
        if len(start) < _LONGEST_TAG and any(opening.startswith(start) for opening in THINK_TAGS):
            self._undecided = held
            return ""
        self._undecided = None
        return held

    def _until_closing(self, text: str, frames: list[Frame]) -> str:
        """Thinking goes on until its closing tag, which may be split over chunks. Returns what comes after it."""
        closing = self._closing or ""
        text = self._held + text
        at = text.find(closing)
        if at >= 0:
            if at:
                self._append("reasoning", text[:at], frames)
            self._held, self._closing = "", None
            return text[at + len(closing) :].lstrip("\n")
        keep = next((n for n in range(min(len(closing) - 1, len(text)), 0, -1) if text.endswith(closing[:n])), 0)
        self._held = text[len(text) - keep :] if keep else ""
        if keep < len(text):
            self._append("reasoning", text[: len(text) - keep], frames)
        return ""

    def _append(self, kind: Literal["message", "reasoning"], text: str, frames: list[Frame]) -> None:
        item = self.items[-1] if self.items else None
        if item is None or item.kind != kind or item.status != "in_progress":
            item = self._open(kind, frames)
        item.parts.append(text)
        self.version += 1
        name = "response.output_text.delta" if kind == "message" else "response.reasoning_text.delta"
        index = len(self.items) - 1
        last = frames[-1] if frames else None
        if last is not None and last["type"] == name and last["item_id"] == item.id:
            last["delta"] += text
        else:
            frames.append({"type": name, "item_id": item.id, "output_index": index, "content_index": 0, "delta": text})

    def _open(
        self,
        kind: Literal["message", "reasoning"],
        frames: list[Frame],
        tags: tuple[str, str] = ("<think>", "</think>"),
    ) -> Item:
        for index, open_item in enumerate(self.items):
            if open_item.status == "in_progress" and open_item.kind == "reasoning":
                self._finish(index, open_item, "completed", frames)
        item = Item(kind, _new_id("msg" if kind == "message" else "r"), [], tags=tags, started_at=self._now())
        self.items.append(item)
        self.version += 1
        if kind == "reasoning":
            # A message is not announced: its first delta creates it.
            frames.append(
                {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item.wire()}
            )
        return item

    def _finish(self, index: int, item: Item, status: str, frames: list[Frame]) -> None:
        item.status = status
        self.version += 1
        if item.kind == "message":
            return
        if item.kind == "reasoning":
            item.ended_at = self._now()
        elif status == "completed":
            frames.append(
                {
                    "type": "response.function_call_arguments.done",
                    "item_id": item.id,
                    "output_index": index,
                    "arguments": item.text,
                }
            )
        frames.append({"type": "response.output_item.done", "output_index": index, "item": item.wire()})

    def _tool_call(self, part: ToolCallPart, frames: list[Frame]) -> None:
        place = self._place_of(part)
        if place is None:
            if sum(item.kind == "function_call" for item in self.items) >= MAX_CALLS:
                return
            place = self._open_call(part, frames)
        item = self.items[place]
        name, arguments = (part.function.name, part.function.arguments) if part.function else (None, None)
        if name and not item.name:
            item.name = name
            self.version += 1
        if arguments:
            item.parts.append(arguments)
            self.version += 1
            frames.append(
                {
                    "type": "response.function_call_arguments.delta",
                    "item_id": item.id,
                    "output_index": place,
                    "delta": arguments,
                }
            )

    def _place_of(self, part: ToolCallPart) -> int | None:
        """The place of the call that a part belongs to; None when it begins a new one.

        Some providers give every call the index 0 and tell calls apart by their ids, some give later parts neither.
        """
        if part.index is not None:
            place = self._calls.get(part.index)
            return None if place is not None and part.id and part.id != self.items[place].call_id else place
        if part.id:
            return self._calls.get(part.id)
        return next(reversed(self._calls.values()), None)

    def _open_call(self, part: ToolCallPart, frames: list[Frame]) -> int:
        call_id = part.id or _new_id("call")
        item = Item("function_call", call_id, [], call_id=call_id, started_at=self._now())
        item.name = (part.function.name if part.function else None) or ""
        key = part.index if part.index is not None else call_id
        # Put last, where a part without index and id looks for its call.
        self._calls.pop(key, None)
        self._calls[key] = len(self.items)
        self.items.append(item)
        self.version += 1
        frames.append({"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item.wire()})
        return len(self.items) - 1

    @property
    def text(self) -> str:
        """What the answer says: the text of its message items."""
        said = [item.text for item in self.items if item.kind == "message"]
        return said[0] if len(said) == 1 else "".join(said)

    def output(self) -> list[dict[str, Any]]:
        """The items as the wire has them."""
        return [item.wire() for item in self.items]

    @property
    def is_empty(self) -> bool:
        return not self.items


_TEXT_KINDS: Final[tuple[Kind, ...]] = ("message", "reasoning")


def items_of(output: Any, content: str) -> list[Item]:
    """The items of a stored answer, so that it can be continued. What is not text is kept as it is."""
    items: list[Item] = []
    for raw in output if isinstance(output, list) else []:
        if not isinstance(raw, dict):
            continue
        # Compared and not looked up: what is stored may be no text, and unhashable.
        kind = next((k for k in _TEXT_KINDS if k == raw.get("type")), None)
        if kind is None:
            items.append(Item("other", str(raw.get("id") or ""), [], status="completed", stored=raw))
            continue
        item = Item(kind, str(raw.get("id") or _new_id("msg")), [_text_of(raw.get("content"))], status="completed")
        if isinstance(raw.get("start_tag"), str) and isinstance(raw.get("end_tag"), str):
            item.tags = (raw["start_tag"], raw["end_tag"])
        item.started_at = _moment(raw.get("started_at")) or 0.0
        item.ended_at = _moment(raw.get("ended_at"))
        items.append(item)
    if content and not any(i.kind == "message" for i in items):
        items.append(Item("message", _new_id("msg"), [content], status="completed"))
    return items


def _text_of(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return "".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def _moment(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else None


def joined(frames: list[Frame]) -> list[Frame]:
    """The same frames with neighbouring deltas of one item joined into one."""
    out: list[Frame] = []
    for frame in frames:
        last = out[-1] if out else None
        if (
            last is not None
            and "delta" in frame
            and last["type"] == frame["type"]
            and last["item_id"] == frame["item_id"]
        ):
            out[-1] = last | {"delta": last["delta"] + frame["delta"]}
        else:
            out.append(frame)
    return out
