"""Addresses below a terminal server: what a client asks for, so that it stays below and names nobody else."""

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from open_webui.errors import BadRequest

LEADS_OUT: Final = "This address leads out of the terminal server."
MAX_PATH: Final = 8_000
SESSION_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,200}")
# How often what is encoded is decoded: what is encoded more often is no address of ours.
_DECODED: Final = 5
_PATH: Final = "/:@!$&'()*+,;=~-._"
_QUERY: Final = "%&=+;/:?@!$'()*,~-._[]{}|"
# Who asks is told by this server alone.
_OURS: Final = frozenset({"user_id", "token"})


def below(path: str) -> str:
    """The path of a request, encoded. Raises BadRequest for one that leads upwards, however it is written."""
    text = path
    for _ in range(_DECODED):
        _check(text)
        again = unquote(text)
        if again == text:
            return quote(path, safe=_PATH)
        text = again
    raise BadRequest(LEADS_OUT)


def _check(text: str) -> None:
    if len(text) > MAX_PATH or any(c < " " or c == "\x7f" for c in text):
        raise BadRequest(LEADS_OUT)
    if any(part in {".", ".."} for part in re.split(r"[/\\]", text)):
        raise BadRequest(LEADS_OUT)


def query(text: str) -> str:
    """A query with its question mark, without what would name somebody; empty where there is none."""
    kept = [part for part in text.split("&") if part and _name(part) not in _OURS]
    return "?" + quote("&".join(kept), safe=_QUERY) if kept else ""


def _name(part: str) -> str:
    pairs = parse_qsl(part, keep_blank_values=True)
    return pairs[0][0].strip().lower() if pairs else ""


def location(ours: str, base: str, asked: str, place: str) -> str | None:
    """Where a redirect of a server leads, as an address of this one; None for one that leads elsewhere.

    ours: where the server is below this one. base: its own address. asked: what was asked for.
    """
    to = urljoin(asked, place)
    root, target = urlsplit(base), urlsplit(to)
    if (root.scheme, root.netloc) != (target.scheme, target.netloc):
        return None
    prefix = root.path.rstrip("/") + "/"
    if not target.path.startswith(prefix):
        return None
    try:
        path = below(unquote(target.path.removeprefix(prefix)))
    except BadRequest:
        return None
    return f"{ours}/{path}" + (f"?{target.query}" if target.query else "")
