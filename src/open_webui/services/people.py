"""How people are shown to each other: lists, pictures, one's own settings."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.access.permissions import may_set_params
from open_webui.config import Config
from open_webui.errors import BadRequest, TooLarge
from open_webui.internal.db import dumps
from open_webui.models.base import clean_json
from open_webui.models.users import Person, User
from open_webui.principal import Principal
from open_webui.schemas.users import UserInfo
from open_webui.utils import pictures

# A page keeps a background picture among its settings.
MAX_DOCUMENT: Final = 4 * 2**20
# Keys of the page's settings and the permissions that they need.
# What the page keeps of a person that is no setting of how it looks and behaves.
_BESIDES_INTERFACE: Final = frozenset(
    "models pinnedModels system params memory notifications toolServers audio version".split()
)
_NEEDS: Final[tuple[tuple[str, str], ...]] = (
    ("toolServers", "features.direct_tool_servers"),
    ("system", "chat.system_prompt"),
)
# They hold keys of a person's own providers and tools, which nobody else needs to see.
_PRIVATE: Final = ("directConnections", "toolServers")


class Picture(msgspec.Struct, frozen=True):
    """A profile picture: bytes and their type, or an address elsewhere."""

    data: bytes = b""
    media_type: str = "image/png"
    url: str | None = None

    @property
    def etag(self) -> str:
        return f'"{hashlib.blake2b(self.data, digest_size=12).hexdigest()}"'


def picture(user: User) -> Picture:
    """What to show for a person. Bytes are recognised again: stored rows are not trusted."""
    url = user.profile_image_url
    if url.startswith("data:"):
        found = pictures.from_data_url(url)
        if found is not None:
            return Picture(*found)
    elif url.startswith("https://"):
        return Picture(url=url)
    return nobody()


def nobody() -> Picture:
    return Picture(pictures.nobody())


def shown_to(caller: Principal, user: User | Person, groups: list[Any] | None = None) -> UserInfo:
    """What a signed-in person may know of another: name, picture and presence; administrators, and oneself, all of it.

    The wire has a place for the rest, so it is there and empty.
    """
    whole = info(user, groups)
    if caller.is_admin or caller.id == user.id:
        return whole
    return msgspec.structs.replace(
        whole, email="", role="user", bio=None, last_active_at=None, timezone=None, groups=[]
    )


def info(user: User | Person, groups: list[Any] | None = None) -> UserInfo:
    """What administrators know of somebody at a glance."""
    return UserInfo(
        status_emoji=user.status_emoji,
        status_message=user.status_message,
        status_expires_at=user.status_expires_at,
        id=user.id,
        name=user.name,
        email=user.email,
        role=user.role,
        bio=user.bio,
        last_active_at=user.last_active_at,
        timezone=user.timezone,
        groups=groups or [],
        is_active=user.is_active,
    )


def without_secrets(user: User) -> dict[str, Any]:
    """A person's row for an admin, without the keys they keep for themselves."""
    row = msgspec.structs.asdict(user)
    ui = (user.settings or {}).get("ui")
    if user.settings is not None and isinstance(ui, dict) and any(key in ui for key in _PRIVATE):
        row["settings"] = user.settings | {"ui": {k: v for k, v in ui.items() if k not in _PRIVATE}}
    return row


def effective_settings(stored: dict[str, Any] | None, config: Config) -> dict[str, Any] | None:
    """A person's settings over the defaults that an admin set for the page."""
    defaults = config["ui.default_interface_settings"]
    if not defaults:
        return stored
    own = stored or {}
    ui = own.get("ui")
    return own | {"ui": defaults | (ui if isinstance(ui, dict) else {})}


def merge_settings(stored: dict[str, Any] | None, posted: Mapping[str, Any], caller: Principal) -> dict[str, Any]:
    """Settings after an update: the keys of `ui` that are posted replace the stored ones, null removes one.

    What the caller has no permission for is left as it is. Raises BadRequest and TooLarge.
    """
    changes = document(posted)
    merged = dict(stored or {}) | {k: v for k, v in changes.items() if k != "ui"}
    before = merged.get("ui")
    ui = dict(before) if isinstance(before, dict) else {}
    given = changes.get("ui")
    if given is not None and not isinstance(given, dict):
        raise BadRequest("The settings of the page must be an object.")
    denied = {key for key, permission in _NEEDS if not caller.may(permission)}
    if not may_set_params(caller):
        denied.add("params")
    if not caller.may("settings.interface"):
        denied |= (given or {}).keys() - _BESIDES_INTERFACE
    for key, value in (given or {}).items():
        if key in denied:
            continue
        if value is None:
            ui.pop(key, None)
        elif key == "notifications" and not caller.may("features.webhooks") and isinstance(value, dict):
            ui[key] = {k: v for k, v in value.items() if k != "webhook_url"}
        else:
            ui[key] = value
    return bounded(merged | {"ui": ui})


def document(value: Mapping[str, Any]) -> dict[str, Any]:
    """A posted object that every database can hold. Raises BadRequest when it is nested too deeply."""
    try:
        cleaned: dict[str, Any] = clean_json(dict(value))
    except ValueError as error:
        raise BadRequest(f"This can't be stored: it {error}.") from None
    return cleaned


def bounded(value: dict[str, Any]) -> dict[str, Any]:
    """The same object. Raises TooLarge when it is larger than a person's settings may grow."""
    if len(dumps(value)) > MAX_DOCUMENT:
        raise TooLarge(f"This is more than is kept for one person ({MAX_DOCUMENT // 2**20} MB).")
    return value
