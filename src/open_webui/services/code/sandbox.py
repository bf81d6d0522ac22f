"""The engine of this machine: each chat of a person has a notebook in a confined process of its own, as plugins have."""

import asyncio
import base64
import binascii
from collections import OrderedDict
from typing import Any, Final

import msgspec

from llamaforge.memory.devices import machine_memory
from open_webui.env import Settings
from open_webui.errors import TooManyRequests, Unavailable
from open_webui.models.base import new_id
from open_webui.plugins.host import Loaded, PluginFailed, PluginLost, PluginSource
from open_webui.plugins.source import CODE
from open_webui.services.code import inputs
from open_webui.services.code.deps import Deps
from open_webui.services.code.inputs import file_name
from open_webui.services.code.port import Given, Ran, Run

# The worker's own module; nothing of the server is read.
CONTENT: Final = "from oui_sandbox.notebook import Pipe\n"
# Notebooks that are kept, where there is memory for so many; of what the machine has, the share that they may take together.
MOST: Final = 24
SHARE: Final = 0.5
# Pieces that run at once, and notebooks of a person; the others wait.
MOST_OF_A_PERSON: Final = 4
AT_ONCE: Final = 8
# Seconds that a piece may wait for its turn.
WAIT_SECONDS: Final = 30.0
BUSY: Final = "Too much code is being run at the moment. Try again in a while."
BUSY_PERSON: Final = "Code of yours is being run in {} chats already. Wait until one of them is done."
FULL: Final = (
    "This server has memory for {} pieces of code at once, and all are in use. Try again in a while. An administrator can"
    " raise CODE_MEMORY_MB."
)
FORGOT: Final = "The process of the earlier code has ended: what it had named, and files that it wrote, are gone."


class _Given(msgspec.Struct, frozen=True):
    """What a notebook says came of a piece. It may have been written by the code itself."""

    stdout: str
    stderr: str
    result: str | None
    pictures: list[str]
    files: dict[str, str]
    left_out: list[str]


class _Notebook:
    """One chat's. loaded: of the process that ran its last piece. sent: names in its folder, by the files' ids."""

    def __init__(self, user_id: str, source: PluginSource) -> None:
        self.user_id = user_id
        self.source = source
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.loaded: Loaded | None = None
        self.sent: dict[str, str] = {}


def room_for(settings: Settings) -> int:
    """How many notebooks there is memory for, in this process: each may take PLUGIN_MEMORY_MB, and one there always is."""
    megabytes = settings.code_memory_mb or SHARE * (machine_memory() or 0) / 2**20
    if not megabytes:
        return MOST
    return max(1, min(MOST, int(megabytes / settings.uvicorn_workers // settings.plugin_memory_mb)))


class Sandbox:
    """All notebooks of this process, the one that was used last at the end."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._most = room_for(deps.settings)
        self._notebooks: OrderedDict[str, _Notebook] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self, run: Run) -> Ran:
        """See `Engine`. Raises TooManyRequests, Unavailable."""
        key = f"{run.principal.id}/{run.chat_id or new_id()}"
        notebook = self._notebook(key, run)
        notebook.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS) as wait, notebook.lock, self._turns:
                wait.reschedule(None)
                return await self._run(notebook, run)
        except TimeoutError:
            if not wait.expired():
                raise
            raise TooManyRequests(BUSY) from None
        finally:
            notebook.waiting -= 1
            if run.chat_id is None:
                self._drop(key)

    def _notebook(self, key: str, run: Run) -> _Notebook:
        found = self._notebooks.get(key)
        if found is None:
            self._make_room(run.principal.id)
            named = self._deps.settings.code_packages.split(",")
            packages = tuple(part.strip() for part in named if part.strip())
            source = PluginSource(id=key, kind=CODE, content=CONTENT, requirements=packages)
            found = self._notebooks[key] = _Notebook(run.principal.id, source)
        self._notebooks.move_to_end(key)
        return found

    def _make_room(self, user_id: str) -> None:
        """Ends the notebook that was not used for longest, where there are too many. Raises TooManyRequests."""
        own = [key for key, notebook in self._notebooks.items() if notebook.user_id == user_id]
        if len(own) >= MOST_OF_A_PERSON:
            self._end_one(own, BUSY_PERSON.format(len(own)))
        if len(self._notebooks) >= self._most:
            self._end_one(list(self._notebooks), FULL.format(self._most))

    def _end_one(self, keys: list[str], sentence: str) -> None:
        idle = next((key for key in keys if not self._notebooks[key].waiting), None)
        if idle is None:
            raise TooManyRequests(sentence)
        self._drop(idle)

    def _drop(self, key: str) -> None:
        if (notebook := self._notebooks.pop(key, None)) is not None:
            self._deps.plugins.unload(CODE, notebook.source.id)

    async def _run(self, notebook: _Notebook, run: Run) -> Ran:
        host, source = self._deps.plugins, notebook.source
        try:
            loaded = await host.load(source)
            forgot = notebook.loaded is not None and loaded is not notebook.loaded
            if loaded is not notebook.loaded:
                notebook.loaded, notebook.sent = loaded, {}
            given, notes = await self._files(notebook, run)
            arguments = {"code": run.code, "files": {f.name: base64.b64encode(f.data).decode() for f in given.values()}}
            value = await host.call(source, "pipe", arguments, seconds=run.seconds)
        except PluginLost as error:
            # The next piece begins at once, however often this happens: it is no plugin that everybody's answers wait for.
            host.unload(CODE, source.id)
            return Ran(stderr=error.detail)
        except PluginFailed as error:
            return Ran(stderr=f"{error.kind}: {error.detail}" if error.kind else error.detail)
        notebook.sent |= {file_id: file.name for file_id, file in given.items()}
        return _ran(value, [*([FORGOT] if forgot else []), *notes])

    async def _files(self, notebook: _Notebook, run: Run) -> tuple[dict[str, Given], list[str]]:
        """What the folder does not have yet of the question's files."""
        wanted = {k: v for k, v in inputs.ids_of(run.files).items() if k not in notebook.sent}
        if not wanted:
            return {}, []
        return await inputs.read(self._deps, run.principal, wanted, notebook.sent.values())


def _ran(value: Any, notes: list[str]) -> Ran:
    """What came back, looked at: code may send anything. Raises Unavailable."""
    try:
        given = msgspec.convert(value, _Given)
        pictures = tuple(base64.b64decode(data, validate=True) for data in given.pictures)
        files = {file_name(name): base64.b64decode(data, validate=True) for name, data in given.files.items()}
    except (msgspec.ValidationError, binascii.Error, ValueError):
        raise Unavailable("The code broke the process that it ran in; nothing is known of what it did.") from None
    return Ran(
        stdout=given.stdout,
        stderr=given.stderr,
        result=given.result,
        pictures=pictures,
        files=files,
        left_out=tuple(given.left_out),
        notes=tuple(notes),
    )
