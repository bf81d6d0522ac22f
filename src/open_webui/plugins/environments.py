"""What plugins need besides what is there: a folder of packages for each set of requirements, installed once by pip.

Only wheels are installed: nothing of a package runs before it is imported in a worker. PIP_OPTIONS come last, so an admin
may allow more. A folder is put in its place in one step, so that one that is there is whole.
"""

import asyncio
import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.log import get_logger

log = get_logger(__name__)
INSTALL_SECONDS: Final = 300.0
# A failure is told again for so long, before pip is asked once more.
_AGAIN_SECONDS: Final = 600.0
_MOST: Final = 50
_LONGEST: Final = 300
# Bytes of one folder, and of one file.
_MAX_FOLDER: Final = 2 * 2**30
_MAX_FILE: Final = 2**30
_TOLD: Final = 500
# What pip may need of the server's environment. PIP_* are the machine's, and the index may be a private one.
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_BEGINNINGS: Final = ("PIP_", "SSL_CERT_")


class Environments:
    """All folders, below DATA_DIR. To be used from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data_dir / "plugins" / "environments"
        self._installing: dict[str, asyncio.Task[Path]] = {}
        self._failed: dict[str, tuple[str, float]] = {}

    async def folder(self, requirements: tuple[str, ...]) -> Path | None:
        """Where the packages are; None where there are none to install. Raises Unavailable with pip's own sentence."""
        if not requirements or not self._settings.enable_pip_install_frontmatter_requirements:
            return None
        wanted = checked(requirements)
        key = self._key(wanted)
        place = (self._folder / key).absolute()
        if await asyncio.to_thread(place.is_dir):
            return place
        loop = asyncio.get_running_loop()
        why, again_at = self._failed.get(key, ("", 0.0))
        if loop.time() < again_at:
            raise Unavailable(why)
        task = self._installing.get(key)
        if task is None:
            task = self._installing[key] = asyncio.create_task(self._install(wanted, place), name="pip for a plugin")
            task.add_done_callback(lambda done: self._note(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends what is being installed."""
        tasks = set(self._installing.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _note(self, key: str, done: "asyncio.Task[Path]") -> None:
        self._installing.pop(key, None)
        if not done.cancelled() and isinstance(error := done.exception(), Unavailable):
            self._failed[key] = (error.detail, asyncio.get_running_loop().time() + _AGAIN_SECONDS)
            if len(self._failed) > _MOST:
                self._failed.pop(next(iter(self._failed)))

    def _key(self, requirements: tuple[str, ...]) -> str:
        parts = (sys.version, self._settings.pip_options, *requirements)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    async def _install(self, requirements: tuple[str, ...], place: Path) -> Path:
        made = await asyncio.to_thread(self._make)
        try:
            await self._pip(requirements, made)
            size = await asyncio.to_thread(_size, made)
            if size > _MAX_FOLDER:
                raise Unavailable(
                    f"What the plugin requires has {size // 2**20:,} MB; {_MAX_FOLDER // 2**20:,} are allowed."
                )
            # Another process may have been quicker.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(made.rename, place)
            log.info("what a plugin requires was installed", requirements=requirements)
            return place
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, made, ignore_errors=True))

    def _make(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=self._folder, prefix="new-"))
        made.chmod(0o755)
        return made

    async def _pip(self, requirements: tuple[str, ...], target: Path) -> None:
        """Raises Unavailable."""
        try:
            options = shlex.split(self._settings.pip_options)
        except ValueError as error:
            raise Unavailable(f"PIP_OPTIONS can't be read: {error}.") from error
        command = [
            sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile",
            "--only-binary", ":all:", "--target", str(target), *options, "--", *requirements,
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_BEGINNINGS)}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=environment, cwd=target, start_new_session=True,
        )  # fmt: skip
        try:
            if sys.platform == "linux":
                import resource  # noqa: PLC0415 - it is not there on Windows

                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
            async with asyncio.timeout(INSTALL_SECONDS):
                _, errors = await process.communicate()
        except TimeoutError:
            raise Unavailable(
                f"What the plugin requires was not installed within {INSTALL_SECONDS:g} seconds."
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            raise Unavailable(f"What the plugin requires can't be installed: {_sentence(errors)}")


def checked(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """The requirements in order, each once. Raises Unavailable for what pip would take for something else."""
    wanted = sorted({requirement.strip() for requirement in requirements} - {""})
    if len(wanted) > _MOST:
        raise Unavailable(f"A plugin may require {_MOST} packages.")
    for requirement in wanted:
        if len(requirement) > _LONGEST or requirement.startswith("-") or not requirement.isprintable():
            raise Unavailable(f"{requirement[:100]!r} is no package that a plugin may require.")
        if "/" in requirement or "@" in requirement or requirement.startswith("."):
            raise Unavailable(
                f"{requirement[:100]!r} is no package of an index; plugins can't require addresses or files."
            )
    return tuple(wanted)


def names(folder: Path) -> frozenset[str]:
    """What can be imported from a folder."""
    return frozenset(entry.name.split(".")[0] for entry in folder.iterdir() if not entry.name.endswith(".dist-info"))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _sentence(errors: bytes) -> str:
    """The last thing that pip complains about."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines()]
    told = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (told or lines or ["pip said nothing."])[-1][:_TOLD]
