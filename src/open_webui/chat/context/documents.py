"""The stage that gives an answer its sources: what the question, the model and the folder have attached, read or searched"""

import importlib
from typing import Any

from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn


async def documents(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with the sources in it, which are shown and stored with the answer; as it is where nothing is attached.

    Raises BadRequest and NotFound for attachments of the question that can't be used, Forbidden for a search of the web that is
    not allowed.
    """
    if not turn.request.files and not turn.brought and "web_search" not in turn.request.features:
        return draft
    # Not needed to start.
    reading: Any = importlib.import_module("open_webui.chat.reading")
    read: Draft = await reading.with_sources(turn, draft, context)
    return read
