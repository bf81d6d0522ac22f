"""Speech for people: what is spoken and listened to for whom, within which limits; and the settings of it."""

from open_webui.services.audio.hearing import Deps as _HearingDeps
from open_webui.services.audio.hearing import Hearing
from open_webui.services.audio.speaking import Speaking


class Audio:
    """Both, in one process."""

    def __init__(self, deps: _HearingDeps) -> None:
        self.speaking = Speaking(deps)
        self.hearing = Hearing(deps)

    async def close(self) -> None:
        """Ends the processes that listen and the one that speaks."""
        await self.hearing.close()
        await self.speaking.close()
