"""Settings of calendars and automations."""

from typing import Final

from open_webui.config.setting import Setting, flag

SETTINGS: Final[tuple[Setting, ...]] = (
    flag("calendar.enable", "ENABLE_CALENDAR", True),
    flag("automations.enable", "ENABLE_AUTOMATIONS", True),
    # Numbers as texts, as pages send them; an empty one is no limit but the server's own.
    Setting("automations.max_count", str, "", ("AUTOMATION_MAX_COUNT",)),
    Setting("automations.min_interval", str, "", ("AUTOMATION_MIN_INTERVAL",)),
)
