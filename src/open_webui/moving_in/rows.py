"""A row of a foreign table. Nothing in it is believed: each value is looked at before it is used."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.constants import MAX_ID
from open_webui.models.base import clean, clean_json
from open_webui.utils.recurring import LAST, SECOND

# Seconds since 1970 that every database and every page can hold.
_MAX_TIME: Final = 253_402_300_800
_WHOLE: Final = 2**63
_TRUE: Final = frozenset({"1", "true", "t", "yes"})


class Left(Exception):
    """Raised for a row that can't be taken; the text says why, as a part of a sentence."""


class Row:
    """A row by its columns. What could not be read of it, and was left out, is noted in `mended`."""

    __slots__ = ("_values", "mended")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.mended: list[str] = []

    def raw(self, name: str) -> str | None:
        """A text as it stands, with what PostgreSQL can't hold."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def text(self, name: str, most: int = 10_000) -> str | None:
        """A text of so many characters at most; what is longer is cut."""
        value = self.raw(name)
        return None if value is None else clean(value)[:most]

    def id(self, name: str = "id") -> str | None:
        """An id, None where there is none that could be one."""
        value = self.raw(name)
        return value if value and len(value) <= MAX_ID and value.isprintable() else None

    def need_id(self, name: str = "id") -> str:
        """Raises Left."""
        value = self.id(name)
        if value is None:
            raise Left(f"its {name} is missing or can't be one")
        return value

    def need(self, name: str, most: int = 10_000) -> str:
        """A text that has something in it. Raises Left."""
        value = (self.text(name, most) or "").strip()
        if not value:
            raise Left(f"its {name} is missing")
        return value

    def number(self, name: str) -> int | None:
        """A whole number, None for whatever is none."""
        value = self._values.get(name)
        if isinstance(value, float):
            value = int(value) if abs(value) < _WHOLE else None
        elif isinstance(value, str | bytes):
            try:
                value = int(self.raw(name) or "")
            except ValueError:
                value = None
        return value if isinstance(value, int) and abs(value) < _WHOLE else None

    def seconds(self, name: str) -> int | None:
        """A time in seconds, None for what is none."""
        value = self.number(name)
        return value if value is not None and 0 <= value < _MAX_TIME else None

    def times(self, at: int) -> dict[str, int]:
        """When it was made and changed; `at` where it doesn't say."""
        made, changed = self.seconds("created_at"), self.seconds("updated_at")
        return {
            "created_at": made if made is not None else changed if changed is not None else at,
            "updated_at": changed if changed is not None else made if made is not None else at,
        }

    def nanoseconds(self, name: str) -> int | None:
        """A time in nanoseconds, None for what is none that can be kept."""
        value = self.number(name)
        return value if value is not None and 0 <= value <= LAST else None

    def moments(self, at: int) -> dict[str, int]:
        """When it was made and changed, in nanoseconds; `at`, which is seconds, where it doesn't say."""
        made, changed = self.nanoseconds("created_at"), self.nanoseconds("updated_at")
        made = made if made is not None else changed if changed is not None else at * SECOND
        return {"created_at": made, "updated_at": made if changed is None else changed}

    def cut(self, name: str, most: int) -> str | None:
        """A text of so many characters at most, with a note where it was longer."""
        value = self.text(name, most + 1)
        if value is not None and len(value) > most:
            self.mended.append(f"its {name} was longer than {most:,} characters and is cut")
        return None if value is None else value[:most]

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._values.get(name)
        if value is None:
            return default
        return value.lower() in _TRUE if isinstance(value, str) else bool(value)

    def json(self, name: str) -> Any:
        """A JSON value without NUL; None, with a note, for a broken one."""
        text = self.raw(name)
        if text is None or not text.strip():
            return None
        try:
            return clean_json(msgspec.json.decode(text))
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            self.mended.append(f"its {name} was no JSON and is left out")
            return None

    def object(self, name: str, largest: int = 1_000_000) -> dict[str, Any] | None:
        """A JSON object; None, with a note, for what is none or is larger."""
        value = self.json(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.mended.append(f"its {name} was no object and is left out")
        elif len(self.raw(name) or "") > largest:
            self.mended.append(f"its {name} was larger than {largest:,} characters and is left out")
        else:
            return value
        return None

    def list(self, name: str) -> list[Any]:
        """A JSON list; an empty one for what is none."""
        value = self.json(name)
        return value if isinstance(value, list) else []


def objects(value: Any) -> dict[str, Any]:
    """An object that may stand there as its text; an empty one for anything else."""
    if isinstance(value, str):
        try:
            value = clean_json(msgspec.json.decode(value))
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            return {}
    return value if isinstance(value, dict) else {}
