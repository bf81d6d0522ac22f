"""What a process keeps in memory over requests is known: docs/architecture/scaling.md says of each how it fits several processes.

Found by its form: an empty dict, set, list and the like that `__init__` gives to an attribute or a module to a name, and what
functools caches.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.test_house_rules import ROOT, SERVER, SRC, tree

pytestmark = pytest.mark.xdist_group("sources")
PAGE = ROOT / "docs" / "architecture" / "scaling.md"
_HOLDERS = {"dict", "set", "list", "OrderedDict", "Counter", "deque", "defaultdict"}
_HOLDERS |= {"WeakSet", "WeakKeyDictionary", "WeakValueDictionary"}


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_holder(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    return isinstance(value, ast.Call) and _last_name(value.func) in _HOLDERS and not value.args


def _targets(node: ast.AST) -> list[ast.expr]:
    """What a holder is given to."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and _is_holder(node.value):
        return node.targets if isinstance(node, ast.Assign) else [node.target]
    return []


def _caches(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any("cache" in ast.unparse(d) for d in node.decorator_list)


def _holders(tree: ast.Module) -> Iterator[str]:
    """The names of classes, variables and functions that keep something."""
    for node in tree.body:
        yield from (target.id for target in _targets(node) if isinstance(target, ast.Name))
        if isinstance(node, ast.FunctionDef) and _caches(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            made = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
            kept = any(isinstance(t, ast.Attribute) for f in made for part in ast.walk(f) for t in _targets(part))
            if kept or any(_caches(part) for part in node.body):
                yield node.name


def test_what_is_kept_in_memory_is_known() -> None:
    found = set()
    for file in SERVER:
        place = file.relative_to(SRC / "open_webui").as_posix()
        found |= {(place, name) for name in _holders(tree(file))}
    listed: set[tuple[str, str]] = set()
    section = PAGE.read_text().partition("## What is kept in memory")[2].partition("\n## ")[0]
    for place, names in re.findall(r"`([\w/]+\.py)`((?: `\w+`)+)", section):
        listed |= {(place, name) for name in re.findall(r"`(\w+)`", names)}
    assert found - listed == set(), "say in docs/architecture/scaling.md how it fits several processes"
    assert listed - found == set(), "it is gone"


def test_each_form_is_found() -> None:
    kept = """
import functools
_a: dict[str, int] = {}
b = WeakValueDictionary()
C: Final = {"fixed": 1}
class Kept:
    def __init__(self): self.x = collections.deque[int](maxlen=3)
class Cached:
    @functools.cached_property
    def y(self): ...
class Plain:
    def __init__(self): x = {}; self.y = 1; self.z = tuple()
@lru_cache(maxsize=4)
def d(): ...
"""
    assert list(_holders(ast.parse(kept))) == ["_a", "b", "Kept", "Cached", "d"]
