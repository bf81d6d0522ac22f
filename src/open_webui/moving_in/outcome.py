"""What came of an import: how much of each table was taken, was here already, or was left, and why."""

from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.errors import StartupError

# Rows that are named for a reason; the others are only counted.
_EXAMPLES: Final = 5
# Reasons that are told apart in one table.
_REASONS: Final = 40
_OTHER: Final = "for other reasons"
# Sentences about single things.
_NOTES: Final = 200


class Reason(msgspec.Struct):
    """How many rows had it, and some of them."""

    count: int = 0
    examples: list[str] = []


class Taken(msgspec.Struct):
    """Of one table. mended: rows that were taken, but for a part."""

    rows: int = 0
    taken: int = 0
    there: int = 0
    left: dict[str, Reason] = {}
    mended: dict[str, Reason] = {}


class Report(msgspec.Struct):
    """without_place: how many rows each table has that nothing here can hold. notes: what the operator should know or do."""

    source: str
    dry_run: bool
    tables: dict[str, Taken] = {}
    without_place: dict[str, int] = {}
    notes: list[str] = []
    finished: bool = False

    def of(self, table: str) -> Taken:
        return self.tables.setdefault(table, Taken())

    def leave(self, table: str, row: str, why: str) -> None:
        _count(self.of(table).left, row, why)

    def mend(self, table: str, row: str, why: str) -> None:
        _count(self.of(table).mended, row, why)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes and len(self.notes) < _NOTES:
            self.notes.append(sentence)

    def as_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self))

    def write(self, path: Path) -> None:
        """Raises StartupError."""
        try:
            path.write_bytes(self.as_json() + b"\n")
        except OSError as error:
            raise StartupError(f"The report can't be written to {path} ({error.strerror}).") from None

    def lines(self) -> list[str]:
        """The report for a terminal."""
        verb = "would be taken" if self.dry_run else "taken"
        out = [f"{'table':22}{verb:>16}{'already there':>16}{'left':>8}"]
        for name, of in self.tables.items():
            left = sum(reason.count for reason in of.left.values())
            out.append(f"{name:22}{of.taken:>16,}{of.there:>16,}{left:>8,}")
        out += self._reasons("Left:", "left") + self._reasons("Taken, but for a part:", "mended")
        if self.without_place:
            counts = ", ".join(f"{name} ({count:,})" for name, count in self.without_place.items())
            out += ["", f"Nothing here can hold these yet; they were left: {counts}."]
        if self.notes:
            out += ["", *self.notes]
        if self.dry_run:
            out += ["", "Nothing was written."]
        return out

    def _reasons(self, heading: str, which: str) -> list[str]:
        out: list[str] = []
        for name, of in self.tables.items():
            found: dict[str, Reason] = getattr(of, which)
            for why, reason in found.items():
                more = ", ..." if reason.count > len(reason.examples) else ""
                out.append(f"  {name}: {reason.count:,}, {why} ({', '.join(reason.examples)}{more})")
        return ["", heading, *out] if out else []


def _count(reasons: dict[str, Reason], row: str, why: str) -> None:
    if why not in reasons and len(reasons) >= _REASONS:
        why = _OTHER
    reason = reasons.setdefault(why, Reason())
    reason.count += 1
    if len(reason.examples) < _EXAMPLES:
        reason.examples.append(_shown(row))


def _shown(row: Any) -> str:
    """An id as it may stand on a terminal."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(row))
    return text if len(text) <= 60 else f"{text[:57]}..."
