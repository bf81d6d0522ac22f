"""Models of this machine, as administrators see to them: state, adding, removing, downloads and loads in the background."""

import asyncio
import contextlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llamaforge import LlamaForgeError
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.local.eliza import ELIZA
from open_webui.connections.local.library import EXTRAS, LLAMA_CPP, TRANSFORMERS, backend_of, missing_extra, parts_of
from open_webui.connections.local.models import LocalModels, Offer, plan_of
from open_webui.errors import BadRequest, Conflict, Forbidden, NotFound, OuiError, Unavailable
from open_webui.internal.bus.followed import Followed
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import jobs, local_models
from open_webui.models.jobs import Job
from open_webui.schemas.llamaforge import AddLocalModel
from open_webui.utils.threads import in_own_thread

if TYPE_CHECKING:
    from llamaforge.hub import Found

log = get_logger(__name__)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?(/.+\.gguf)?")
MAX_ADDED: Final = 1_000
# A download stops between two parts of it; what takes longer ends in the background.
STOP_SECONDS: Final = 5.0
# What other processes add is looked for so often, whatever they say.
FOLLOW_SECONDS: Final = 60.0
_REMOTE: Final = ("hf:", "ollama:")
# Of a download's job, before the model's name.
_KEY: Final = "download:"
LOAD_HINT: Final = "The model is not there yet: its download is not complete."
SWITCHED_OFF: Final = "Models of this machine are switched off on this server."
OUTSIDE: Final = (
    "Models can be added from the folder of models only (models in the server's data folder). Whoever operates this"
    " machine can allow others with LOCAL_MODELS_TRUST_ADMINS."
)
OWN_CODE: Final = (
    "A model that runs code of its own is not allowed on this server. Whoever operates this machine can allow it with"
    " LOCAL_MODELS_TRUST_ADMINS."
)
# Parameters that are texts and name no file and no address. Of others only those who operate the machine may decide.
_TEXTS: Final = frozenset(
    (
        "torch_dtype dtype device cache_type_k type_k cache_type_v type_v flash_attn pooling_type pooling rope_scaling"
        " rope_scaling_type chat_template stop samplers dry_sequence_breakers grammar"
    ).split()
)
Wire = dict[str, Any]


class StoppedError(Exception):
    """A download was told to stop."""


class Download(msgspec.Struct, frozen=True):
    """The payload of a job: what is downloaded, and for which model."""

    name: str
    source: str


class Load:
    """A load that is going on, or how the last one failed."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.task: asyncio.Task[None] | None = None

    def ended(self, task: "asyncio.Task[None]") -> None:
        """Keeps what nobody had foreseen."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = f"Something went wrong on the server ({type(error).__name__}). The log has the details."
            log.error("a local model's load ended in a bug", task=task.get_name(), exc_info=error)

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


