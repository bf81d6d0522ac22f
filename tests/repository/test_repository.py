"""What a clone of the repository holds: locks that fit, settings that exist, scripts that start with nothing but Python."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from open_webui.config import SETTINGS
from open_webui.env import Settings

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted([ROOT / "requirements.txt", *(ROOT / "requirements").glob("*.txt")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_is_exact_and_hashed_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "an option of pip has no place in a lock"
    for entry in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert "==" in entry.splitlines()[0]
        assert "--hash=sha256:" in entry


def test_every_command_that_the_installation_makes_runs() -> None:
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    assert install.COMMANDS.keys() == PROJECT["scripts"].keys()
    for module in install.COMMANDS.values():
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=ROOT / "src", capture_output=True, text=True, check=False
        )
        assert (done.returncode, "Usage" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_every_dependency_is_locked_at_a_version_that_is_allowed(extra: str) -> None:
    wanted = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    locked: dict[str, str] = {}
    for lock in LOCKS if extra == "all" else [ROOT / "requirements.txt", *extra_locks(extra)]:
        locked |= pins(lock)
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(locked[requirement.name.lower()]), requirement


def extra_locks(extra: str) -> list[Path]:
    names = [extra, "torch"] if extra in {"diffusers", "transformers"} else [extra]
    return [ROOT / "requirements" / f"{name}.txt" for name in names if name]


def test_the_core_is_small() -> None:
    assert len(PROJECT["dependencies"]) <= 30
    assert not pins(ROOT / "requirements.txt").keys() & {
        "torch",
        "pandas",
        "langchain",
        "numpy",
        "transformers",
        "diffusers",
    }


def test_the_example_names_only_settings_that_exist() -> None:
    known = {name.upper() for name in Settings.model_fields} | {v for s in SETTINGS for v in s.variables}
    named = re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(named) > 20
    assert set(named) <= known


@pytest.mark.parametrize("script", ["start.sh", "dev.sh", "test.sh", ".ci/run", "tools/lock.sh"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = path.read_text().splitlines()[0].split("/")[-1].split()[-1]
    assert subprocess.run([shell, "-n", path], check=False).returncode == 0


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000


class TestFindingPython:
    """start.sh in an empty folder with only the tools that every system has."""

    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        for name in ("start.sh", "tools/venv.sh", "tools/install.py", "requirements.txt"):
            target = tmp_path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
        (tmp_path / "start.sh").chmod(0o755)
        return tmp_path

    def start(self, clone: Path, python: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [clone / "start.sh"], capture_output=True, text=True, check=False, timeout=30,
            env={"PATH": os.environ["PATH"], "OUI_PYTHON": str(python)} | environment,
        )  # fmt: skip

    def test_too_old_a_python_is_one_clear_sentence(self, clone: Path) -> None:
        old = clone / "python3.9"
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
        done = self.start(clone, old)
        assert done.returncode != 0
        assert "needs Python 3.11 or newer" in done.stderr
        assert not (clone / ".venv").exists()

    def test_a_python_without_venv_is_told_what_to_install(self, clone: Path) -> None:
        # As Debian ships it: everything but the two modules.
        bare = clone / "bare"
        bare.write_text(
            f'#!/bin/sh\ncase "$1" in -c) exec python3 "$@" ;; esac\nPYTHONPATH={clone}/broken exec python3 "$@"\n'
        )
        bare.chmod(0o755)
        (clone / "broken").mkdir()
        (clone / "broken" / "ensurepip.py").write_text("raise ImportError('split off')\n")
        done = self.start(clone, bare)
        assert done.returncode != 0
        assert re.search(r"apt install python3\.\d+-venv", done.stderr)

    def test_an_unknown_extra_is_refused_before_anything_is_installed(self, clone: Path) -> None:
        (clone / "requirements").mkdir()
        done = self.start(clone, Path("python3"), OUI_EXTRAS="postgres,nonsense")
        assert done.returncode != 0
        assert "There is no extra" in done.stderr
        assert not (clone / ".venv").exists()
