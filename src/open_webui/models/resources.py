"""All kinds of things that can be opened to others. A new resource gets a row here; a test finds one that has none."""

from typing import Any, Final

from open_webui.models import folders, models, shares
from open_webui.models.resource import Resource

ALL: Final[tuple[Resource[Any], ...]] = (models.repository, folders.repository, shares.repository)
