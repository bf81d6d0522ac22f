"""Settings of sub-agents."""

from typing import Final

from open_webui.config.setting import Setting, flag

SETTINGS: Final[tuple[Setting, ...]] = (
    flag("subagents.enable", "ENABLE_SUBAGENTS", False),
    Setting("subagents.max_concurrent", int, 20, ("SUBAGENTS_MAX_CONCURRENT",)),
    flag("subagents.background_enabled", "SUBAGENTS_BACKGROUND_ENABLED", False),
    Setting("subagents.max_async", int, 20, ("SUBAGENTS_MAX_ASYNC",)),
    Setting("subagents.max_iterations", int, 30, ("SUBAGENTS_MAX_ITERATIONS",)),
    Setting("subagents.max_output", int, 30_000, ("SUBAGENTS_MAX_OUTPUT",)),
    Setting("subagents.system_prompt", str, "", ("SUBAGENTS_SYSTEM_PROMPT",)),
)
