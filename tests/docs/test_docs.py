"""The documentation says what the code says: settings, paths, links and diagrams are compared with it."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from llamaforge import config as llamaforge_config
from open_webui import errors
from open_webui.config import BY_KEY, DEFAULT_PERMISSIONS, SETTINGS
from open_webui.env import Settings
from open_webui.principal import RIGHTS
from open_webui.socket.presence import Presence
from open_webui.socket.server import Sockets

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CONFIGURATION = DOCS / "architecture" / "configuration.md"
LLAMAFORGE = DOCS / "llamaforge.md"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
DIAGRAMS = sorted(DOCS.rglob("*.puml"))
# Where a path in a text may begin.
PLACES = (ROOT, ROOT / "src", ROOT / "src" / "open_webui", ROOT / "docs")
LONGEST_DEFAULT = 40
PERMISSIONS = {f"{section}.{name}" for section, names in DEFAULT_PERMISSIONS.items() for name in names}


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def as_written(value: Any) -> str:
    """A default as the tables have it: nothing for empty, long ones are described below the table."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return ""
    if isinstance(value, bool | dict | list):
        text = msgspec.json.encode(value).decode()
        return f"`{text}`" if len(text) < LONGEST_DEFAULT else "below"
    return f"`{value}`"


def test_every_process_setting_is_explained_with_its_default() -> None:
    table = {name: default for name, default, meaning in rows(CONFIGURATION, "Process settings") if meaning}
    assert table == {f"`{n.upper()}`": as_written(f.default) for n, f in Settings.model_fields.items()}


def test_every_admin_setting_is_explained_with_its_variables_and_default() -> None:
    table = {key: (names, default) for key, names, default, meaning in rows(CONFIGURATION, "Admin settings") if meaning}
    declared = {f"`{s.key}`": (", ".join(f"`{v}`" for v in s.variables), as_written(s.default)) for s in SETTINGS}
    assert table == declared


def test_the_example_file_names_only_variables_that_there_are() -> None:
    known = {name.upper() for name in Settings.model_fields} | {v for s in SETTINGS for v in s.variables}
    named = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert [name for name in named if name not in known] == []


def variables_in_texts() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for name in re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")):
            yield title(page), name


def test_texts_name_only_variables_that_there_are() -> None:
    """A word in capitals and underscores is a variable, or a constant of the source."""
    known = {name.upper() for name in Settings.model_fields} | {v for s in SETTINGS for v in s.variables}
    known |= {"OUI_EXTRAS", "OUI_PYTHON", "OUI_TEST_WORKERS", "OUI_API_KEY", "DB_COPY_SOURCE", "DB_COPY_TARGET"}
    known |= {"OUI_FORMER_SECRET"}
    # The C library's own.
    known |= {"MALLOC_ARENA_MAX"}
    # Open WebUI has a second name for ENABLE_SCIM.
    known |= {"IMPORT_SOURCE", "SCIM_ENABLED"}
    known |= {*llamaforge_config._ENVIRONMENT, *llamaforge_config._PATHS, "LLAMAFORGE_API_KEY"}
    assert [(page, name) for page, name in variables_in_texts() if name not in known] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", [*PAGES, *DIAGRAMS], ids=title)
def test_files_that_are_named_exist(page: Path) -> None:
    # A line break of a diagram's text is no part of a name.
    text = page.read_text(encoding="utf-8").replace("\\n", " ")
    named = set(re.findall(r"`([\w.][\w./-]*\.(?:py|sh|md|puml|toml|bat|js))`", text))
    named |= set(re.findall(r"`((?:[\w-]+/)+)`", text))
    if page.suffix == ".puml":
        named |= set(re.findall(r"[\w/]+\.py\b", text)) | set(re.findall(r"\*\*(\w+/)\*\*", text))
    missing = [
        n for n in sorted(named - MADE_LATER) if not any((place / n).exists() for place in (*PLACES, page.parent, CHAT))
    ]
    assert missing == []


