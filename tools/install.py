"""Makes `.venv` from the lock files: the core, and the extras named as arguments. Needs only Python's standard library.

Run by start.sh, start_windows.bat and test.sh with the Python that the environment is to have. It is quick where nothing is
to do. What was installed is noted in `.venv/locks`, so that start.sh can tell by comparing files.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCKS = VENV / "locks"
BINARIES = VENV / ("Scripts" if os.name == "nt" else "bin")
# The commands beside Python, and the modules that they run.
COMMANDS = {"oui-backend": "open_webui.cli", "llamaforge": "llamaforge"}
PYTHON = BINARIES / ("python.exe" if os.name == "nt" else "python")


def main(extras: list[str]) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (that is what is asked here)
        sys.exit(f"oui-backend needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.")
    locks = {"requirements": ROOT / "requirements.txt"}
    for extra in extras:
        lock = ROOT / "requirements" / f"{extra}.txt"
        if not lock.exists():
            known = ", ".join(sorted(p.stem for p in lock.parent.glob("*.txt") if not p.stem.startswith("torch")))
            sys.exit(f"There is no extra '{extra}'. Known are: {known}.")
        locks[extra] = lock
    make_venv()
    stale = {name: lock for name, lock in locks.items() if not same(lock, LOCKS / f"{name}.txt")}
    if stale:
        print(f"Installing {', '.join(stale)} into .venv (once; it may take a minute or two) ...", file=sys.stderr)
        install(list(stale.values()))
        install_torch(stale)
    point_at_sources()
    # Compiled here and not in the first start, which is quicker then, and in less memory.
    run(PYTHON, "-m", "compileall", "-q", ROOT / "src")
    LOCKS.mkdir(exist_ok=True)
    for name, lock in stale.items():
        shutil.copyfile(lock, LOCKS / f"{name}.txt")
    (LOCKS / "where").write_text(f"{ROOT}\n")


def same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


def make_venv() -> None:
    """A virtual environment whose Python runs, with pip. An unusable one is made anew."""
    if PYTHON.exists() and run(PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))") == 0:
        return
    try:
        import ensurepip  # noqa: F401, PLC0415 (Debian keeps both modules in a package of their own)
        import venv  # noqa: PLC0415
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"This Python {version} lacks the module venv or ensurepip. On Debian and Ubuntu: apt install python{version}-venv"
        )
    try:
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(VENV)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"The environment {VENV} could not be made: {error}")


def install(files: list[Path]) -> None:
    if pip_install(files) != 0:
        sys.exit(
            "The packages could not be installed; pip's message is above. Is there a network, and room on the disk?"
        )


def install_torch(names: Iterable[str]) -> None:
    """Torch's own build, unless a torch is there already: a CPU build of somebody's choice stays.

    The tests take the CPU build where pip knows an index that has it.
    """
    if not {"diffusers", "transformers", "test"} & set(names):
        return
    if run(PYTHON, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))") == 0:
        return
    if "test" in names and pip_install([ROOT / "requirements" / "torch-cpu.txt"], quietly=True) == 0:
        return
    install([ROOT / "requirements" / "torch.txt"])


def pip_install(files: list[Path], *, quietly: bool = False) -> int:
    """The exit status of pip. The locks are complete, so there is nothing to resolve, and nothing without a hash gets in."""
    options = [text for file in files for text in ("-r", str(file))]
    return run(
        PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--require-hashes", *(["--root-user-action=ignore"] if os.name != "nt" else []), *options, quietly=quietly,
    )  # fmt: skip


def point_at_sources() -> None:
    """Puts src/ on the environment's path and the commands beside its Python: installing without building a package."""
    packages = next(VENV.glob("[Ll]ib/python3.*/site-packages"), VENV / "Lib" / "site-packages")
    (packages / "oui_backend.pth").write_text(f"{ROOT / 'src'}\n", encoding="utf-8")
    if os.name != "nt":
        for name, module in COMMANDS.items():
            command = BINARIES / name
            command.write_text(f'#!/bin/sh\nexec "{PYTHON}" -m {module} "$@"\n')
            command.chmod(0o755)


def run(*command: str | Path, quietly: bool = False) -> int:
    where = subprocess.DEVNULL if quietly else None
    return subprocess.run([str(part) for part in command], check=False, stdout=where, stderr=where).returncode


if __name__ == "__main__":
    main([extra for argument in sys.argv[1:] for extra in argument.replace(",", " ").split()])
