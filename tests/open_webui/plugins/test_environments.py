"""What a plugin's front matter requires is installed for it alone, once, and a failure is a sentence."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from open_webui.errors import Unavailable
from open_webui.plugins.environments import checked
from open_webui.plugins.host import PluginFailed, PluginHost
from tests.support.plugins import make_host, tool

pytestmark = pytest.mark.asyncio(loop_scope="function")


def wheel(folder: Path, name: str, version: str, text: str) -> None:
    """A package with one module, as an index has it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", text)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


def host_for(tmp_path: Path, **settings: object) -> PluginHost:
    options = f"--no-index --find-links {tmp_path / 'index'}"
    return make_host(data_dir=tmp_path / "data", pip_options=options, **settings)


def versions(*requirements: str, name: str = "t", head: str = "import oui_probe") -> object:
    return tool("def get(self):\n    return oui_probe.version", name, head, requirements=requirements)


async def test_each_plugin_has_what_it_requires_and_no_other(tmp_path: Path) -> None:
    wheel(tmp_path / "index", "oui_probe", "1.0", "version = 1")
    wheel(tmp_path / "index", "oui_probe", "2.0", "version = 2")
    host = host_for(tmp_path)
    one, two = versions("oui_probe==1.0", name="one"), versions("oui_probe>=1", name="two")
    assert await asyncio.gather(host.call(one, "get", {}), host.call(two, "get", {})) == [1, 2]
    with pytest.raises(PluginFailed, match="No module named 'oui_probe'"):
        await host.load(versions(name="three"))
    # Nobody sees the others' folder.
    other = tool("def get(self, path):\n    return os.listdir(path)", "four")
    folders = [str(f) for f in (tmp_path / "data" / "plugins" / "environments").iterdir()]
    assert len(folders) == 2
    for folder in folders:
        with pytest.raises(PluginFailed, match="Permission denied"):
            await host.call(other, "get", {"path": folder})
    await host.close()
    # It is there after a restart, without an index.
    (tmp_path / "index" / "oui_probe-1.0-py3-none-any.whl").unlink()
    host = host_for(tmp_path)
    assert await host.call(one, "get", {}) == 1
    await host.close()


async def test_a_failure_is_a_sentence_and_is_not_tried_again_at_once(tmp_path: Path) -> None:
    host = host_for(tmp_path)
    source = versions("oui_probe==3.0")
    with pytest.raises(Unavailable, match=r"can't be installed: .*oui_probe==3\.0"):
        await host.load(source)
    wheel(tmp_path / "index", "oui_probe", "3.0", "version = 3")
    with pytest.raises(Unavailable, match="can't be installed"):
        await host.load(source)
    assert list((tmp_path / "data" / "plugins" / "environments").iterdir()) == []
    await host.close()


async def test_a_version_of_what_the_zygote_has_loaded_is_the_plugins_own(tmp_path: Path) -> None:
    wheel(tmp_path / "index", "fastapi", "9.9", "version = 'mine'")
    host = host_for(tmp_path)
    source = tool("def get(self):\n    return fastapi.version", "own", "import fastapi", requirements=("fastapi==9.9",))
    assert await host.call(source, "get", {}) == "mine"
    await host.close()


async def test_nothing_is_installed_where_that_is_switched_off(tmp_path: Path) -> None:
    wheel(tmp_path / "index", "oui_probe", "1.0", "version = 1")
    host = host_for(tmp_path, enable_pip_install_frontmatter_requirements=False)
    with pytest.raises(PluginFailed, match="No module named"):
        await host.load(versions("oui_probe"))
    assert not (tmp_path / "data" / "plugins").exists()
    await host.close()


async def test_nothing_of_a_package_runs_when_it_is_installed(tmp_path: Path) -> None:
    """A package without a wheel would run its setup.py with the server's rights."""
    import tarfile

    (tmp_path / "index").mkdir()
    setup = tmp_path / "setup.py"
    setup.write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom setuptools import setup\nsetup(name='oui_probe', version='1.0')"
    )
    with tarfile.open(tmp_path / "index" / "oui_probe-1.0.tar.gz", "w:gz") as file:
        file.add(setup, "oui_probe-1.0/setup.py")
    host = host_for(tmp_path)
    with pytest.raises(Unavailable, match="can't be installed"):
        await host.load(versions("oui_probe"))
    assert not (tmp_path / "ran").exists()
    await host.close()


@pytest.mark.parametrize(
    "requirement",
    ["--index-url=http://evil", "-e .", "git+https://x/y", "x @ file:///etc", "./x", "a\nb", "x" * 301, "../../x"],
)
async def test_what_is_no_package_is_refused(requirement: str) -> None:
    with pytest.raises(Unavailable):
        checked((requirement,))


async def test_requirements_are_one_set_in_any_order() -> None:
    assert checked((" b", "a>=1", "b", "")) == ("a>=1", "b")
