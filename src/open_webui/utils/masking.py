"""Secrets out of what is printed: passwords and keys inside addresses, and values whose name says that they are secret."""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
# The password of an address: what stands between the first colon and the last @ of its host part.
_USER_INFO = re.compile(r"(?<=://)([^/?#\s:@]*):([^/?#\s]*)@")
_SECRET = r"(?:key|token|secret|password|passwd|pwd|credentials?|authorization|signature|sig)"
_QUERY = re.compile(rf"([?&#;](?:[\w.\-]*[_.\-])?(?:api|access)?{_SECRET})=([^&#;\s\"']+)", re.IGNORECASE)
_NAME = re.compile(rf"(?:.*[_\-.])?(?:api|access)?{_SECRET}", re.IGNORECASE)


def masked(value: Any) -> Any:
    """The same JSON value without the passwords of addresses and without what stands under names such as `api_key`."""
    if isinstance(value, str):
        return _QUERY.sub(rf"\1={MASK}", _USER_INFO.sub(rf"\1:{MASK}@", value))
    if isinstance(value, Mapping):
        return {
            name: MASK if item and isinstance(item, str) and _NAME.fullmatch(str(name)) else masked(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value
