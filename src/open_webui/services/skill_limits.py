"""How much of skills there may be: for one person, and for a model at once. As the settings say."""

from typing import Final, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.config import Config
from open_webui.errors import BadRequest
from open_webui.models import skills, users
from open_webui.services.deps import FileDeps

# Characters of a text that a model reads at once, and of what it sees of a longer one, unless an admin says otherwise.
AT_ONCE: Final = 50_000
PREVIEW: Final = 50_000
# Whatever an admin says.
MOST: Final = 1_000_000
TOO_MANY: Final = "You have {} skills, and this server keeps {} for a person. Delete some that you don't need any more."


class Deps(FileDeps, Protocol):
    """What skills need of the state."""

    config: Config


class Reading(msgspec.Struct, frozen=True):
    """at_once: characters of a text that a model reads in one call. preview: what it sees of a longer one at first."""

    at_once: int
    preview: int


def reading(config: Config) -> Reading:
    """As the settings say."""
    at_once = _within(config["skills.content_max_chars"], AT_ONCE)
    return Reading(at_once, min(at_once, _within(config["skills.preview_max_chars"], PREVIEW)))


def _within(given: int | None, otherwise: int) -> int:
    return min(given, MOST) if given is not None and given > 0 else otherwise


async def check_count(connection: AsyncConnection, config: Config, user_id: str) -> None:
    """Whether a person may have one more skill. Others that the same person makes meanwhile wait. Raises BadRequest."""
    most: int = config["skills.max_count"]
    if most <= 0:
        return
    await users.lock(connection, [user_id])
    count = await skills.count_of(connection, user_id)
    if count >= most:
        raise BadRequest(TOO_MANY.format(count, most))
