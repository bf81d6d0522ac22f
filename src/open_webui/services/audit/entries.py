"""What an entry says of an act: bounded, without secrets, and in texts that every database holds."""

import time
from collections.abc import Mapping
from typing import Any, Final

from open_webui.internal.acts import Act
from open_webui.internal.log import request_id
from open_webui.models.audit import Entry, text_of
from open_webui.models.base import clean
from open_webui.utils.masking import masked

LONGEST_TEXT: Final = 200
MOST_ITEMS: Final = 50
_DEPTH: Final = 4
# Bytes of an entry. What is longer says which fields were changed, and not what they were.
LONGEST: Final = 16_384
_MARK: Final = "…"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def entry_of(act: Act, outcome: str = "done", status: int = 0, times: int = 1) -> Entry:
    """An entry of what an act is by now."""
    parameters = {name: str(value) for name, value in act.parameters.items()}
    if act.role_set:
        parameters["role_set"] = act.role_set
    return Entry(
        at=now_ms(),
        by=act.actor_id,
        email=_text(act.actor),
        via=act.via,
        key=act.key,
        address=_text(act.address),
        what=act.what,
        action=act.action,
        resource=act.resource or act.area,
        id=_text(act.resource_id),
        parameters=shown(parameters) if parameters else {},
        outcome=outcome,
        status=status,
        times=times,
        reason=_text(act.reason),
        changes={_text(name): _change(name, *change) for name, change in act.changes.items()},
        opened=[(kind, _text(one), _text(owner)) for kind, one, owner in act.opened],
        request=request_id.get() or "",
    )


def bounded(entry: Entry) -> str:
    """An entry's text, no longer than LONGEST bytes."""
    text = text_of(entry)
    if len(text.encode()) <= LONGEST:
        return text
    names = dict.fromkeys(entry.changes, (None, _MARK))
    kept = {f: getattr(entry, f) for f in entry.__struct_fields__} | {
        "changes": names,
        "opened": entry.opened[:MOST_ITEMS],
    }
    return text_of(Entry(**kept))


def shown(value: Any, depth: int = _DEPTH) -> Any:
    """A value of a change: what stands under names of secrets is masked, and long ones are cut."""
    return _cut(masked(value), depth)


def _change(name: str, before: Any, after: Any) -> tuple[Any, Any]:
    """A change as it is told. What stands under a secret's name is one, too."""
    return shown({name: before}).popitem()[1], shown({name: after}).popitem()[1]


def _cut(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, str):
        return _text(value)
    if depth == 0:
        return _MARK
    if isinstance(value, Mapping):
        items = list(value.items())[:MOST_ITEMS]
        out: dict[str, Any] = {_text(str(name)): _cut(item, depth - 1) for name, item in items}
        return out | ({_MARK: len(value) - MOST_ITEMS} if len(value) > MOST_ITEMS else {})
    if isinstance(value, list | tuple | set | frozenset):
        listed = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        return [_cut(item, depth - 1) for item in listed[:MOST_ITEMS]] + ([_MARK] if len(listed) > MOST_ITEMS else [])
    return _text(str(value))


def _text(text: str) -> str:
    # A text may have halves of characters, which no file and no database holds.
    plain = clean(text if text.isascii() else text.encode(errors="replace").decode())
    return plain if len(plain) <= LONGEST_TEXT else plain[:LONGEST_TEXT] + _MARK
