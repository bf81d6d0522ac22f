"""A picture made for an answer, with statuses below it while the engine works."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from open_webui.errors import OuiError
from open_webui.principal import Principal
from open_webui.services.images.making import Kept, Pictures, Wanted

ACTION: Final = "image_generation"
# A step is told each time when so much of the work is done.
_STEPS: Final = 4
WORKING: Final = {False: "Making the picture", True: "Changing the picture"}
DONE: Final = {False: "Made the picture", True: "Changed the picture"}
FAILED: Final = {False: "The picture could not be made: {}", True: "The picture could not be changed: {}"}
Add = Callable[[dict[str, Any]], Awaitable[None]]


async def made(pictures: Pictures, principal: Principal, wanted: Wanted, add_status: Add) -> list[Kept]:
    """The pictures of an order. Raises OuiError, which the statuses say, too."""
    changing = bool(wanted.images)
    news: asyncio.Queue[int] = asyncio.Queue()
    reached = 0

    def tell(done: float | None, _note: str | None) -> None:
        nonlocal reached
        if done is not None and reached < int(done * _STEPS) < _STEPS:
            reached = int(done * _STEPS)
            news.put_nowait(reached * 100 // _STEPS)

    async def show() -> None:
        while True:
            percent = await news.get()
            await add_status({"action": ACTION, "description": f"{WORKING[changing]}: {percent} %", "done": False})

    await add_status({"action": ACTION, "description": WORKING[changing], "done": False})
    showing = asyncio.create_task(show(), name="steps of a picture")
    try:
        kept = await pictures.make(principal, wanted, tell)
    except OuiError as error:
        said = FAILED[changing].format(error.detail)
        await add_status({"action": ACTION, "description": said, "done": True, "error": True})
        raise
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    await add_status({"action": ACTION, "description": DONE[changing], "done": True})
    return kept


def entries(kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """Pictures as files of a message."""
    return [one.entry() for one in kept]
