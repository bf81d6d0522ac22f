"""Settings of memories."""

from typing import Final

from open_webui.config.setting import Setting, flag

SETTINGS: Final[tuple[Setting, ...]] = (
    flag("memories.enable", "ENABLE_MEMORIES", True),
    flag("memories.system_context.enable", "ENABLE_MEMORY_SYSTEM_CONTEXT", True),
    Setting("memories.user_char_limit", int, 2_000, ("MEMORIES_USER_CHAR_LIMIT",)),
    Setting("memories.context_char_limit", int, 2_000, ("MEMORIES_CONTEXT_CHAR_LIMIT",)),
    Setting("memories.max_count", int, 1_000, ("MEMORIES_MAX_COUNT",)),
    Setting("memories.max_chars", int, 2_000, ("MEMORIES_MAX_CHARS",)),
)
