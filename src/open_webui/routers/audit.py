"""The audit record: who did what to what. For administrators and who holds the right, who can read it, take
it along, and have it checked.
"""

from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from open_webui.access.policy import ADMIN
from open_webui.deps import AppState
from open_webui.models.audit import Filters
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.audit import AuditFilters, AuditQuery
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.audit import reading

router = new_router(prefix="/api/v1/audit", tag="audit")


@router.get("/entries")
@allow(ADMIN.or_by("audit.read"))
async def list_entries(
    asked: Annotated[AuditQuery, Query()], state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.audit.AuditPage)]":
    """A page of entries, the newest first. The next one begins where `next` of the reply says: give it as `before`."""
    filters = Filters(**asked.model_dump(exclude={"limit"}))
    return await reading.page(state.database, state.audit, filters, asked.limit)


@router.get("/export")
@allow(ADMIN.or_by("audit.read"))
async def export(
    asked: Annotated[AuditFilters, Query()], state: AppState
) -> "Annotated[Response, Media('application/x-ndjson')]":
    """All entries as lines of JSON, the oldest first. Who fetches what is new gives the last number as `after`."""
    pieces = reading.lines(state.database, state.audit, Filters(**asked.model_dump()))
    return StreamingResponse(pieces, media_type="application/x-ndjson")


@router.get("/verify")
@allow(ADMIN.or_by("audit.read"))
async def check(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.audit.AuditVerdict)]":
    """Checks the whole chain, and says where it breaks first."""
    return await reading.verdict(state.database, state.audit)
