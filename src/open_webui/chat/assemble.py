"""The page's renderer: a provider's events in, an answer's items and the frames that tell them out. No I/O.

What continues what is decided by llamaforge.events.parts, as for every wire; here are the items as the wire's `output` has
them (reasoning, message, function_call, function_call_output), their ids, times and states. No clock but a given one.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from llamaforge.events import Done, Event, Image, Notice, Reasoning, Source, Text, ToolCall
from llamaforge.events.parts import DEFAULT_LIMITS, Details, Growing, Limits, Part, PartKind, Reducer
from open_webui.chat.code_tags import KIND as CODE
from open_webui.chat.code_tags import LANGUAGE
from open_webui.chat.thinking import ThinkTags, may_close, unopened
from open_webui.chat.wire import page_usage

Frame = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]
_PREFIXES: Final[dict[PartKind, str]] = {
    "text": "msg", "refusal": "msg", "reasoning": "r", "call": "call", "other": "item",
}  # fmt: skip
_DELTAS: Final[dict[PartKind, str]] = {
    "text": "response.output_text.delta",
    "refusal": "response.output_text.delta",
    "reasoning": "response.reasoning_text.delta",
    "call": "response.function_call_arguments.delta",
}


class Call(msgspec.Struct, frozen=True):
    """A tool that the model wants to be called. arguments: JSON as the model wrote it; it may be anything."""

    call_id: str
    name: str
    arguments: str


class Item(Part):
    """One item of the answer while it grows. place: its index in the output, -1 before it has one."""

    id: str = ""
    place: int = -1
    status: str = "in_progress"
    tags: tuple[str, str] = ("<think>", "</think>")
    started_at: float = 0.0
    ended_at: float | None = None
    # An item that we only keep: as it was stored, or as it was given.
    stored: dict[str, Any] | None = None

    def wire(self) -> dict[str, Any]:
        """The item as the wire's `output` has it."""
        if self.stored is not None:
            return self.stored
        if self.kind == "reasoning":
            return self._reasoning()
        if self.kind == "call":
            call = {"type": "function_call", "id": self.id, "call_id": self.id, "name": self.name}
            return call | {"arguments": self.text, "status": self.status}
        content = [{"type": "output_text", "text": self.text}]
        return {"type": "message", "id": self.id, "status": self.status, "role": "assistant", "content": content}

    def _reasoning(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "reasoning",
            "id": self.id,
            "status": self.status,
            "start_tag": self.tags[0],
            "end_tag": self.tags[1],
            "attributes": {"type": "reasoning_content"},
            "content": [{"type": "output_text", "text": self.text}] if self.body else [],
            "summary": None,
            "started_at": self.started_at,
        }
        if self.signature is not None:
            out["signature"] = str(self.signature)
        if self.details is not None:
            out["provider_details"] = self.details.value()
        if self.ended_at is not None:
            out |= {"ended_at": self.ended_at, "duration": int(self.ended_at - self.started_at)}
        return out

    def added(self) -> dict[str, Any]:
        """The item as it is announced: without its text, which comes in deltas."""
        nothing: dict[str, Any] = {"arguments": ""} if self.kind == "call" else {"content": []}
        return self.wire() | nothing


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _new_item(kind: PartKind) -> Item:
    return Item(kind, Growing())


