"""What the routes of the audit record take."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_LATEST: Final = 2**53
Word = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
Time = Annotated[int, Field(ge=0, le=_LATEST)]
Number = Annotated[int, Field(ge=0, le=_LATEST)]


class AuditFilters(BaseModel):
    """Which entries; what is left out, doesn't matter. actor: an account's id or address. since, until: milliseconds since the
    epoch; before, after: numbers of links, which are not included.
    """

    model_config = ConfigDict(extra="forbid")

    actor: Word = ""
    action: Word = ""
    resource: Word = ""
    resource_id: Word = ""
    outcome: Literal["", "done", "refused", "failed", "unsealed"] = ""
    since: Time | None = None
    until: Time | None = None
    before: Number | None = None
    after: Number | None = None


class AuditQuery(AuditFilters):
    """The same, and how many are wanted."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
