"""How a plugin's process comes to be: the zygote that forks it, its scratch folder, its user, its way to the network."""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.log import get_logger
from open_webui.plugins.egress import Egress, Policy
from open_webui.plugins.environments import Environments, names
from open_webui.plugins.source import CODE, PluginSource
from open_webui.plugins.worker import Worker
from open_webui.plugins.zygote import Zygote
from oui_sandbox.confine import FIRST_UID, LAST_UID, SCRATCH_FILES, SCRATCH_MB

log = get_logger(__name__)
# Processes at once.
MOST: Final = 64
READY_SECONDS: Final = 20.0
_FOLDER: Final = "oui-plugins-"
_NO_SYSTEM: Final = "Plugins are run on Linux only, where the system can keep them from what is not theirs."


class Starter:
    """Starts workers, and cleans up behind them. To be used from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environments = Environments(settings)
        hosts = settings.plugin_allowed_hosts
        self._policy = Policy.of(settings.plugin_network, hosts)
        self._policy_of_code = Policy.of(settings.code_network, hosts, "Code that is run here may not use the network.")
        self._zygotes: dict[bool, asyncio.Task[Zygote]] = {}
        self._workers: dict[int, Worker] = {}
        self._uids: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._folder: Path | None = None
        self._limits: tuple[str, ...] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether there is no worker."""
        return not self._workers

    @property
    def zygotes(self) -> list[Zygote]:
        """Those that run."""
        return [
            task.result()
            for task in self._zygotes.values()
            if task.done() and not task.cancelled() and not task.exception()
        ]

    def processes(self) -> list[int]:
        """The numbers of all that run."""
        zygotes = [zygote.pid for zygote in self.zygotes if zygote.pid is not None]
        return [*zygotes, *(worker.pid for worker in self._workers.values() if worker.pid)]

    async def start(self, name: str, source: PluginSource | None) -> Worker:
        """A bound process, in which nothing foreign has run yet. Raises PluginLost, Unavailable."""
        if len(self._workers) >= MOST:
            raise Unavailable(f"{MOST} plugins run at once, and no more may. Try again later.")
        packages = None if source is None else await self._environments.folder(source.requirements)
        number = next(self._numbers)
        scratch = await asyncio.to_thread(self._scratch, number)
        zygote = await self._zygote_for(packages)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        with tempfile.TemporaryFile(dir=scratch.parent) as file:
            printed = os.dup(file.fileno())
        policy = self._policy_of_code if source is not None and source.kind == CODE else self._policy
        egress = None if policy.refusal else Egress(policy, name)
        worker = Worker(name, "" if source is None else source.kind, ours, printed, lambda: zygote.kill(number))
        worker.path = [] if packages is None else [str(packages)]
        self._workers[number] = worker
        order = self._order(number, scratch, worker.path, policy)
        files = [theirs.fileno(), printed, *([egress.theirs.fileno()] if egress else [])]
        try:
            worker.pid = await zygote.fork(
                number, order, files, lambda status: self._ended(number, egress, scratch, status)
            )
        except Unavailable:
            self._ended(number, egress, scratch, None)
            raise
        finally:
            theirs.close()
            if egress is not None:
                egress.theirs.close()
        if egress is not None:
            egress.open()
        await worker.open(READY_SECONDS)
        if self._limits is None:
            self._limits = worker.limits
            for limit in worker.limits:
                log.warning("what plugins may do is bound in part only", limit=limit)
        return worker

    async def look_at_folders(self) -> None:
        """Ends those that wrote too much, where the system does not bound them."""
        watched = [(worker, self._place(number)) for number, worker in self._workers.items() if worker.is_watched]
        for worker, scratch in watched:
            if await asyncio.to_thread(_is_full, scratch):
                worker.kill(f"It wrote more than {SCRATCH_MB} MB, or too many files.")

    async def limits(self) -> tuple[str, ...]:
        """What can't be enforced on this machine. Raises Unavailable where plugins can't be run at all."""
        if self._limits is None:
            worker = await self.start("A plugin", None)
            worker.kill("It was to tell what is enforced.")
        return self._limits or ()

    async def rest(self) -> None:
        """Ends the zygotes where no worker needs them."""
        if self.is_idle and all(task.done() for task in self._zygotes.values()):
            zygotes = self.zygotes
            self._zygotes.clear()
            await asyncio.gather(*(zygote.close() for zygote in zygotes))

    async def close(self) -> None:
        """Ends all processes."""
        await self._environments.close()
        for worker in self._workers.values():
            worker.kill("The server is being stopped.")
        starting = {task for task in self._zygotes.values() if not task.done()}
        for task in starting:
            task.cancel()
        if starting:
            await asyncio.wait(starting)
        await asyncio.gather(*(zygote.close() for zygote in self.zygotes))
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _order(self, number: int, scratch: Path, readable: list[str], policy: Policy) -> dict[str, Any]:
        uid = None
        if hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform == "linux":
            free = [uid for uid in range(FIRST_UID, LAST_UID + 1) if uid not in self._uids.values()]
            uid = self._uids[number] = random.choice(free)  # noqa: S311 - another server may take some, too
        return {
            "uid": uid,
            "scratch": str(scratch),
            "readable": readable,
            "memory": self._settings.plugin_memory_mb,
            "unsafe": self._settings.plugin_allow_unconfined,
            "refusal": policy.refusal,
        }

    async def _zygote(self, *, bare: bool) -> Zygote:
        if sys.platform != "linux":
            raise Unavailable(_NO_SYSTEM)
        task = self._zygotes.get(bare)
        if task is None:
            task = self._zygotes[bare] = asyncio.create_task(self._start_zygote(bare=bare), name="zygote of plugins")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        except Unavailable:
            self._zygotes.pop(bare, None)
            raise

    async def _zygote_for(self, packages: Path | None) -> Zygote:
        """One that has nothing loaded of which the plugin brings a version of its own."""
        zygote = await self._zygote(bare=False)
        if packages is not None and zygote.modules & await asyncio.to_thread(names, packages):
            return await self._zygote(bare=True)
        return zygote

    async def _start_zygote(self, *, bare: bool) -> Zygote:
        zygote = Zygote(bare=bare, gone=lambda: self._forget(bare=bare))
        await zygote.start()
        return zygote

    def _forget(self, *, bare: bool) -> None:
        self._zygotes.pop(bare, None)

    def _scratch(self, number: int) -> Path:
        if self._folder is None:
            _remove_leftovers()
            self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
            self._folder.chmod(0o711)
        scratch = self._place(number)
        scratch.mkdir(mode=0o700)
        return scratch

    def _place(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / str(number)

    def _ended(self, number: int, egress: Egress | None, scratch: Path, status: int | None) -> None:
        worker = self._workers.pop(number, None)
        self._uids.pop(number, None)
        if egress is not None:
            egress.close()
        if worker is None:
            return
        task = asyncio.create_task(self._clean(worker, scratch, status))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clean(self, worker: Worker, scratch: Path, status: int | None) -> None:
        await worker.has_ended(status)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, scratch)


def _is_full(scratch: Path) -> bool:
    """Whether there is more in a folder than a plugin may have. Links are not followed."""
    size = count = 0
    waiting = [str(scratch)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                if size > SCRATCH_MB * 2**20 or count > SCRATCH_FILES:
                    return True
    return False


def _remove_leftovers() -> None:
    """Removes the folders of servers of this user that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        pid = folder.name.removeprefix(_FOLDER).partition("-")[0]
        try:
            if pid.isdigit() and folder.lstat().st_uid == os.geteuid() and not folder.is_symlink():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
