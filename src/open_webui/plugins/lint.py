"""What a plugin needs and whether it is there: said before it is saved, so that nobody finds out in the middle of an answer."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Final

from open_webui.constants import WIRE_VERSION
from open_webui.plugins.frontmatter import requirements
from open_webui.plugins.text import Finding
from oui_sandbox import facade

# The modules of Open WebUI that plugins find here, as façades that ask the server on behalf of whoever calls.
FACADES: Final = facade.modules()
OURS: Final = "open_webui"
NO_DATABASE: Final = (
    "It reads the server's database by itself ({}). Plugins have no access to it here: ask for data through the modules"
    " open_webui.models.*, which check what the caller may see."
)
NO_APP: Final = "It changes the server itself (open_webui.main: app). A plugin runs outside of the server and can't."
NO_PATCH: Final = "It puts something of its own in the place of {}. A plugin can't change the server here."
NO_FACADE: Final = "The module {} is not there for plugins of this server. What imports it fails."
NOT_INSTALLED: Final = "The package {} is not installed. Name it in the plugin's `requirements`, or have it installed."
TOO_NEW: Final = "It asks for Open WebUI {}; this server speaks {}."
_NAMES: Final = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "sklearn": "scikit-learn",
}
_MOST: Final = 50


def findings(
    tree: ast.Module, manifest: dict[str, str], is_installed: Callable[[str], bool] | None = None
) -> list[Finding]:
    """All that there is to say of a plugin, what it is refused for first."""
    installed = is_installed or _is_installed
    found = list(dict.fromkeys([*_imports(tree, manifest, installed), *_patches(tree), *_version(manifest)]))
    return sorted(found, key=lambda one: (not one.refused, one.line))[:_MOST]


def imported(tree: ast.Module) -> Iterator[tuple[str, list[str], int]]:
    """Module, the names taken of it, and the line, of each import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, [alias.name for alias in node.names], node.lineno


def _imports(tree: ast.Module, manifest: dict[str, str], installed: Callable[[str], bool]) -> Iterator[Finding]:
    asked = {re.split(r"[\s\[<>=!~;]", one, maxsplit=1)[0].lower().replace("_", "-") for one in requirements(manifest)}
    for module, names, line in imported(tree):
        top = module.partition(".")[0]
        if top == OURS:
            yield from _of_ours(module, names, line)
        elif top not in sys.stdlib_module_names:
            package = _NAMES.get(top, top)
            if package.lower().replace("_", "-") not in asked and top.lower() not in asked and not installed(top):
                yield Finding(message=NOT_INSTALLED.format(package), line=line)


def _of_ours(module: str, names: list[str], line: int) -> Iterator[Finding]:
    whole = {module, *(f"{module}.{name}" for name in names)}
    if any(one == "open_webui.internal" or one.startswith("open_webui.internal.") for one in whole):
        yield Finding(message=NO_DATABASE.format(module), line=line, refused=True)
    elif module == "open_webui.main":
        if "app" in names or not names:
            yield Finding(message=NO_APP, line=line, refused=True)
    elif not whole & FACADES and module != OURS:
        yield Finding(message=NO_FACADE.format(module), line=line)


def _patches(tree: ast.Module) -> Iterator[Finding]:
    """Assignments to names of modules of the server's."""
    modules = {
        (alias.asname or alias.name.partition(".")[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] == OURS
    }
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and _root(target) in modules:
                yield Finding(message=NO_PATCH.format(ast.unparse(target)[:100]), line=target.lineno, refused=True)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _version(manifest: dict[str, str]) -> Iterator[Finding]:
    wanted = manifest.get("required_open_webui_version", "")
    numbers = [int(part) for part in re.findall(r"\d{1,6}", wanted)[:3]]
    if numbers and numbers > [int(part) for part in WIRE_VERSION.split(".")]:
        yield Finding(message=TOO_NEW.format(wanted[:50], WIRE_VERSION))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
