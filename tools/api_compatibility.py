"""Writes docs/api_compatibility.md out of a comparison of this server's replies with those that were recorded of Open WebUI.

usage: tools/api_compatibility.py COMPARISON.json

The comparison is a JSON object with `rows`, one an operation: its method, path and area, its verdict ("match", "status": only
refusals were recorded, "differs", "stub", "missing") and notes. Why something differs is written here; the page's section
"Otherwise on purpose" is written there.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "api_compatibility.md"
# By method and path: what differs, and why.
REASONS: Final = {
    "GET /api/v1/auths/": "A token ends when its session is signed out; recorded, it went on until it expired.",
    "POST /api/chat/actions/{action_id}": "An action is found where the model offers it. Recorded: any that is switched on.",
    "POST /api/chat/completions": (
        "`embedding_config` and `collection_name` of a source are there where vectors found it, and `logprobs` where a model"
        " tells them."
    ),
    "GET /api/v1/analytics/models/{model_id:path}/overview": "`tags` are those of the chats in which the model answered.",
    "POST /api/v1/evaluations/feedback": "Only answers of chats that one may read are rated; recorded: of any that is named.",
    "GET /api/v1/evaluations/feedback/{id}": "The same: the rating that the recording made is not there.",
    "POST /api/v1/evaluations/feedback/{id}": "The same.",
    "DELETE /api/v1/evaluations/feedback/{id}": "The same.",
    "GET /api/v1/evaluations/feedbacks/all/export": "The same.",
    "GET /api/v1/evaluations/feedbacks/all/ids": "The same.",
    "GET /api/v1/evaluations/feedbacks/list": "The same.",
    "GET /api/v1/evaluations/feedbacks/models": "The same.",
    "GET /api/v1/evaluations/feedbacks/user": "The same.",
    "POST /api/v1/memories/query": (
        "Without an embedding model words find memories: none of the question's is in the one that was recorded."
    ),
    "POST /api/events/webhooks": (
        "An address is looked at when something is sent there: a webhook may be made before its receiver is. Recorded: 400."
    ),
    "GET /api/v1/notes/{id}/chat": "The chat's id is beside its document, not in it.",
    "POST /api/v1/notes/{id}/chat": "The same.",
    "GET /api/v1/notes/{id}/chats": "The same.",
    "POST /openai/responses": (
        "403 and a sentence: calls are passed through where an administrator switches it on. Recorded: 404."
    ),
    "GET /api/models": (
        "A custom model is listed for those who may use its base model, too. Recorded: it is listed, and refused when it is"
        " used. Whom an arena is open to is not told."
    ),
    "POST /api/v1/messages/count_tokens": "Counted, and said to be an estimate. Recorded: 404, where no model was connected.",
    "GET /api/v1/chats/all": "`chat.messages` is empty, and questions have no `done`.",
    "GET /api/v1/chats/all/db": "`chat.messages` is empty, and questions have no `done`; `share_mode` is not part of an export.",
    "GET /api/v1/chats/{id}": (
        "`chat.messages` is empty: the messages are in `chat.history`, once. The chat's id is beside its document, not in it."
    ),
    "POST /api/v1/chats/{id}/clone/shared": "A copy has no `share_mode`: it is not shared.",
    "POST /api/v1/chats/{id}/fork": "`chat.messages` is empty, and questions have no `done`.",
    "GET /api/v1/configs/export": "Settings of sign-in by other sites are stored, too. Without Ollama no address of it is set.",
    "POST /api/v1/configs/import": "The same; what was not taken is named under `refused`.",
    "POST /api/v1/auths/admin/config/oauth": "What is saved is always kept: the switch for that stays on.",
    "GET /api/v1/audio/models": "A model's id and name, and not what else the provider says of it.",
    "POST /api/v1/images/config/update": "The recording has a placeholder in the place of a workflow, which is refused.",
    "POST /oauth/backchannel-logout": "400 and a sentence: what came is no logout token. Recorded: 404, without a provider.",
    "GET /oauth/{provider}/login/callback": "Back to the page, which says why. Recorded: 404, without a provider.",
    "GET /oauth/clients/{client_id}/callback": "403 and a sentence: nobody signs in there now. Recorded: 404.",
    "POST /api/v1/retrieval/query/collection": "`embedding_config` is there where vectors found a piece; words find it, too.",
    "POST /api/v1/retrieval/query/doc": "The same.",
    "GET /api/v1/scim/v2/ResourceTypes": "A list with a head (RFC 7644, 4). Recorded: a bare array, at which clients stop.",
    "GET /api/v1/scim/v2/Schemas": "The same.",
    "POST /api/v1/scim/v2/Users": "What has no value is left out, not `null` (RFC 7643, 2.5).",
    "GET /api/v1/scim/v2/Users/{user_id}": "The same.",
    "PATCH /api/v1/scim/v2/Users/{user_id}": "The same.",
    "POST /api/v1/scim/v2/Groups": "`display` of a member is sent where it is asked for: the standard's schema has none.",
}
# What was not recorded, and so is not compared.
NOT_COMPARED: Final = "- The websocket `/api/v1/audio/realtime`: a browser test has the official page call."
# A section that people write; the script leaves it as it is.
BY_HAND: Final = "## Otherwise on purpose"
NAMES: Final = {
    "match": "as recorded",
    "status": "refusals as recorded",
    "differs": "differs",
    "stub": "empty",
    "missing": "not there",
}


def page(rows: list[dict[str, Any]], by_hand: str) -> str:
    """The page's text around the section that is written by hand."""
    counts = Counter(row["verdict"] for row in rows)
    by_area: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        by_area[row["area"]][row["verdict"]] += 1
    out = [
        "# Compatibility of the API",
        "",
        f"The {len(rows)} operations of Open WebUI 0.12.4 compared with this server's: recorded requests were sent again, and",
        "statuses, types and members of the replies compared.",
        "`tools/api_compatibility.py` writes this page.",
        "",
        "| | operations |",
        "| --- | --- |",
        f"| as recorded | {counts['match']} |",
        f"| as recorded as far as could be compared: no success was recorded | {counts['status']} |",
        f"| served, and something differs | {counts['differs']} |",
        f"| truthfully empty, or refused with a sentence: what it is about is not there yet | {counts['stub']} |",
        f"| not there | {counts['missing']} |",
        "",
        "## By area",
        "",
        f"| area | {' | '.join(NAMES.values())} |",
        f"| --- |{' --- |' * len(NAMES)}",
    ]
    out += [
        f"| {area} | {' | '.join(str(by_area[area][verdict] or '') for verdict in NAMES)} |" for area in sorted(by_area)
    ]
    out += ["", "## What differs", "", "| operation | how, and why |", "| --- | --- |"]
    for row in rows:
        if row["verdict"] == "differs":
            name = f"{row['method']} {row['path']}"
            out.append(f"| `{name}` | {REASONS.get(name) or '; '.join(row['notes'])} |")
    out += ["", BY_HAND, "", by_hand.strip(), "", "## What was not compared, or is not there", "", NOT_COMPARED]
    for area in sorted(by_area):
        absent = [
            f"`{r['method']} {r['path']}`" for r in rows if r["area"] == area and r["verdict"] in {"missing", "stub"}
        ]
        if absent:
            out.append(f"- **{area}**: {', '.join(absent)}")
    return "\n".join(out) + "\n"


def main() -> None:
    rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["rows"]
    section = PAGE.read_text(encoding="utf-8").partition(f"{BY_HAND}\n")[2].partition("\n## ")[0]
    PAGE.write_text(page(rows, section), encoding="utf-8")


if __name__ == "__main__":
    main()
