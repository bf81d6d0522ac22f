"""Which sites are read: an admin's list of domains, some of them refused by a "!" before them."""

from collections.abc import Iterable
from urllib.parse import urlsplit


class Domains:
    """A list of domains, each with all that is below it. Of those refused none is visited; where others are named, only those."""

    def __init__(self, listed: Iterable[str]) -> None:
        names = [str(entry).strip().lower().rstrip(".") for entry in listed]
        self._refused = tuple(name[1:].strip() for name in names if name.startswith("!") and name[1:].strip())
        self._named = tuple(name for name in names if name and not name.startswith("!"))

    def allow(self, url: str) -> bool:
        """Whether a page may be visited."""
        try:
            host = (urlsplit(url).hostname or "").rstrip(".")
        except ValueError:
            return False
        if not host or any(_is_below(host, name) for name in self._refused):
            return False
        return not self._named or any(_is_below(host, name) for name in self._named)


def _is_below(host: str, name: str) -> bool:
    return host == name or host.endswith(f".{name}")
