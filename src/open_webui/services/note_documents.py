"""Documents of notes: what several hands write at once.

A document is the updates in `note_update`, and nothing else: no process holds one. An update is stored before it is passed
on, and updates may be applied in any order, so it is all the same which process stored which. The first update is made of
the text that the note has, by the server, once. What pages say the text is is never taken for it.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, NotFound, TooLarge
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Every, Kind, Nothing, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import notes, versions
from open_webui.models.notes import KIND, Note, Updates
from open_webui.principal import Principal
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.utils.threads import in_thread_if_large

log = get_logger(__name__)
# Characters of a text, and its blocks, lines and cells of tables.
MAX_TEXT: Final = 1_000_000
MAX_BLOCKS: Final = 50_000
# Bytes of a document with all that was ever deleted in it, and of what one update may add to it. It goes out as a list of
# numbers, each of which is four bytes with its comma, in one message.
MAX_DOCUMENT: Final = 3 * 2**20
MAX_UPDATE: Final = 2 * 2**20
# From so many updates on they are made one; where the document is large, from fewer on.
MANY: Final = 200
FEW: Final = 8
# Seconds after an update until the note's text is made anew; what comes meanwhile is in it.
SETTLE_SECONDS: Final = 1.0
_ASKED_SECONDS: Final = 0.5
# Seconds after the start until texts are made that an ended process has left.
FIRST_SECONDS = 2.0
# Nanoseconds of writing that one version stands for.
VERSION_EVERY: Final = 300 * 10**9
_TRIES: Final = 4
LONG: Final = f"A note may have {MAX_TEXT:,} characters at most."
MANY_BLOCKS: Final = f"A note may have {MAX_BLOCKS:,} paragraphs, lines and cells of tables at most."
NO_UPDATE: Final = "This is no update of a document."
FULL: Final = (
    "This note has become too large, with all that was deleted in it. Copy its text into a new note, and go on there."
)
# What is done with so many bytes is done in a thread, in the units of `in_thread_if_large`.
_BYTES_A_UNIT: Final = 100


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    jobs: Queue
    note_jobs: "NoteJobs"


class Posted(msgspec.Struct, frozen=True):
    """A text that somebody sent. tree: it as the editor's tree. columns: as a note without a document keeps it."""

    tree: dict[str, Any]
    columns: dict[str, Any]


def size_of(value: Any) -> int:
    return len(msgspec.json.encode(value))


