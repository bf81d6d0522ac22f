"""A running answer, the one owner of its message: whatever changes the message while it is written goes to it.

The provider's frames, events that tools post, edits, the mood: each is applied to the answer or its body here, told to
those who watch, and stored with the next checkpoint of the journal.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from open_webui.chat.assemble import Answer, Frame
from open_webui.chat.context.stage import PictureReader
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.turn import Turn
from open_webui.models.jobs import Job
from open_webui.utils.answer_parts import Part, joined

# With more frames than this since the last part they are joined, or a database that is away for long would fill the memory.
MANY_FRAMES: Final = 4_096
# Seconds that a tool's call waits for its record.
KEPT_SECONDS: Final = 10.0


class AnswerTaken(Exception):
    """Another process has ended this answer, since it took this one for dead."""


class Store(Protocol):
    """What a running answer needs of the journal."""

    def store_end(self, running: "RunningAnswer", extra: dict[str, Any] | None) -> "asyncio.Future[None]":
        """Has the answer written as it is now, and done. Tells when that is committed, or why it can't be."""
        ...

    def store_now(self) -> "asyncio.Future[None]":
        """Has all written that is new of running answers. Tells when that is committed, or why it can't be."""
        ...


class RunningAnswer:
    """One answer while it is written.

    turn: what was asked. answer: the reducer. sender: to those who watch. body: the message's other fields; to be read freely,
    and changed by `set` and `append` only. title: the chat's. pictures: reads stored ones, and stores new ones, for who
    asks.
    """

    def __init__(
        self,
        *,
        turn: Turn,
        answer: Answer,
        sender: AnswerSender,
        store: Store,
        body: dict[str, Any],
        title: str = "",
        pictures: PictureReader | None = None,
    ) -> None:
        self.turn = turn
        self.answer = answer
        self.sender = sender
        self.title = title
        self.pictures = pictures
        self.body = dict(body)
        self._store = store
        # Whether its model has said all it had to say.
        self.is_complete = False
        # Gives the job that does what follows the answer, should this process end.
        self.followed_by: Callable[[], Job | None] = _nothing
        # Reads what the chat is called by now.
        self.read_title: Callable[[], Awaitable[str | None]] | None = None
        self._end: asyncio.Future[None] | None = None
        # Calls of tools that wait for the person: what they ask, and where the answer comes.
        self._questions: dict[str, tuple[str, asyncio.Future[Any]]] = {}
        # What is new since the last part that the journal took; None: it takes the whole.
        self._new: Part | None = None
        self._parts = 0
        self._taken = -1
        self._usage_taken: dict[str, Any] | None = None

    @contextmanager
    def asking(self, call_id: str, kind: str) -> "Iterator[asyncio.Future[Any]]":
        """While a call of a tool waits for its person: the answer says so to who fetches it, and may be given by `resolve`."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        before = self.answer.mark(call_id, "pending")
        self._questions[call_id] = kind, answer
        try:
            yield answer
        finally:
            del self._questions[call_id]
            answer.cancel()
            if before is not None:
                self.answer.mark(call_id, before)

    def resolve(self, user_id: str, call_id: str, given: Mapping[str, Any]) -> bool:
        """Answers a call that waits, as the wire's `action` says. Whether there is one that waits for this person."""
        kind, answer = self._questions.get(call_id, ("", None))
        if answer is None or answer.done() or user_id != self.turn.principal.id:
            return False
        if kind == "confirmation":
            answer.set_result(given["action"] == "approve")
        elif given["action"] == "answer" and not given.get("timed_out"):
            answer.set_result({"status": "answered", "answers": given.get("answers")})
        else:
            answer.set_result({"status": "cancelled", "answers": {}})
        return True

    @property
    def has_ended(self) -> bool:
        """Whether its end is on the way to the database: from then on it takes no changes."""
        return self._end is not None

    @property
    def is_stored(self) -> bool:
        """Whether its end is in the database."""
        end = self._end
        return end is not None and end.done() and not end.cancelled() and end.exception() is None

    def say(self, frames: list[Frame]) -> None:
        """Frames that the reducer gave go to those who watch, and into the journal."""
        self.sender.add(frames, self.answer.version)
        if self._new is not None:
            self._new.frames.extend(frames)
            if len(self._new.frames) > MANY_FRAMES:
                self._new.frames = joined(self._new.frames)

    def set(self, **fields: Any) -> None:
        """Sets fields of the message beside its text."""
        self.body |= fields
        self.answer.version += 1
        if self._new is not None:
            self._new.set.update(fields)

    def append(self, name: str, entries: list[Any]) -> None:
        """Adds to a list of the message."""
        stored = self.body.get(name)
        whole = self.body[name] = [*(stored if isinstance(stored, list) else []), *entries]
        self.answer.version += 1
        if self._new is None:
            return
        if name in self._new.set or not isinstance(stored, list):
            self._new.set[name] = whole
        else:
            self._new.append.setdefault(name, []).extend(entries)

    async def tell(self, kind: str, data: Any = None) -> None:
        """An event goes to those who watch, behind what they are still to hear."""
        await self.sender.ordered(kind, data)

    async def append_text(self, text: str) -> None:
        """Adds to what the answer says. Watchers are told by a delta, as of the model's own words."""
        self.say(self.answer.append_text(text))

    async def replace_text(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Makes a text what the answer says so far, and tells it as this event; the model's next words follow it."""
        self.answer.replace_text(text)
        self.begin_anew()
        await self.sender.ordered(kind, data)

    def take_back_round(self) -> None:
        """Drops what the model's last round said. Who watches learns it at the end, when the whole answer is told."""
        self.answer.take_back_round()
        self.begin_anew()

    async def kept(self) -> None:
        """Waits until all that it says by now is stored; a while only, where the database is away."""
        if self.turn.row is not None:
            await asyncio.wait({self._store.store_now()}, timeout=KEPT_SECONDS)

    async def titled(self) -> str:
        """What the chat is called by now: somebody may have named it while the answer was written."""
        if self.read_title is not None:
            self.title = await self.read_title() or self.title
        return self.title

    async def over(self) -> None:
        """Waits, once it has ended, until the end is stored or can't be."""
        if self._end is not None:
            await asyncio.wait({self._end})

    async def finish(self, extra: dict[str, Any] | None = None) -> None:
        """Stores the end of the answer; returns when it is committed. extra: further fields of the message.

        The first end counts: a second call only waits for it. Raises what makes it impossible to store; while the
        database is away it waits. Raises AnswerTaken where another process has ended it.
        """
        if self._end is None:
            self._end = self._store.store_end(self, extra)
        await asyncio.shield(self._end)

    def give_up(self) -> None:
        """Another process has ended it: it takes no changes any more, and whoever ends it here gets AnswerTaken."""
        if self._end is None:
            self._end = asyncio.get_running_loop().create_future()
            self._end.set_exception(AnswerTaken())
            self._end.exception()

    def begin_anew(self) -> None:
        """Has the next part hold the whole answer: what was taken before is void."""
        self._new = None

    def lose_part(self) -> None:
        """The part that was taken last could not be stored: the next one holds the whole answer, soon."""
        self._new, self._taken = None, -1

    def take_part(self) -> tuple[int, Part] | None:
        """What is new since the last time, with its place in the sequence of parts; None when nothing is."""
        version = self.answer.version
        if version == self._taken:
            return None
        part = self._new
        if part is None:
            part = Part(version=version, body=dict(self.body), output=self.answer.output())
        else:
            part.version = version
            part.frames = joined(part.frames)
        if self.answer.usage != self._usage_taken:
            self._usage_taken = part.set["usage"] = self.answer.usage
        self._new = Part(version=version)
        self._taken = version
        self._parts += 1
        return self._parts, part

    def snapshot(self, *, done: bool, extra: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Content and body of the message as they are now. `meta.sequence_number` is the version of one not done."""
        body = dict(self.body)
        body["output"] = self.answer.output()
        if self.answer.usage is not None:
            body["usage"] = self.answer.usage
        if extra:
            body |= extra
        meta = dict(body.get("meta") or {})
        if done:
            meta.pop("sequence_number", None)
        else:
            meta["sequence_number"] = self.answer.version
        body["meta"] = meta
        return self.answer.text, body


def _nothing() -> None:
    return None
