"""All kinds of things that can be opened to others. A new resource gets a row here; a test finds one that has none."""

from typing import Any, Final

from open_webui.models import (
    apps,
    calendars,
    channels,
    folders,
    knowledge,
    models,
    notes,
    prompts,
    shares,
    skills,
    tools,
)
from open_webui.models.resource import Resource

ALL: Final[tuple[Resource[Any], ...]] = (
    models.repository,
    folders.repository,
    shares.repository,
    knowledge.repository,
    tools.repository,
    skills.repository,
    prompts.repository,
    calendars.repository,
    notes.repository,
    channels.repository,
    apps.repository,
)
