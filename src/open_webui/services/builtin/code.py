"""Python: what a model writes is run by the engine of the settings."""

from open_webui.services.builtin.row import Use
from open_webui.services.code.port import MAX_CODE
from open_webui.tools.port import ToolResult


async def execute(use: Use) -> ToolResult:
    return await use.deps.code.answer(use.asked, use.text("code", limit=MAX_CODE + 1), use.progress)
