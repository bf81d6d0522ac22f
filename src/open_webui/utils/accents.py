"""Text without accents and case, so that "cafe" finds "Café": the same rule for SQLite, for PostgreSQL and here."""

import unicodedata
from functools import cache
from typing import Final

# The SQL function that SQLite is given.
FUNCTION: Final = "without_accents"


def without_accents(text: str | None) -> str | None:
    """The text in lower case, its letters without marks."""
    if text is None or text.isascii():
        return text and text.lower()
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def bare(text: str) -> str:
    """The text as the full-text indexes have it: lower case, letters without marks, all else as it is (ß stays)."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFD", text.lower())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))


@cache
def letters() -> tuple[str, str]:
    """Each accented letter, and the one that stands for it: the arguments of SQL's translate(). Those that become several
    are left out.
    """
    pairs = [(c, without_accents(c)) for c in map(chr, range(0xC0, 0x2000)) if unicodedata.decomposition(c)]
    single = [(c, plain) for c, plain in pairs if plain is not None and len(plain) == 1 and plain != c]
    return "".join(c for c, _ in single), "".join(plain for _, plain in single)
