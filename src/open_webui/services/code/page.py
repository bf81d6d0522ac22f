"""The engine of the page: the one that asked runs the code in the person's browser, if it has a Python for that."""

import uuid
from typing import Any, Final

from open_webui.errors import Unavailable
from open_webui.events import Caller, ChatEvent
from open_webui.services.code.port import Ran, Run
from open_webui.services.code.pulling import without_pictures
from open_webui.utils.addresses import file_id_of
from oui_sandbox.printed import bounded

NO_PAGE: Final = (
    "Code is run by the person's page here, and none is open. An administrator can have the server run it instead."
)


class PageEngine:
    """Asks the page that asked the question (`execute:python`)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def run(self, run: Run) -> Ran:
        """See `Engine`. Raises Unavailable."""
        if run.session_id is None:
            raise Unavailable(NO_PAGE)
        asked = {
            "id": str(uuid.uuid4()),
            "code": run.code,
            "session_id": run.session_id,
            "files": [_file(entry) for entry in run.files],
        }
        event = ChatEvent(run.chat_id or "", run.message_id, "execute:python", asked)
        try:
            answer = await self._caller.call(run.session_id, run.principal.id, event.wire(), run.seconds)
        except TimeoutError:
            raise Unavailable(f"The page did not run the code within {run.seconds:g} seconds.") from None
        except LookupError:
            raise Unavailable(NO_PAGE) from None
        if not isinstance(answer, dict):
            raise Unavailable("The page has no Python to run code with.")
        return _ran(answer)


def _file(entry: dict[str, Any]) -> dict[str, Any]:
    """A file of the question as the page is told of it."""
    return {"id": file_id_of(entry) or entry.get("id"), "name": entry.get("name"), "filename": entry.get("name")}


def _ran(answer: dict[str, Any]) -> Ran:
    stdout, printed = without_pictures(_text(answer.get("stdout")))
    result, shown = without_pictures(_text(answer.get("result")))
    told = _text(answer.get("stderr")) or _text(answer.get("error"))
    return Ran(
        stdout=bounded(stdout), stderr=bounded(told), result=bounded(result) or None, pictures=(*printed, *shown)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
