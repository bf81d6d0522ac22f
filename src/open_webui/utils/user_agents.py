"""What a browser or a program calls itself (User-Agent), as a person would say it."""

from typing import Final

# Characters of it that are looked at, and that are kept of one that nobody knows.
_LOOKED_AT: Final = 500
_KEPT: Final = 60
# The first that is found counts: most call themselves by the names of others, too.
_BROWSERS: Final = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"), ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"), ("Firefox/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"), ("Linux", "Linux"),
)  # fmt: skip
UNKNOWN: Final = "an unknown device"


def device_of(agent: str) -> str:
    """A browser and its system ("Firefox on Linux"), or a program by its own name ("curl 8.5.0")."""
    agent = agent[:_LOOKED_AT].strip()
    if not agent:
        return UNKNOWN
    browser = next((name for mark, name in _BROWSERS if mark in agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if browser is not None:
        return browser if system is None else f"{browser} on {system}"
    program = "".join(c for c in agent.split(" ", 1)[0] if c.isprintable())
    return program.replace("/", " ")[:_KEPT].strip() or UNKNOWN
