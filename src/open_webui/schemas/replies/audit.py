"""The audit record, as it goes out."""

from typing import Any, TypedDict


class AuditEntry(TypedDict):
    """Number, hash and seal of a link, and what its entry says (`Entry` in models/audit.py): `at` in milliseconds."""

    seq: int
    hash: str
    seal: str
    epoch: str
    at: int
    by: str
    email: str
    via: str
    key: str
    address: str
    what: str
    action: str
    resource: str
    id: str
    parameters: dict[str, str]
    outcome: str
    status: int
    times: int
    reason: str
    changes: dict[str, list[Any]]
    opened: list[list[str]]
    request: str


class AuditPage(TypedDict):
    """The newest first. next: `before` of the next page; null where there is none."""

    items: list[AuditEntry]
    next: int | None


class AuditVerdict(TypedDict):
    """first, last: numbers of the links that were checked. hash: of the last one. waiting: entries that are not linked yet.
    problem, at: the first break, and where it is; null where the chain is whole.
    """

    is_whole: bool
    entries: int
    first: int
    last: int
    hash: str
    waiting: int
    problem: str | None
    at: int | None
