"""Settings: those that this server has, too, and that nobody here has set."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from open_webui.access.tokens import parse_duration
from open_webui.config import BY_KEY
from open_webui.models import configs, moved
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.principal import ROLES

_LARGEST: Final = 1_000_000


def _is_duration(value: Any) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


# What a value has to be besides its type.
_FITS: Final[Mapping[str, Callable[[Move, Any], bool]]] = {
    "ui.default_user_role": lambda _move, value: value in ROLES,
    "ui.default_group_id": lambda move, value: value == "" or move.is_here("group", value),
    "auth.jwt_expiry": lambda _move, value: _is_duration(value),
}


async def setting(move: Move, row: Row) -> tuple[str, Any] | None:
    """A key and its value; None for one that is set here. Raises Left."""
    key = row.need("key", 1_000)
    if key not in BY_KEY:
        raise Left("this server has no such setting")
    if not (move.trusted or move.with_settings):
        raise Left("settings of a server with accounts stay as they are; --settings takes them")
    variable = move.admin.config.locked_by(key)
    if variable is not None:
        raise Left("the environment says it here")
    if len(row.raw("value") or "") > _LARGEST:
        raise Left(f"it has more than {_LARGEST:,} characters")
    value = row.json("value")
    if row.mended:
        raise Left("its value is no JSON")
    async with move.database.read() as connection:
        if await moved.stored_keys(connection, [key]):
            return None
    if not BY_KEY[key].accepts(value) or (key in _FITS and not _FITS[key](move, value)):
        raise Left("its value is none that it can have here")
    return key, value


async def store_setting(move: Move, made: tuple[str, Any] | None) -> bool:
    if made is None:
        return False
    async with move.database.write() as unit:
        await configs.put(unit.connection, dict([made]))
    return True


SETTINGS: Final = Part(
    "config", "config", ("key", "value"), setting, store_setting, key="key", owned=False, has_ids=False
)