class Answer:
    """An answer being assembled, over one or more rounds of asking the model. The frames that come out, applied in order,
    rebuild the same items.

    version: grows with every change. is_full: more came than `limits` allow; the rest was not taken, and the answer
    should be ended as cut off.
    """

    def __init__(
        self, now: Callable[[], float], prefix: list[Item] | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """now: seconds since the epoch, handed in so that a test can hold the clock. prefix: items that it continues."""
        self._now = now
        self.items: list[Item] = prefix or []
        self.version = 0
        self._reducer: Reducer[Item] = Reducer(_new_item, limits)
        self._continues = bool(prefix)
        self._tags = ThinkTags(is_over=self._continues)
        self._thinking: Item | None = None
        self._round_began = 0
        self._answered: set[str] = set()
        self._posts: list[tuple[str, dict[str, Any]]] = []
        self._sources = self._images = 0
        for place, item in enumerate(self.items):
            item.place = place
            is_open = item is self.items[-1] and item.kind == "text"
            item.status = "in_progress" if is_open else item.status
            self._reducer.keep(item, is_open=is_open)
        # A call's id is an item's id: no two are the same.
        self._ids = {item.id for item in self.items}

    # ---- what comes in

    def feed(self, events: Iterable[Event]) -> list[Frame]:
        """Takes events and returns the frames that tell what they changed. Other choices than 0 are other answers."""
        frames: list[Frame] = []
        for event in events:
            if isinstance(event, Text):
                if event.choice:
                    continue
                if self._tags.is_over:
                    self._say(event, frames)
                else:
                    for part in self._tags.split(event.text):
                        self._say(part, frames)
            elif not getattr(event, "choice", 0):
                if isinstance(event, ToolCall | Done):
                    self._take_all(self._tags.end_opening(), frames)
                self._take(event, frames)
        return frames

    def begin_round(self) -> list[Frame]:
        """The next events answer another request: what is open is completed, calls are numbered anew, usage is summed."""
        frames = self._end_open("completed")
        self._reducer.begin_round()
        self._tags = ThinkTags()
        self._round_began = len(self.items)
        return frames

    def take_back_round(self) -> None:
        """Drops what the round has said and called so far. No frame can tell this."""
        self._end_open("completed")
        del self.items[self._round_began :]
        self._reducer.begin_round()
        self.version += 1

    def mark(self, call_id: str, status: str) -> str | None:
        """Says of a call how it stands, without a frame, and gives what it said before: who fetches the answer sees it."""
        for item in self._reducer.calls:
            if item.id == call_id:
                before, item.status = item.status, status
                self.version += 1
                return before
        return None

    def append_text(self, text: str) -> list[Frame]:
        """Adds to what the answer says words that are not the model's; the frames tell them."""
        frames: list[Frame] = []
        self._take(Text(text), frames)
        return frames

    def replace_text(self, text: str) -> None:
        """Makes a text what the answer says so far. No frame can tell this."""
        messages = [item for item in self.items if item.kind in {"text", "refusal"}]
        if not messages:
            self.append_text(text)
            return
        for item in messages[:-1]:
            item.body = Growing()
        messages[-1].body = Growing(text)
        self.version += 1

    def add_output(
        self,
        call_id: str,
        output: str | list[dict[str, Any]],
        *,
        status: Status = "completed",
        files: list[dict[str, Any]] | None = None,
        embeds: list[str] | None = None,
    ) -> list[Frame]:
        """A call's result as an item after it. output: a text, or parts as the wire has them (`input_text`)."""
        frames: list[Frame] = []
        for item in self._reducer.calls:
            if item.id == call_id and item.status == "in_progress":
                self._finish(item, "completed", frames)
        parts = [{"type": "input_text", "text": output}] if isinstance(output, str) else output
        stored: dict[str, Any] = {"type": "function_call_output", "id": _new_id("fco"), "call_id": call_id}
        stored |= {"output": parts, "status": status}
        if files:
            stored["files"] = files
        if embeds:
            stored["embeds"] = embeds
        self._answered.add(call_id)
        item = Item("other", Growing(), id=stored["id"], status=status, stored=stored)
        self._place(item)
        frames.append({"type": "response.output_item.added", "output_index": item.place, "item": stored})
        return frames

    def begin_code(self, code: str) -> tuple[str, list[Frame]]:
        """A piece of code that is about to be run, as an item: its id, and the frames that tell it."""
        item_id, at = _new_id("ci"), self._now()
        stored = {"type": CODE, "id": item_id, "status": "in_progress", "lang": LANGUAGE, "code": code, "output": None}
        item = Item("other", Growing(), id=item_id, stored=stored, started_at=at)
        self._place(item)
        return item_id, [{"type": "response.output_item.added", "output_index": item.place, "item": stored}]

    def end_code(self, item_id: str, output: dict[str, Any]) -> list[Frame]:
        """What came of it."""
        (item,) = [item for item in self.items if item.id == item_id]
        assert item.stored is not None
        item.stored = item.stored | {"output": output, "duration": int(self._now() - item.started_at)}
        frames: list[Frame] = []
        self._finish(item, "completed", frames)
        return frames

    def close(self, status: Status = "completed") -> list[Frame]:
        """Ends the answer: everything open gets the status ("completed" or "incomplete")."""
        frames = self._end_open(status)
        self.version += 1
        return frames

    # ---- what it is

    def calls(self) -> list[Call]:
        """The calls of this round that have no output yet, in the order in which they began."""
        waiting = (item for item in self._reducer.calls if item.id not in self._answered)
        return [Call(item.id, item.name, item.text) for item in waiting]

    def take_posts(self) -> list[tuple[str, dict[str, Any]]]:
        """Events of the message (type, data) that came with the answer since this was asked last: sources, files, statuses."""
        posts, self._posts = self._posts, []
        return posts

    @property
    def text(self) -> str:
        """What the answer says: the text of its message items."""
        said = [item.text for item in self.items if item.kind in {"text", "refusal"}]
        return said[0] if len(said) == 1 else "".join(said)

    def output(self) -> list[dict[str, Any]]:
        """The items as the wire has them."""
        return [item.wire() for item in self.items]

    @property
    def usage(self) -> dict[str, Any] | None:
        """Usage of all rounds, as the page shows it."""
        usage = self._reducer.usage
        return page_usage(usage) if usage else None

    @property
    def finish_reason(self) -> str | None:
        """Of the last round."""
        return self._reducer.finish_reason

    @property
    def is_full(self) -> bool:
        return self._reducer.is_full

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was said, shown or asked for."""
        return not (self.items or self._tags.holds or self._reducer.images)

    # ---- inside

    def _say(self, event: Text | Reasoning, frames: list[Frame]) -> None:
        if ">" not in event.text or isinstance(event, Reasoning) or not self._end_unopened(event.text, frames):
            self._take(event, frames)

    def _end_unopened(self, piece: str, frames: list[Frame]) -> bool:
        """Makes what the round has said so far the thinking that it was, if this piece closes it. Whether it did."""
        said = self.items[self._round_began :]
        if self._continues or self._tags.tags is not None or len(said) > 1 or (said and said[0].kind != "text"):
            return False
        if said and not may_close(said[0].body, piece):
            return False
        parts = unopened((said[0].text if said else "") + piece)
        if parts is None:
            return False
        thought, rest = parts
        if said:
            said[0].kind, said[0].body = "reasoning", Growing(thought)
            self._finish(said[0], "completed", frames)
        else:
            self._take(Reasoning(thought), frames)
        if rest:
            self._take(Text(rest), frames)
        return True

    def _take_all(self, events: Sequence[Event], frames: list[Frame]) -> None:
        for event in events:
            self._take(event, frames)

    def _take(self, event: Event, frames: list[Frame]) -> None:
        changed = self._reducer.add(event)
        if changed is None:
            self._note(event)
            return
        item, piece = changed
        self.version += 1
        if item.place < 0:
            self._announce(item, frames)
        if piece:
            _tell(item, piece, frames)

    def _note(self, event: Event) -> None:
        """What belongs to no item: usage, the reason for the end, and what the message gets beside its text."""
        self.version += 1
        if isinstance(event, Source) and len(self._reducer.sources) > self._sources:
            self._sources += 1
            self._posts.append(("source", _page_source(event)))
        elif isinstance(event, Image) and len(self._reducer.images) > self._images:
            self._images += 1
            self._posts.append(("files", {"files": [{"type": "image", "url": event.url}]}))
        elif isinstance(event, Notice):
            self._posts.append(("status", {"description": event.text, "done": True}))

    def _announce(self, item: Item, frames: list[Frame]) -> None:
        if self._thinking is not None and item.kind != "call":
            self._finish(self._thinking, "completed", frames)
        item.started_at = self._now()
        wanted = item.call_id
        item.id = wanted if wanted and wanted not in self._ids else _new_id(_PREFIXES[item.kind])
        self._place(item)
        if item.kind == "reasoning":
            self._thinking = item
            item.tags = self._tags.tags or item.tags
        if item.kind in {"reasoning", "call"}:
            # A message is not announced: its first delta creates it.
            frames.append({"type": "response.output_item.added", "output_index": item.place, "item": item.added()})

    def _place(self, item: Item) -> None:
        item.place = len(self.items)
        self.items.append(item)
        self._ids.add(item.id)
        self.version += 1

    def _end_open(self, status: Status) -> list[Frame]:
        frames: list[Frame] = []
        self._take_all(self._tags.end(), frames)
        for item in self.items[self._round_began :]:
            if item.status == "in_progress":
                self._finish(item, status, frames)
        return frames

    def _finish(self, item: Item, status: Status, frames: list[Frame]) -> None:
        item.status = status
        self.version += 1
        if item.kind == "reasoning":
            item.ended_at = self._now()
            self._thinking = None
        elif item.kind == "call":
            if status == "completed":
                frames.append(
                    {
                        "type": "response.function_call_arguments.done",
                        "item_id": item.id,
                        "output_index": item.place,
                        "arguments": item.text,
                    }
                )
        elif item.stored is not None:
            item.stored = item.stored | {"status": status}
        else:
            return
        frames.append({"type": "response.output_item.done", "output_index": item.place, "item": item.wire()})


def _tell(item: Item, piece: str, frames: list[Frame]) -> None:
    """Adds a delta to the frames, joined to the last one where that is the same item's."""
    last = frames[-1] if frames else None
    name = _DELTAS[item.kind]
    if last is not None and last["type"] == name and last["item_id"] == item.id:
        last["delta"] += piece
        return
    frame: Frame = {"type": name, "item_id": item.id, "output_index": item.place}
    if item.kind != "call":
        frame["content_index"] = 0
    frame["delta"] = piece
    frames.append(frame)


def _page_source(event: Source) -> dict[str, Any]:
    name = event.title or event.url
    return {
        "source": {"name": name, "url": event.url},
        "document": [event.text or name],
        "metadata": [{"source": event.url, "name": name}],
    }


_TEXT_KINDS: Final[dict[str, PartKind]] = {"message": "text", "reasoning": "reasoning"}


def items_of(output: Any, content: str) -> list[Item]:
    """The items of a stored answer, so that it can be continued. What is not text is kept as it is."""
    items: list[Item] = []
    for raw in output if isinstance(output, list) else []:
        if not isinstance(raw, dict):
            continue
        # Compared and not looked up: what is stored may be no text, and unhashable.
        kind = next((kind for name, kind in _TEXT_KINDS.items() if name == raw.get("type")), None)
        if kind is None:
            items.append(Item("other", Growing(), id=str(raw.get("id") or ""), status="completed", stored=raw))
            continue
        text = Growing(_text_of(raw.get("content")))
        item = Item(kind, text, id=str(raw.get("id") or _new_id("msg")), status="completed")
        if isinstance(raw.get("start_tag"), str) and isinstance(raw.get("end_tag"), str):
            item.tags = (raw["start_tag"], raw["end_tag"])
        if isinstance(signature := raw.get("signature"), str):
            item.signature = Growing(signature)
        item.details = _details_of(raw.get("provider_details"))
        item.started_at = _moment(raw.get("started_at")) or 0.0
        item.ended_at = _moment(raw.get("ended_at"))
        items.append(item)
    if content and not any(i.kind == "text" for i in items):
        items.append(Item("text", Growing(content), id=_new_id("msg"), status="completed"))
    return items


def _text_of(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return "".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def _details_of(value: Any) -> Details | None:
    details = None
    for name, objects in value.items() if isinstance(value, dict) else ():
        if isinstance(objects, list) and all(isinstance(given, dict) for given in objects):
            details = details or Details()
            details.add(name, objects)
    return details


def _moment(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else None
