"""Speech for people: what is spoken and listened to for whom, within which limits; their calls; and the settings of it."""

from typing import Protocol

from open_webui.services.audio.calls import Calls
from open_webui.services.audio.calls import Deps as _CallDeps
from open_webui.services.audio.hearing import Deps as _HearingDeps
from open_webui.services.audio.hearing import Hearing
from open_webui.services.audio.speaking import Speaking


class _Deps(_CallDeps, _HearingDeps, Protocol):
    """What all of it needs of the state."""


class Audio:
    """All of it, in one process."""

    def __init__(self, deps: _Deps) -> None:
        self.speaking = Speaking(deps)
        self.hearing = Hearing(deps)
        self.calls = Calls(deps)

    async def close(self) -> None:
        """Ends the calls, the processes that listen and the one that speaks."""
        await self.calls.close()
        await self.hearing.close()
        await self.speaking.close()