class Llamaforge:
    """What administrators do with the models of this machine. All methods but `listed` raise OuiErrors."""

    def __init__(self, models: LocalModels, catalogue: Catalogue, database: Database, queue: Queue, bus: Bus) -> None:
        self._models = models
        # What admins added, which other processes may change too.
        self._stored = Followed("local models", bus, self._refresh, every=FOLLOW_SECONDS)
        self._catalogue = catalogue
        self._database = database
        self._queue = queue
        self._loads: dict[str, Load] = {}
        self._change = asyncio.Lock()
        # What fails is for an administrator to see; what ended with its process goes on.
        self._kind = Kind(
            name="download model", payload=Download, handler=self._download, concurrency=4, retry=Retry(attempts=20)
        )
        queue.add(self._kind)

    def open(self) -> None:
        """Begins to see what other processes change."""
        if not self._database.is_sqlite:
            self._stored.open()

    async def close(self) -> None:
        """Stops loads."""
        await self._stored.close()
        await asyncio.gather(*(load.stop() for load in self._loads.values()))

    # What there is

    async def listed(self) -> Wire:
        """All models, the memory that they take, and the engines."""
        await self._refresh()
        await self._models.look()
        running = self._models.status()
        downloads = await self._downloads()
        return {
            "enabled": self._models.settings.enable_local_models,
            "models": [self._wire(offer, downloads.get(offer.name)) for offer in self._models.offers.values()],
            "memory": {
                "budget": self._models.budget.get("ram"),
                "used": sum(status.memory for status in running.values()),
            },
            "backends": [
                {"name": name, "extra": extra, "installed": missing_extra(name) is None}
                for name, (extra, _) in EXTRAS.items()
            ],
        }

    async def one(self, name: str) -> Wire:
        """A model. Raises NotFound."""
        offer = self._offer(name)
        await self._models.look()
        return self._wire(offer, (await self._downloads()).get(name))

    async def _downloads(self) -> dict[str, Job]:
        """The last download of each model that one was asked for."""
        async with self._database.read() as connection:
            found = await jobs.of_kind(connection, self._kind.name)
        return {(job.key or "").removeprefix(_KEY): job for job in reversed(found)}

    def _offer(self, name: str) -> Offer:
        offer = self._models.offers.get(name)
        if offer is None:
            raise NotFound("There is no such model on this machine.")
        return offer

    def _wire(self, offer: Offer, download: Job | None) -> Wire:
        found, row, load = offer.found, offer.row, self._loads.get(offer.name)
        if found is not None:
            download = None
        status = self._models.status().get(offer.name)
        running = status is not None and status.state in {"loading", "ready"}
        error = offer.problem or (load.error if load is not None and not load.is_running else None)
        if error is None and download is not None and download.state == "failed":
            error = download.error
        if error is None and status is not None:
            error = status.error
        progress = download.progress if download is not None and download.state == "running" else None
        if status is not None and status.state == "loading":
            progress = status.progress
        return {
            "name": offer.name,
            "state": self._state(offer, load, download),
            "progress": progress,
            "error": error,
            "added": row is not None,
            "source": row.source if row is not None else None,
            "file": self._shown(found.path if found is not None else None),
            "backend": offer.backend,
            "parameters": offer.parameters,
            "size": found.size if found is not None else None,
            "architecture": found.architecture if found is not None else None,
            "quantization": found.quantization if found is not None else None,
            "context_length": found.context if found is not None else None,
            "memory": {
                "needed": found.memory if found is not None else None,
                "used": status.memory if status is not None and running else 0,
            },
            "slots": {
                "all": self._models.settings.local_models_slots,
                "used": status.in_use if status is not None else 0,
                "waiting": status.queued if status is not None else 0,
            },
            "last_used": int(status.last_used) if status is not None and status.last_used is not None else None,
            "restarts": status.restarts if status is not None else 0,
        }

    def _state(self, offer: Offer, load: Load | None, download: Job | None) -> str:
        if download is not None and download.state in jobs.LIVE:
            return "downloading"
        if offer.found is None:
            return "incomplete"
        if offer.problem is not None:
            return "unusable"
        status = self._models.status().get(offer.name)
        if status is not None and status.state in {"loading", "failed"}:
            return status.state
        if status is not None and status.state == "ready":
            return "loaded"
        return "loading" if load is not None and load.is_running else "unloaded"

    def _shown(self, path: str | None) -> str | None:
        """A path from the folder of models on; whole where it lies elsewhere."""
        if path is None:
            return None
        folder = self._models.folder
        shown = Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path
        # Names of files may be any bytes.
        return os.fsencode(shown).decode(errors="replace")

    async def _refresh(self) -> None:
        await self._models.reload()
        await self._catalogue.relist_local()

    # What is changed

    async def add(self, form: AddLocalModel) -> Wire:
        """Adds a model. Raises BadRequest, Forbidden, Conflict, Unavailable."""
        self._check_on()
        remote = form.source.startswith(_REMOTE)
        path = None if remote else await asyncio.to_thread(self._checked_path, form.source)
        backend = form.backend or (backend_of(path) if path is not None else None)
        self._check_parameters(form.name, path or "", backend, form.parameters)
        if remote:
            await asyncio.to_thread(check_source, form.source)
        async with self._change:
            await self._models.reload()
            taken = self._models.offers.get(form.name)
            # A file's own name may be given to it, to set its parameters.
            if form.name == ELIZA or (taken is not None and (taken.found is None or taken.found.path != path)):
                raise Conflict(f"There is a model called {form.name} already. Choose another name.")
            if len(self._models.offers) >= MAX_ADDED:
                raise BadRequest(f"There can be at most {MAX_ADDED} models.")
            async with self._database.write() as unit:
                values: dict[str, Any] = {"source": form.source, "path": path, "backend": form.backend}
                if not await local_models.insert(unit.connection, form.name, **values, parameters=form.parameters):
                    raise Conflict(f"There is a model called {form.name} already. Choose another name.")
                if remote:
                    await self._enqueue(unit, form.name, form.source)
            await self._stored.changed()
        log.info("a local model was added", model=form.name, source=form.source)
        return await self.one(form.name)

    async def remove(self, name: str, *, files: bool) -> None:
        """Unloads and forgets a model. files: what lies in the folder of models is deleted."""
        offer = self._offer(name)
        if offer.row is None and not files:
            raise BadRequest("This model was not added: it lies in the folder of models. Remove it with its files.")
        if files:
            self._check_unshared(offer)
        await self._stop(name)
        await self._models.unload(name)
        async with self._change:
            async with self._database.write() as unit:
                await local_models.delete(unit.connection, name)
            if files and offer.found is not None:
                await asyncio.to_thread(self._delete, Path(offer.found.path))
            await self._stored.changed()
        log.info("a local model was removed", model=name, files=files)

    def _check_unshared(self, offer: Offer) -> None:
        """Raises Conflict when another model lies where this one does, or inside it."""
        if offer.found is None:
            return
        path = Path(offer.found.path)
        for other in self._models.offers.values():
            theirs = other.row.path if other.row is not None else None
            if other.name != offer.name and theirs is not None and Path(theirs).is_relative_to(path):
                raise Conflict(f"The files are also those of the model {other.name}. Remove that one first.")

    def _delete(self, path: Path) -> None:
        """Deletes a model's files, never anything outside of the folder. Raises Forbidden, Unavailable."""
        if not self._models.inside(path):
            raise Forbidden("The model was removed, but not its files: they lie outside of the folder.", status=403)
        try:
            if path.is_symlink() or path.is_file():
                for part in parts_of(str(path)):
                    Path(part).unlink()
            else:
                shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Unavailable(f"The files could not be deleted: {error.strerror or error}.") from error

    def _check_on(self) -> None:
        if not self._models.settings.enable_local_models:
            raise Unavailable(SWITCHED_OFF)

    def _checked_path(self, source: str) -> str:
        """The path of a model that may be used. Raises Forbidden, BadRequest."""
        path = Path(os.path.normpath(self._models.folder / source))
        try:
            # Whether something lies elsewhere is told to nobody who may not use it.
            if not self._models.settings.local_models_trust_admins and not self._models.inside(path):
                raise Forbidden(OUTSIDE, status=403)
            is_there = path.is_dir() or (path.is_file() and path.suffix.lower() == ".gguf")
            is_there = is_there and path.resolve() != self._models.folder.resolve()
        except (OSError, ValueError, RuntimeError):
            is_there = False
        if not is_there:
            raise BadRequest("There is no GGUF file and no Transformers folder at this path.")
        return str(path)

    def _check_parameters(self, name: str, path: str, backend: str | None, parameters: dict[str, Any]) -> None:
        """Raises BadRequest for parameters that the backend doesn't know or take, Forbidden for dangerous ones."""
        if backend is not None and backend not in EXTRAS:
            raise BadRequest(f"'{backend}' runs no models here. Choose one of {', '.join(EXTRAS)}.")
        kinds = [backend] if backend is not None else [LLAMA_CPP, TRANSFORMERS]
        problems = [problem for kind in kinds if (problem := problem_with(name, path, kind, parameters)) is not None]
        if len(problems) == len(kinds):
            raise BadRequest(problems[0])
        trusted = self._models.settings.local_models_trust_admins
        if not trusted and parameters.get("trust_remote_code"):
            raise Forbidden(OWN_CODE, status=403)
        for key, value in parameters.items():
            if not trusted and not harmless(key, value):
                raise Forbidden(f"The parameter '{key}' is set by those who operate the machine.", status=403)

    # What goes on in the background

    async def load(self, name: str) -> Wire:
        """Begins to load a model. Raises BadRequest when it can't be, Conflict when it is being loaded."""
        self._check_on()
        offer = self._offer(name)
        if not offer.is_usable:
            raise BadRequest(offer.problem or LOAD_HINT)
        running = self._loads.get(name)
        if running is not None and running.is_running:
            raise Conflict(f"The model {name} is being loaded already.")
        load = self._loads[name] = Load()
        load.task = asyncio.create_task(self._load(name, load), name=f"load of {name}")
        load.task.add_done_callback(load.ended)
        return await self.one(name)

    async def _load(self, name: str, load: Load) -> None:
        try:
            await self._models.pool.load(self._models.spec(name))
        except (LlamaForgeError, OuiError, OSError) as error:
            load.error = str(error) or type(error).__name__
            log.warning("a local model could not be loaded", model=name, error=load.error)

    async def unload(self, name: str) -> Wire:
        """Ends a model's process."""
        self._offer(name)
        await self._models.unload(name)
        return await self.one(name)

    async def download(self, name: str) -> Wire:
        """Begins, or goes on with, a download. Raises BadRequest when there is none to make, Conflict when it goes on."""
        self._check_on()
        row = self._offer(name).row
        if row is None or not row.source.startswith(_REMOTE) or row.path is not None:
            raise BadRequest("There is nothing to download for this model.")
        async with self._database.write() as unit:
            await self._enqueue(unit, name, row.source)
        return await self.one(name)

    async def _enqueue(self, unit: UnitOfWork, name: str, source: str) -> None:
        if await self._queue.enqueue(unit, self._kind, Download(name, source), key=_KEY + name) is None:
            raise Conflict(f"The model {name} is being downloaded already.")

    async def _download(self, run: Run, given: Download) -> None:
        """Does such a job. What has arrived is kept, and the next attempt goes on from there."""
        if not self._models.settings.enable_local_models:
            raise GiveUp(SWITCHED_OFF)
        try:
            found = await self._obtained(run, given)
        except (LlamaForgeError, OuiError, OSError) as error:
            raise GiveUp(str(error) or type(error).__name__) from error
        async with self._change:
            async with self._database.write() as unit:
                row = await local_models.get(unit.connection, given.name)
                here: dict[str, Any] = {"path": str(found.path), "backend": found.backend}
                parameters = {**found.parameters, **(row.parameters if row is not None else {})}
                await local_models.arrived(unit.connection, given.name, **here, parameters=parameters)
                await run.commit(unit)
            await self._stored.changed()
        log.info("a local model arrived", model=given.name, path=str(found.path))

    async def _obtained(self, run: Run, given: Download) -> "Found":
        stopped = threading.Event()

        def tell(done: int, total: int | None) -> None:
            # Called by the thread, between two parts.
            if stopped.is_set():
                raise StoppedError
            run.progress(min(1.0, done / total) if total else None)

        trusted = self._models.settings.local_models_trust_admins
        folder = self._models.folder
        work = asyncio.ensure_future(in_own_thread(lambda: obtain(given.source, folder, tell, trusted=trusted)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            if work.done():
                # Nobody waits for what it raised.
                work.exception()
            raise

    async def cancel(self, name: str) -> Wire:
        """Stops a download or a load. What has arrived of a download is kept."""
        self._offer(name)
        was_loading = (load := self._loads.get(name)) is not None and load.is_running
        if not await self._stop(name):
            # A load may be of a question, or of another process.
            await self._models.look()
            status = self._models.status().get(name)
            was_loading = status is not None and status.state == "loading"
            if not was_loading:
                raise BadRequest("Nothing is going on with this model.")
        if was_loading:
            await self._models.unload(name)
        return await self.one(name)

    async def _stop(self, name: str) -> bool:
        """Whether something was going on with this model, which is stopped now."""
        load = self._loads.pop(name, None)
        was_loading = load is not None and load.is_running
        if load is not None:
            await load.stop()
        download = (await self._downloads()).get(name)
        if download is None or download.state not in jobs.LIVE:
            return was_loading
        with contextlib.suppress(Conflict, NotFound):
            await self._queue.cancel(download.id, seconds=STOP_SECONDS + 1)
        return True


def harmless(key: str, value: Any) -> bool:
    """Whether a parameter can neither name a file or an address nor let code run."""
    return key in _TEXTS or (isinstance(value, bool | int | float | None) and key != "trust_remote_code")


def problem_with(name: str, path: str, backend: str, parameters: Mapping[str, Any]) -> str | None:
    """Why a backend does not take these parameters."""
    try:
        plan_of(name, path, backend, parameters)
    except LlamaForgeError as error:
        return str(error)
    return None


def check_source(source: str) -> None:
    """Raises BadRequest for what is no model's name there."""
    from llamaforge.hub import ollama  # noqa: PLC0415 - needed by the first download

    kind, _, rest = source.partition(":")
    try:
        if kind == "ollama":
            ollama.Name.parse(rest)
        elif not _REPOSITORY.fullmatch(rest) or ".." in rest:
            raise BadRequest("Give a model of the hub as hf:owner/repo or hf:owner/repo/file.gguf.")
    except LlamaForgeError as error:
        raise BadRequest(str(error)) from error


def obtain(source: str, folder: Path, tell: Callable[[int, int | None], None], *, trusted: bool) -> "Found":
    """Downloads a model into the folder. Blocks. Raises LlamaForgeError, and what `tell` raises.

    trusted: what a local Ollama has is used where it lies.
    """
    from llamaforge import hub  # noqa: PLC0415 - needed by the first download

    kind, _, rest = source.partition(":")
    if kind == "ollama":
        get = hub.ollama.find if trusted else hub.ollama.pull
        return get(hub.ollama.Name.parse(rest), folder, tell, hub.ollama.REGISTRY)
    return hub.obtain(source, folder, tell)