def homes(package: str) -> dict[str, list[str]]:
    """The sources of a package where something of a module or class may be defined, by its name."""
    found: dict[str, list[str]] = {}
    for path in (ROOT / "src" / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in (path.stem, *re.findall(r"^class (\w+)", text, re.MULTILINE)):
            found.setdefault(name, []).append(text)
    return found


def test_functions_that_are_named_exist() -> None:
    """`module.function` and `Class.method`, where there is such a module or class."""
    of_server, of_library = homes("open_webui"), homes("llamaforge")
    missing = []
    for page in PAGES:
        sources = of_library if page == LLAMAFORGE else of_server
        for home, name in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*)?`", page.read_text(encoding="utf-8")):
            if (
                home not in sources
                or name in {"py", "md", "db", "gguf", "json"}
                or f"{home}.{name}" in {*BY_KEY, *PERMISSIONS, *RIGHTS}
            ):
                continue
            defined = rf"\b(?:def|class) {name}\b|^\s*{name}\b(?:: .*)? ="
            declared = rf"^\s*(?:Column\(\"{name}\"|{name}:)"
            if not any(re.search(f"{defined}|{declared}", text, re.MULTILINE) for text in sources[home]):
                missing.append((title(page), f"{home}.{name}"))
    assert missing == []


def test_every_event_is_explained() -> None:
    """Socket events of both directions are in the tables of the page on the real-time layer."""
    page = DOCS / "architecture" / "real_time_layer.md"
    told = re.compile(r"(?:event|ordered|news|ChatEvent)\([^\"()\[]*\"([a-z]+(?::[a-z_]+)*)\"")
    sent = {
        name
        for path in (ROOT / "src" / "open_webui").rglob("*.py")
        for name in told.findall(path.read_text(encoding="utf-8"))
    }
    explained = {name for row in rows(page, "Events to clients") for name in re.findall(r"`([^`]+)`", row[0])}
    explained |= set(re.findall(r"`(access:[a-z]+)`", page.read_text(encoding="utf-8")))
    assert sent >= {"chat:list", "response:completion", "chat:completion"}
    assert explained == sent | {"access:updated"}
    heard = {name for row in rows(page, "Events from clients") for name in re.findall(r"`([^`]+)`", row[0])}
    handlers = Sockets(Settings(_env_file=None), Presence()).handlers
    assert handlers.keys() <= heard


def test_every_error_is_explained() -> None:
    table = {name.strip("`"): status for name, status, _ in rows(DOCS / "architecture" / "web_server.md", "Errors")}
    declared = {e.__name__: e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.OuiError)}
    assert table.keys() == declared.keys() - {"OuiError"}
    given = {n: e.status for n, e in declared.items() if n in table and n not in {"StartupError", "ProviderError"}}
    assert {n: status for n, status in given.items() if not table[n].startswith(str(status))} == {}


def test_the_layers_are_those_that_are_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contract if c.get("containers") == ["open_webui"])
    rooms = [{room.strip(" ()") for room in layer.split(":")} for layer in layers]
    server = ROOT / "src" / "open_webui"
    there = [{r for r in layer if (server / r).exists() or (server / f"{r}.py").exists()} for layer in rooms]
    block = re.search(r"```\n(cli > .*?)```", (DOCS / "architecture" / "architecture.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    drawn = [{room.strip() for room in layer.split(",")} for layer in block[1].split(">")]
    assert drawn == [layer for layer in there if layer]


# Folders that the server makes when it runs.
MADE_LATER = {"data/", "logs/"}
# Sequence diagrams name its files without the room that their title names.
CHAT = ROOT / "src" / "open_webui" / "chat"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all diagrams, drawn by the script that people use."""
    for program in ("plantuml", "dot"):
        if shutil.which(program) is None:
            raise RuntimeError("Drawing the diagrams needs the system packages `plantuml` and `graphviz`.")
    folder = tmp_path_factory.mktemp("diagrams")
    done = subprocess.run(
        [ROOT / "tools" / "render_diagrams.sh", folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("source", DIAGRAMS, ids=title)
def test_diagrams_can_be_drawn(source: Path, drawn: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert f"@startuml {source.stem}\n" in text, "the file that is drawn takes its name from the source"
    assert not re.search(r"^!include(?:url)?\s+(?!\.\./)", text, re.MULTILINE), "nothing may be fetched"
    picture = (drawn / f"{source.stem}.svg").read_text(encoding="utf-8")
    assert picture.rstrip().endswith("</svg>")
    assert "Syntax Error" not in picture
    assert "Cannot find Graphviz" not in picture


def test_names_of_diagrams_are_unique() -> None:
    assert len({source.stem for source in DIAGRAMS}) == len(DIAGRAMS)


def test_a_broken_diagram_is_noticed(tmp_path: Path) -> None:
    """The script fails on a source that can't be drawn; otherwise the tests above would prove nothing."""
    shutil.copytree(DOCS / "diagrams", tmp_path / "docs" / "diagrams")
    (tmp_path / "tools").mkdir()
    script = shutil.copy(ROOT / "tools" / "render_diagrams.sh", tmp_path / "tools")
    for source in list((tmp_path / "docs").rglob("*.puml")):
        source.unlink()
    (tmp_path / "docs" / "diagrams" / "broken.puml").write_text("@startuml broken\nactor A\nno such thing (\n@enduml\n")
    done = subprocess.run([script, tmp_path / "out"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0


def test_the_seeds_of_a_tour_are_there() -> None:
    """What README and the tour promise to lie in docs/."""
    expected = (
        "architecture web_server database_layer real_time_layer api_routers chat_turn configuration authorization"
    ).split()
    assert [
        n for n in [*expected, "connections", "utilities"] if not (DOCS / "architecture" / f"{n}.md").exists()
    ] == []
    assert (DOCS / "understanding_the_backend.md").exists()
    for kind in ("c4", "uml/class", "uml/sequence"):
        assert list((DOCS / "diagrams" / kind).glob("*.puml")), kind


def test_decisions_are_numbered_and_say_what_they_cost() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert pages
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {int(page.name[:4])}\. ", text), page.name
        assert re.search(r"\bcosts?\b", text, re.IGNORECASE), f"{page.name} says no cost"
