"""What somebody who writes a plugin is told before it is saved."""

from typing import Any

import msgspec

from open_webui.errors import BadRequest
from open_webui.plugins.text import Finding
from open_webui.principal import Principal
from open_webui.services import tools
from open_webui.services.plugins import Deps


async def check(deps: Deps, principal: Principal, content: str) -> dict[str, Any]:
    """All that a text says of itself. What is wrong with it is among the findings, and no refusal."""
    tools.check_writing(principal)
    try:
        text = await deps.sources.read(content)
    except BadRequest as error:
        nothing: dict[str, Any] = {
            "kind": None,
            "manifest": {},
            "methods": [],
            "specs": [],
            "valves": None,
            "user_valves": None,
        }
        return nothing | {"findings": [msgspec.structs.asdict(Finding(message=error.detail, refused=True))]}
    return {
        "kind": text.kind,
        "manifest": text.manifest,
        "methods": list(text.members.methods),
        "specs": list(text.specs),
        "valves": text.valves,
        "user_valves": text.user_valves,
        "findings": [msgspec.structs.asdict(one) for one in text.findings],
    }
