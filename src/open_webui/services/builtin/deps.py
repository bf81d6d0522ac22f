"""What the built-in tools need of the server's state."""

from typing import TYPE_CHECKING, Any, Protocol

from open_webui.services.library import Library, LibraryDeps

if TYPE_CHECKING:
    from open_webui.jobs.queue import Queue
    from open_webui.services.code.running import Code
    from open_webui.services.images.making import Pictures
    from open_webui.services.note_documents import NoteJobs
    from open_webui.services.notifications import Notifier
    from open_webui.services.reminders import Reminders
    from open_webui.services.schedule import Schedule


class Deps(LibraryDeps, Protocol):
    """What the tools need of the state. emitter: asks the person's page. notifier: tells the person elsewhere."""

    emitter: Any
    notifier: "Notifier"
    jobs: "Queue"
    note_jobs: "NoteJobs"
    pictures: "Pictures"

    @property
    def library(self) -> Library: ...

    @property
    def reminders(self) -> "Reminders": ...

    @property
    def schedule(self) -> "Schedule": ...

    @property
    def code(self) -> "Code": ...
