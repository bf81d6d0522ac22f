"""A chat and its messages are changed only by who holds the chat: repositories ask for one that is locked."""

import ast
from pathlib import Path

import pytest

from tests.architecture.test_house_rules import nodes, tree

pytestmark = pytest.mark.xdist_group("sources")
SRC = Path(__file__).resolve().parents[2] / "src" / "open_webui"
MODELS = sorted((SRC / "models").glob("*.py"))
PROTECTED = {"chat", "message", "chat_tag", "shared_chat"}
WRITES = {"insert", "update", "delete"}
LOCKED = {"LockedChat", "LockedChats"}
# Who makes locked chats.
MAKERS = {"models/chats.py", "models/chat_rows.py"}
# Writers without one, with the reason.
EXEMPT = {
    "chats.insert": "makes the chat, which nobody else sees before the commit",
    "chats.show": "hidden chats, which only who makes them changes",
    "messages.save_answers": "the journal's: rows of running answers, by number, and only while they are not done",
    "turn_updates.touch": "the journal's: one column that nobody computes from what was",
}


def tables_of(module: ast.Module) -> dict[str, str]:
    """The names that a module gives to tables: `t, link = tables.chat, tables.chat_tag`."""
    found: dict[str, str] = {}
    for node in module.body:
        if not isinstance(node, ast.Assign):
            continue
        targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        if len(targets) != len(values):
            continue
        for target, value in zip(targets, values, strict=True):
            text = ast.unparse(value)
            if isinstance(target, ast.Name) and text.startswith("tables."):
                found[target.id] = text.removeprefix("tables.")
    return found


def writes(node: ast.AST, names: dict[str, str], statements: set[str]) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in statements:
            return True
        if not isinstance(part, ast.Call):
            continue
        written = None
        if isinstance(part.func, ast.Attribute) and part.func.attr in WRITES:
            written = ast.unparse(part.func.value)
        elif ast.unparse(part.func) == "inserting":
            written = ast.unparse(part.args[1])
        if written is not None and names.get(written, written.removeprefix("tables.")) in PROTECTED:
            return True
    return False


def statements_of(module: ast.Module, names: dict[str, str]) -> set[str]:
    """Names of the module's statements, and of functions that build one, that write to what is protected."""
    found = set()
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and writes(node, names, set()):
            found.add(node.targets[0].id)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and writes(node, names, set()):
            found.add(node.name)
    return found


def writers(path: Path) -> dict[str, bool]:
    """The functions of a repository that write to what is protected, and whether they ask for a locked chat."""
    module = tree(path)
    names = tables_of(module)
    statements = statements_of(module, names)
    out = {}
    for node in module.body:
        if isinstance(node, ast.AsyncFunctionDef) and writes(node, names, statements):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            asked = {ast.unparse(a.annotation) for a in arguments if a.annotation}
            out[f"{path.stem}.{node.name}"] = bool(asked & LOCKED)
    return out


def test_who_changes_a_chat_asks_for_one_that_is_locked() -> None:
    found = {name: asks for path in MODELS for name, asks in writers(path).items()}
    assert {"chats.change", "messages.update", "messages.delete", "tags.link", "shares.put"} <= found.keys()
    assert {name for name, asks in found.items() if not asks} == EXEMPT.keys()


def test_locked_chats_are_made_where_they_are_locked() -> None:
    found = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in LOCKED | {"locked_row_of"}
    }
    assert found <= MAKERS
