"""Why a search found what it found: the trace of a search as the wire has it."""

from typing import Any, Final

from open_webui.models.scopes import Row
from open_webui.principal import Principal
from open_webui.retrieval.search import Stage, Trace

# Passages that are shown of each stage, and characters of each.
SHOWN: Final = 20
BEGINNING: Final = 200
UNTOLD: Final = "Something could not be used for this search. An administrator sees what."


def explained(trace: Trace, principal: Principal) -> dict[str, Any]:
    """As `replies.retrieval.Trace`. What could not be used names services and their addresses: that is for administrators."""
    return {
        "queries": trace.queries,
        "stages": [_stage(stage, trace.read) for stage in trace.stages],
        "notes": trace.notes if principal.is_admin else [UNTOLD][: len(trace.notes)],
    }


def _stage(stage: Stage, read: dict[int, Row]) -> dict[str, Any]:
    seen = [(n, score) for n, score in stage.chunks if n in read]
    shown = [_passage(read[n], score) for n, score in seen[:SHOWN]]
    return {"name": stage.name, "ms": stage.ms, "count": len(seen), "passages": shown}


def _passage(row: Row, score: float) -> dict[str, Any]:
    return {
        "id": str(row.chunk_n),
        "name": row.name,
        "file_id": row.file_id,
        "page": row.page,
        "text": row.text[:BEGINNING],
        "score": score,
    }