async def read_posted(content: Any) -> Posted:
    """A text of which a client sent one form or several. Raises BadRequest."""
    given = content if isinstance(content, dict) else {}
    md, html = given.get("md"), given.get("html")
    if any(isinstance(one, str) and len(one) > 3 * MAX_TEXT for one in (md, html)):
        raise BadRequest(LONG)
    if isinstance(md, str) and len(md) > MAX_TEXT:
        raise BadRequest(LONG)
    size = size_of(given)
    return await in_thread_if_large(size // _BYTES_A_UNIT, _read_posted, given)


def _read_posted(given: Mapping[str, Any]) -> Posted:
    """Raises BadRequest."""
    # Not needed to start.
    from open_webui.notes import markdown, nodes, writing  # noqa: PLC0415

    json, md, html = (given.get(name) for name in ("json", "md", "html"))
    md = md.replace("\x00", "") if isinstance(md, str) else ""
    if nodes.is_document(json):
        tree = nodes.normal(json)
    elif md or not isinstance(html, str) or not html:
        tree = markdown.parse(_bounded(md))
    else:
        from open_webui.retrieval.parsing.html import parse_html  # noqa: PLC0415

        tree = markdown.parse(_bounded(parse_html(html).text))
    if nodes.count_blocks(tree) > MAX_BLOCKS:
        raise BadRequest(MANY_BLOCKS)
    md = md or writing.to_markdown(tree)
    if len(md) > MAX_TEXT:
        raise BadRequest(LONG)
    # Markup of others is never shown: what pages get is made of the tree.
    shown = writing.to_html(tree) if isinstance(html, str) and html else html if html is None else ""
    return Posted(tree, {"md": md, "content": {"json": tree if nodes.is_document(json) else None, "html": shown}})


def _bounded(md: str) -> str:
    """The same. Raises BadRequest for what is too long, also with spaces in the place of tabs."""
    if len(md) > MAX_TEXT or len(md) + 3 * md.count("\t") > 2 * MAX_TEXT:
        raise BadRequest(LONG)
    return md


def _tree_of(row: Note) -> dict[str, Any]:
    try:
        return _read_posted(row.content | {"md": row.md}).tree
    except BadRequest:
        # It was stored before there were such bounds: it opens all the same, with its words and without its form.
        from open_webui.notes import nodes  # noqa: PLC0415 - not needed to start

        return nodes.document([nodes.paragraph(nodes.text(row.md.replace("\x00", "") or " "))])


# Opening


async def state_of(deps: Deps, note_id: str) -> bytes:
    """All of a note's document. It is made of the note's text where there is none yet. Raises NotFound."""
    from open_webui.notes import document  # noqa: PLC0415 - not needed to start

    async with deps.database.read() as connection:
        row = await notes.repository.get(connection, note_id)
        found = await notes.updates_of(connection, note_id)
    if row is None:
        raise NotFound
    if not row.has_document:
        await begin(deps, note_id)
        async with deps.database.read() as connection:
            found = await notes.updates_of(connection, note_id)
    return await in_thread_if_large(_units(found), document.merged, found.data)


async def new_in(deps: Deps, note_id: str, update: bytes) -> bytes | None:
    """What an update says that is not known yet; None for nothing. Raises BadRequest."""
    from open_webui.notes import checking, document  # noqa: PLC0415 - not needed to start

    async with deps.database.read() as connection:
        found = await notes.updates_of(connection, note_id)
    try:
        size = _units(found) + len(update) // _BYTES_A_UNIT
        return await in_thread_if_large(size, document.new_in, found.data, update)
    except checking.Broken:
        raise BadRequest(NO_UPDATE) from None


async def begin(deps: Deps, note_id: str) -> None:
    """Gives a note its document, made of its text. Of two who want that one does it. Raises NotFound."""
    async with deps.database.read() as connection:
        row = await notes.repository.get(connection, note_id)
    while row is not None and not row.has_document:
        first = await in_thread_if_large(_size_of_text(row), _seed, row)
        async with deps.database.write() as unit:
            now = await notes.repository.get(unit.connection, note_id, lock=True)
            if now is not None and not now.has_document and (now.md, now.content) == (row.md, row.content):
                number = await notes.add_update(unit.connection, note_id, first, None)
                made = {"made_of": 1, "made_up_to": number}
                await notes.repository.change(unit.connection, note_id, made, touch=False)
                return
        # Meanwhile it got another text, or another has made the document.
        row = now
    if row is None:
        raise NotFound


def _size_of_text(row: Note) -> int:
    return (len(row.md) + size_of(row.content)) // _BYTES_A_UNIT


def _seed(row: Note) -> bytes:
    from open_webui.notes import document  # noqa: PLC0415 - not needed to start

    return document.seed(_tree_of(row))


def _units(found: Updates) -> int:
    return found.size // _BYTES_A_UNIT + found.count


# Writing


async def write(deps: Deps, note_id: str, user_id: str, update: bytes) -> None:
    """Keeps an update that somebody who may wrote. Raises BadRequest, TooLarge, NotFound."""
    from open_webui.notes import checking, document  # noqa: PLC0415 - not needed to start

    if len(update) > MAX_UPDATE:
        raise TooLarge(FULL)
    try:
        await in_thread_if_large(len(update) // _BYTES_A_UNIT, document.check, update)
    except checking.Broken:
        raise BadRequest(NO_UPDATE) from None
    if not await _add(deps, note_id, user_id, update):
        # What was deleted goes where many updates are made one.
        await _compact(deps, note_id)
        if not await _add(deps, note_id, user_id, update):
            raise TooLarge(FULL)


async def _add(deps: Deps, note_id: str, user_id: str, update: bytes) -> bool:
    """False: there is no room for it. Raises NotFound."""
    async with deps.database.write() as unit:
        extent = await notes.extent(unit.connection, note_id)
        if not extent.count:
            # It was removed, or nobody has opened it.
            raise NotFound
        if extent.size + len(update) > MAX_DOCUMENT:
            return False
        await notes.add_update(unit.connection, note_id, update, user_id)
        await deps.note_jobs.settle_soon(unit, note_id)
    return True


async def _compact(deps: Deps, note_id: str) -> None:
    """Makes all updates of a document one. Those that come meanwhile stay."""
    from open_webui.notes import document  # noqa: PLC0415 - not needed to start

    async with deps.database.read() as connection:
        found = await notes.updates_of(connection, note_id)
    if found.count < 2:
        return
    whole = await in_thread_if_large(_units(found), document.merged, found.data)
    async with deps.database.write() as unit:
        if await notes.repository.get(unit.connection, note_id, lock=True) is not None:
            await notes.make_one(unit.connection, note_id, found.numbers, whole)
            await deps.note_jobs.settle_soon(unit, note_id)


async def write_text(
    deps: Deps, principal: Principal, note_id: str, tree: dict[str, Any], message: str | None = None
) -> bool:
    """Gives a note with a document another text, as a hand more that changes what differs, while others write on.

    What stood there becomes a version. False: it is the text already.
    """
    from open_webui.notes import document  # noqa: PLC0415 - not needed to start

    await settle(deps, note_id)
    async with deps.database.read() as connection:
        found = await notes.updates_of(connection, note_id)
    made = await in_thread_if_large(_units(found), document.edit, found.data, tree)
    if made is None:
        return False
    if len(made) > MAX_UPDATE:
        raise TooLarge(FULL)
    if found.size + len(made) > MAX_DOCUMENT:
        await _compact(deps, note_id)
    async with deps.database.write() as unit:
        row = await notes.repository.require(unit.connection, principal, note_id, "write", lock=True)
        if (await notes.extent(unit.connection, note_id)).size + len(made) > MAX_DOCUMENT:
            raise TooLarge(FULL)
        await keep_version(unit.connection, row, principal.id, message)
        await notes.add_update(unit.connection, note_id, made, principal.id)
        await deps.note_jobs.settle_soon(unit, note_id)
    told = {"document_id": document_id(note_id), "user_id": principal.id, "update": list(made), "socket_id": ""}
    deps.emitter.note(note_id, "ydoc:document:update", told, editors=True)
    await settle(deps, note_id)
    return True


def document_id(note_id: str) -> str:
    """What editors call a note's document."""
    return f"{KIND}:{note_id}"


async def has_page_open(deps: Deps, principal: Principal, note_id: str) -> bool:
    """Whether this request comes from a page whose document is open: what it shows comes and goes by that."""
    return principal.via == "session" and await deps.emitter.is_editing(principal.id, note_id)


# The text


async def is_current(connection: AsyncConnection, row: Note) -> bool:
    """Whether a note's text is made of all that was written into its document."""
    if not row.has_document:
        return True
    extent = await notes.extent(connection, row.id)
    return (extent.count, extent.last) == (row.made_of, row.made_up_to)


async def settle(deps: Deps, note_id: str, run: Run | None = None) -> None:
    """Makes a note's text of its document, as it is now. run: the job that does it, which ends with that."""
    for left in range(_TRIES - 1, -1, -1):
        if await _settle(deps, note_id, run, last=not left):
            return


async def _settle(deps: Deps, note_id: str, run: Run | None, *, last: bool) -> bool:
    """False: something was written meanwhile, and nothing was stored. last: what is there is stored all the same."""
    from open_webui.notes import document  # noqa: PLC0415 - not needed to start

    async with deps.database.read() as connection:
        row = await notes.repository.get(connection, note_id)
        found = await notes.updates_of(connection, note_id)
    if row is None or not row.has_document or (found.count, found.last) == (row.made_of, row.made_up_to):
        return await _over(deps, note_id, run, found)
    text = await in_thread_if_large(_units(found), document.read, found.data)
    is_many = found.count > MANY or (found.size > MAX_DOCUMENT // 2 and found.count > FEW)
    whole = await in_thread_if_large(_units(found), document.merged, found.data) if is_many else None
    async with deps.database.write() as unit:
        if run is not None:
            await run.hold(unit)
        row = await notes.repository.get(unit.connection, note_id, lock=True)
        if row is None:
            return True
        extent = await notes.extent(unit.connection, note_id)
        is_same = (extent.count, extent.last) == (found.count, found.last)
        if not is_same and not last:
            return False
        await _store(unit, row, found, text, whole if is_same else None)
        if run is not None and is_same:
            await run.commit(unit)
    return True


async def _over(deps: Deps, note_id: str, run: Run | None, found: Updates) -> bool:
    """Ends a job that has nothing to do; False where it has by now."""
    if run is None:
        return True
    async with deps.database.write() as unit:
        await run.hold(unit)
        extent = await notes.extent(unit.connection, note_id)
        if (extent.count, extent.last) != (found.count, found.last):
            return False
        await run.commit(unit)
    return True


async def _store(unit: UnitOfWork, row: Note, found: Updates, text: Any, whole: bytes | None) -> None:
    connection = unit.connection
    values: dict[str, Any] = {"made_of": found.count, "made_up_to": found.last}
    if whole is not None:
        number = await notes.make_one(connection, row.id, found.numbers, whole)
        if number is not None:
            values = {"made_of": 1, "made_up_to": number}
    is_changed = (text.md, text.json) != (row.md, row.content.get("json"))
    if is_changed:
        if row.md and notes.repository.now() - row.version_at > VERSION_EVERY:
            await keep_version(connection, row, None, None)
        values |= {"md": text.md, "content": text.content}
    await notes.repository.change(connection, row.id, values, touch=is_changed)


async def keep_version(connection: AsyncConnection, row: Note, user_id: str | None, message: str | None) -> None:
    """Keeps a note's text as it is as a version. The caller holds its row."""
    newest = await versions.page(connection, KIND, row.id, size=1)
    content = row.content | {"md": row.md}
    if newest:
        before = await versions.get(connection, KIND, row.id, newest[0].id)
        if before is not None and before.snapshot.get("content") == content:
            return
    snapshot = {"title": row.title, "content": content}
    parent = newest[0].id if newest else None
    await versions.add(connection, KIND, row.id, snapshot, user_id=user_id, parent_id=parent, message=message)
    await notes.repository.change(connection, row.id, {"version_at": notes.repository.now()}, touch=False)


# In the background


class ANote(msgspec.Struct, frozen=True):
    """The payload of its job."""

    note_id: str


class NoteJobs:
    """Makes texts of documents, soon after something was written. One for a process."""

    def __init__(self, deps: Deps, queue: Queue) -> None:
        self._deps = deps
        self._queue = queue
        # When the text of each note was asked for last, by the monotonic clock.
        self._asked: dict[str, float] = {}
        self.kind = Kind(
            name="make the text of a note", payload=ANote, handler=self._settle, retry=Retry(attempts=5, first=2.0), keep=0,
            time_limit=120.0,
        )  # fmt: skip
        self.tidying = Kind(
            name="make texts of notes that were left", payload=Nothing, handler=self._tidy,
            every=Every(3_600, phase=1_200, after_start=FIRST_SECONDS),
        )  # fmt: skip

    @property
    def kinds(self) -> "tuple[Kind[ANote], Kind[Nothing]]":
        """Of its jobs."""
        return self.kind, self.tidying

    async def settle_soon(self, unit: UnitOfWork, note_id: str) -> None:
        """Has the text made of what this unit of work stores, and of what comes in the next moment."""
        at = time.monotonic()
        if at - self._asked.get(note_id, -_ASKED_SECONDS) < _ASKED_SECONDS:
            return
        if len(self._asked) > 1_000:
            self._asked = {name: then for name, then in self._asked.items() if at - then < _ASKED_SECONDS}
        self._asked[note_id] = at
        due = (await self._queue.clock(unit.connection)) / 1000 + SETTLE_SECONDS
        await self._queue.enqueue(unit, self.kind, ANote(note_id), key=f"note {note_id}", run_at=due)

    async def _settle(self, run: Run, payload: ANote) -> None:
        await settle(self._deps, payload.note_id, run)

    async def _tidy(self, run: Run, _payload: Nothing) -> None:
        del run
        await self.tidy()

    async def tidy(self) -> None:
        """Makes the texts that a lost process has left."""
        async with self._deps.database.read() as connection:
            left = await notes.without_text(connection, 1_000)
        for note_id in left:
            try:
                await settle(self._deps, note_id)
            except Exception:
                log.exception("the text of a note could not be made of its document", note=note_id)
