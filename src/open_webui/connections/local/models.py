"""The models of this machine by name: what lies on the disk and what admins added, laid over each other, and its engines."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llamaforge import LlamaForgeError
from llamaforge.exceptions import GenerationError, ModelBusyError, how_to_install
from open_webui.connections.local.eliza import ELIZA
from open_webui.connections.local.library import FoundModel, Library, missing_extra
from open_webui.env import Settings
from open_webui.errors import BadRequest, ProviderError, Unavailable
from open_webui.internal.db import Database
from open_webui.models import local_models
from open_webui.models.local_models import LocalModel

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

    from llamaforge.formats.request import Kind
    from llamaforge.loading import Plan
    from llamaforge.memory.devices import Memory
    from llamaforge.pool import Lease, ModelStatus, Pool, Spec
    from open_webui.connections.local.shared_pool import SharedPool

GB: Final = 2**30
_KEPT: Final = frozenset(
    "PATH HOME USER LANG TZ TMPDIR TEMP TMP SYSTEMROOT LD_LIBRARY_PATH DYLD_LIBRARY_PATH PYTHONDONTWRITEBYTECODE".split()
)
_KEPT_PREFIXES: Final = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "GGML_",
    "LLAMA_",
    "OMP_",
    "MKL_",
    "TORCH_",
    "PYTORCH_",
)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model by the name that it is asked for. row: how an admin added it, if one did. found: what lies there.

    problem: why it can't be used, as a sentence for an admin.
    """

    name: str
    row: LocalModel | None = None
    found: FoundModel | None = None
    problem: str | None = None

    @property
    def backend(self) -> str | None:
        given = self.row.backend if self.row is not None else None
        return given or (self.found.backend if self.found is not None else None)

    @property
    def parameters(self) -> dict[str, Any]:
        return self.row.parameters if self.row is not None else {}

    @property
    def is_usable(self) -> bool:
        return self.found is not None and self.problem is None


