"""Questions to a person's page: asked over its socket, and closed everywhere once they are answered, or nobody waits any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from open_webui.errors import BadRequest
from open_webui.events import Caller
from open_webui.models.base import new_id

NO_PAGE: Final = "There is no page that could be asked."
GONE: Final = "Client session disconnected."
LATE: Final = "Nobody answered within {:g} seconds."


async def ask(
    page: Caller,
    person: tuple[str | None, str],
    about: tuple[str | None, str | None],
    question: tuple[str, dict[str, Any]],
    *,
    seconds: float,
    event: Callable[[str, dict[str, Any]], Awaitable[None]],
    elsewhere: "asyncio.Future[Any] | None" = None,
) -> Any:
    """What a page answers. Raises BadRequest where it doesn't.

    person: the socket of the page, and whose it is. about: ids of a chat and a message. question: its type and data. event: an
    event to all who may have seen it. elsewhere: where the answer may come in another way: it is waited for when the page goes.
    """
    (session_id, user_id), (chat_id, message_id), (kind, data) = person, about, question
    if session_id is None:
        raise BadRequest(NO_PAGE)
    interaction = {"interaction_id": new_id()}
    payload = {"chat_id": chat_id, "message_id": message_id, "data": {"type": kind, "data": data | interaction}}
    called = asyncio.ensure_future(page.call(session_id, user_id, payload, seconds))
    try:
        return await (called if elsewhere is None else _first(called, elsewhere, seconds))
    except LookupError:
        raise BadRequest(GONE) from None
    except TimeoutError:
        raise BadRequest(LATE.format(seconds)) from None
    finally:
        called.cancel()
        await event("request:interaction:done", interaction)


async def _first(called: "asyncio.Future[Any]", elsewhere: "asyncio.Future[Any]", seconds: float) -> Any:
    """The answer that comes first. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        await asyncio.wait({called, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
        if not elsewhere.done():
            try:
                return called.result()
            except LookupError:
                # The page is gone; it may come back.
                return await elsewhere
    if called.done() and not called.cancelled():
        called.exception()
    return elsewhere.result()
