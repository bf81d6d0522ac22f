"""Settings of notes."""

from typing import Final

from open_webui.config.setting import Setting, flag

SETTINGS: Final[tuple[Setting, ...]] = (flag("notes.enable", "ENABLE_NOTES", True),)