class LocalModels:
    """All of them. The engines are started by the first request that needs one."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.folder = settings.data_dir.resolve() / "models"
        self._database = database
        self._library = Library(self.folder, settings.local_models_slots)
        self._rows: list[LocalModel] = []
        self._offers: dict[str, Offer] = {}
        # Where other processes may share the data folder.
        self._shares = not database.is_sqlite and sys.platform != "win32"
        self._pool: Pool | SharedPool | None = None
        self._scanning: asyncio.Task[None] | None = None

    @property
    def offers(self) -> Mapping[str, Offer]:
        """As the last look saw them, sorted by name."""
        return self._offers

    async def open(self) -> None:
        """Takes over what admins added, as the database holds it. The disk is looked at later: it may be slow."""
        async with self._database.read() as connection:
            self._rows = await local_models.all_models(connection)

    async def reload(self) -> None:
        """Takes over what admins added, as the database holds it now, and looks at the disk."""
        await self.open()
        await self.scan()

    async def scan(self) -> None:
        """Looks at the disk. What did not change is not read again. All who call at once wait for one look."""
        if self._scanning is None or self._scanning.done():
            self._scanning = asyncio.create_task(self._scan(), name="models of this machine")
        await asyncio.shield(self._scanning)

    async def _scan(self) -> None:
        while True:
            rows = self._rows
            added = {row.path: row.backend for row in rows if row.path is not None}
            found = await asyncio.to_thread(self._library.scan, added)
            # Else they changed meanwhile, and whoever changed them waits for this look.
            if rows is self._rows:
                self._offers = combine(rows, found, self.refusal)
                return

    def inside(self, path: Path) -> bool:
        """Whether a path leads into the folder of models, links followed."""
        return path.resolve().is_relative_to(self.folder.resolve())

    def refusal(self, row: LocalModel) -> str | None:
        """Why a model that was added may not be used as this server is set up now."""
        if self.settings.local_models_trust_admins or row.path is None:
            return None
        if not self.inside(Path(row.path)):
            return "It lies outside of the folder of models, which this server does not allow."
        if row.parameters.get("trust_remote_code"):
            return "It would run code of its own, which this server does not allow."
        return None

    # What runs

    @property
    def pool(self) -> "Pool | SharedPool":
        """The engines, which may be run by another process of this machine. Nothing runs before something is asked of it."""
        if self._pool is None:
            self._pool = self._shared_pool() if self._shares else self._new_pool()
        return self._pool

    def _new_pool(self) -> "Pool":
        # Imported by the first request: a server without local models pays nothing for them.
        from llamaforge.pool import Pool  # noqa: PLC0415

        return Pool(
            memory_budget=self.budget,
            idle_seconds=self.settings.local_models_idle_seconds,
            environment=engine_environment(os.environ),
        )

    def _shared_pool(self) -> "SharedPool":
        from open_webui.connections.local.pool_owner import PoolPlace  # noqa: PLC0415 - as above
        from open_webui.connections.local.shared_pool import SharedPool  # noqa: PLC0415

        return SharedPool(PoolPlace(self.settings.data_dir.resolve()), self._new_pool)

    async def look(self) -> None:
        """Has `status` tell how the models stand where another process runs them."""
        if self._shares:
            from open_webui.connections.local.shared_pool import SharedPool  # noqa: PLC0415 - as above

            if isinstance(pool := self.pool, SharedPool):
                await pool.look()

    def status(self) -> "dict[str, ModelStatus]":
        """How the models stand that were asked for since the start. Of another process's as `look` saw them."""
        return {} if self._pool is None else {status.name: status for status in self._pool.status()}

    @property
    def budget(self) -> "Memory":
        """Bytes by device that all loaded models may take together; a device that the system does not tell of is left out."""
        from llamaforge.memory.devices import RAM, default_budget  # noqa: PLC0415 - as above

        given = self.settings.local_models_memory_gb
        return default_budget({} if given is None else {RAM: int(given * GB)})

    def plan(self, name: str) -> "Plan":
        """What a model is loaded with and the defaults of its answers. Raises Unavailable when it can't be used."""
        offer = self._offers.get(name)
        if offer is None or offer.found is None or offer.problem is not None:
            raise Unavailable(f"The model {name} can't be used at the moment. An administrator can see why.")
        try:
            # A model for vectors makes them only when it is loaded for that.
            vectors = {"embedding": True} if offer.found.embeds else {}
            return plan_of(name, offer.found.path, offer.backend, vectors | offer.parameters)
        except LlamaForgeError as error:
            raise Unavailable(f"The model {name} can't be used: {error}") from error

    def spec(self, name: str) -> "Spec":
        """How a model is started. Raises Unavailable."""
        from llamaforge.pool import Spec  # noqa: PLC0415 - as above

        how, offer = self.plan(name), self._offers[name]
        assert offer.found is not None, "plan has looked"
        return Spec(
            name=name,
            path=how.path,
            backend=offer.backend or offer.found.backend,
            parameters=how.load,
            slots=self.settings.local_models_slots,
            memory={how.cls.memory_device(how.load): offer.found.memory or offer.found.size},
        )

    def request_for(self, name: str, payload: dict[str, Any], kind: "Kind") -> tuple[str, dict[str, Any]]:
        """The path and body with which the model's engine is asked, over what was set for the model.

        Raises BadRequest for what the engine can't do or is no request, Unavailable.
        """
        from llamaforge.loading import http_request  # noqa: PLC0415 - as above

        try:
            _, path, body = http_request(self.plan(name), payload, kind)
        except LlamaForgeError as error:
            raise BadRequest(str(error)) from error
        return path, body

    def passes_tools_over(self, name: str, payload: dict[str, Any]) -> bool:
        """Whether a request offers tools of which the model is not told. Raises Unavailable."""
        if not payload.get("tools"):
            return False
        from llamaforge.loading import passes_tools_over  # noqa: PLC0415 - as above

        return passes_tools_over(self.plan(name), payload)

    async def ready(self, name: str, user: str) -> None:
        """Loads a model if it is not loaded. Raises Unavailable, ProviderError."""
        with _in_words():
            async with self.pool.lease(self.spec(name), user=user):
                pass

    @contextlib.asynccontextmanager
    async def opened(
        self, http: "ClientSession", name: str, asked: tuple[str, bytes], **hooks: Any
    ) -> "AsyncIterator[tuple[Lease, ClientResponse]]":
        """The open response of a model's engine, which is started if need be. Raises Unavailable, ProviderError.

        asked: the path and the body. hooks: see `llamaforge.pool.client.open_request`.
        """
        from llamaforge.pool.client import open_request  # noqa: PLC0415 - as above

        with _in_words():
            async with open_request(self.pool, http, self.spec(name), asked, **hooks) as opened:
                yield opened

    async def unload(self, name: str) -> None:
        """Ends a model's process, whatever it is doing."""
        await self.look()
        if name in self.status():
            await self.pool.unload(name, force=True)

    async def close(self) -> None:
        """Ends all engines."""
        if self._scanning is not None:
            self._scanning.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Errors of the engines as the server's own."""
    try:
        yield
    except ModelBusyError as error:
        raise Unavailable(str(error)) from error
    except GenerationError as error:
        again = " Ask again, and it is started anew." if error.code == "model_crashed" else ""
        raise ProviderError(f"{error}{again}", status=error.status or 502, retryable=True) from error
    except LlamaForgeError as error:
        raise ProviderError(str(error), status=503, retryable=True) from error


def plan_of(name: str, path: str, backend: str | None, parameters: Mapping[str, Any]) -> "Plan":
    """The parameters told apart and checked. Raises LlamaForgeError, by name for one that the backend doesn't know."""
    from llamaforge.loading import plan  # noqa: PLC0415 - as above
    from llamaforge.model import Model  # noqa: PLC0415

    return plan(Model(name, path, {"backend": backend}), (parameters,))


def engine_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What an engine gets of this process's environment: none of its secrets. Nor does it fetch anything by itself."""
    kept = {name: value for name, value in given.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | {"HF_HUB_OFFLINE": "1"}


def combine(
    rows: Iterable[LocalModel],
    found: Iterable[FoundModel],
    refusal: Callable[[LocalModel], str | None] = lambda _: None,
) -> dict[str, Offer]:
    """Rows go first: what they name is not offered once more under its file's name."""
    by_path = {f.path: f for f in found}
    offers: dict[str, Offer] = {}
    named = set()
    for row in rows:
        lying = by_path.get(row.path) if row.path is not None else None
        named.add(row.path)
        problem = refusal(row) or (_problem(lying, row.backend) if lying is not None else None)
        offers[row.name] = Offer(name=row.name, row=row, found=lying, problem=problem)
    for lying in (f for f in by_path.values() if f.path not in named):
        problem = _problem(lying, None)
        name = lying.name
        if name in offers or name == ELIZA:
            problem = f"Another model is called {name} too. Rename the file."
            name = lying.path
        offers[name] = Offer(name=name, found=lying, problem=problem)
    return dict(sorted(offers.items()))


def _problem(found: FoundModel, backend: str | None) -> str | None:
    if found.error is not None:
        return found.error
    extra = missing_extra(backend or found.backend)
    if extra is not None:
        return f"Its engine is not installed. Install it with: {how_to_install(extra)}"
    return None
