"""What somebody is doing at the moment: an act for each request, event, job or command. The audit record is written of it.

Whoever changes something says so here (`note`), wherever it happens: no caller needs to know that there is a record.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final

from open_webui.errors import BadRequest

# Fields of one act that are told, and things of other people that it opened.
MOST_FIELDS: Final = 50
MOST_OPENED: Final = 200
REASON_HEADER: Final = "x-audit-reason"
REASON_PARAMETER: Final = "audit_reason"
NEEDS_REASON: Final = (
    "This belongs to somebody else. On this server an administrator says why they look at it: send the reason in the"
    " header X-Audit-Reason, or as the query parameter audit_reason."
)


class ReasonNeeded(BadRequest):
    """An administrator has to say why they look at what is somebody else's."""

    detail = NEEDS_REASON

    def __init__(self) -> None:
        # What a page looks for, which asks its person and repeats the request.
        super().__init__(headers={"X-Needs": "reason"})


# What a change is of one field: before, and after.
Change = tuple[Any, Any]


class Act:
    """One act. Its fields say who does what to what, and by which way (see services/audit/entries.py).

    is_wanted: it is recorded also where nobody notes a change. opened: things of others that were read by the right of an
    administrator: resource, id, owner.
    """

    __slots__ = (
        "action",
        "actor",
        "actor_id",
        "address",
        "area",
        "asked_reason",
        "changes",
        "is_over",
        "is_wanted",
        "is_written",
        "key",
        "needs_reason",
        "opened",
        "parameters",
        "reason",
        "resource",
        "resource_id",
        "role_set",
        "settling",
        "task",
        "via",
        "what",
    )  # fmt: skip

    def __init__(self, what: str, action: str, *, resource: str = "", area: str = "", via: str = "") -> None:
        """what: the route, event, job or command. area: what is said of the resource where nothing else is known."""
        self.what, self.action, self.resource, self.area, self.via = what, action, resource, area, via
        self.actor_id = self.actor = self.key = self.address = self.resource_id = self.reason = ""
        # The role sets by which somebody does what is administrators'.
        self.role_set = ""
        # Gives the reason that its caller has sent: most acts need none.
        self.asked_reason: Callable[[], str] | None = None
        self.parameters: Mapping[str, Any] = {}
        self.changes: dict[str, Change] = {}
        self.opened: list[tuple[str, str, str]] = []
        self.is_wanted = self.is_written = self.is_over = self.needs_reason = False
        # Fills in what most acts are never asked for, when one is.
        self.settling: Callable[[Act], None] | None = None
        self.task = asyncio.current_task()

    def settle(self) -> None:
        """Fills in who does it and to what, where that was put off."""
        settling, self.settling = self.settling, None
        if settling is not None:
            settling(self)

    @property
    def is_due(self) -> bool:
        """Whether the next commit is to hold an entry of it."""
        return bool(self.changes or self.opened) or (self.is_wanted and not self.is_written)

    def written(self) -> None:
        """An entry of it is stored. What is noted from now on is another entry's."""
        self.is_written = True
        self.changes = {}
        self.opened = []


_current: ContextVar[Act | None] = ContextVar("act", default=None)


@contextmanager
def doing(act: Act) -> Iterator[None]:
    """Inside the block this task does the act."""
    bound = begin(act)
    try:
        yield
    finally:
        end(act, bound)


def begin(act: Act) -> Token[Act | None]:
    """From here on this task does the act. What it gives, `end` takes."""
    return _current.set(act)


def end(act: Act, bound: Token[Act | None]) -> None:
    """The act is over, also for tasks that it has begun."""
    act.is_over = True
    _current.reset(bound)


def current() -> Act | None:
    """The act that is being done, also by a task that it has begun; None where it is over."""
    act = _current.get()
    if act is None or act.is_over:
        return None
    if act.settling is not None:
        act.settle()
    return act


def own() -> Act | None:
    """The act that this very task does: what others write meanwhile may be somebody else's, too."""
    act = current()
    return act if act is not None and act.task is asyncio.current_task() else None


def note(resource: str, resource_id: str, changes: Mapping[str, Change]) -> None:
    """Says what the act changes: of which thing, and of its fields what they were and are. No value may be a secret.

    The first thing that is named is the one that the act is about, where its address didn't say. resource_id: "" for what
    there is one of, whose fields need no more.
    """
    act = current()
    if act is None:
        return
    if not resource_id:
        act.area = resource
    elif not act.resource_id and act.resource in {"", resource}:
        act.resource, act.resource_id = resource, resource_id
    same = not resource_id or (act.resource_id == resource_id and act.resource in {"", resource})
    if same and resource_id:
        act.resource = resource
    for field, change in changes.items():
        if len(act.changes) < MOST_FIELDS:
            act.changes[field if same else f"{resource}:{resource_id}.{field}"] = change


def by(user_id: str, email: str) -> None:
    """Says who does it, where nobody was signed in when it began."""
    act = current()
    if act is not None and not act.actor_id:
        act.actor_id, act.actor, act.via = user_id, email, act.via or "session"


def about(resource: str, resource_id: str) -> None:
    """Says what the act is about, before it is clear whether it is done."""
    note(resource, resource_id, {})


def opened(resource: str, resource_id: str, owner_id: str) -> None:
    """An administrator is about to see what is somebody else's. Raises ReasonNeeded where none is given."""
    act = current()
    if act is None:
        return
    if not act.reason and act.asked_reason is not None:
        act.reason = act.asked_reason()
    if act.needs_reason and not act.reason:
        raise ReasonNeeded
    found = (resource, resource_id, owner_id)
    if len(act.opened) < MOST_OPENED and found not in act.opened:
        act.opened.append(found)
