"""House rules that no linter knows: where SQL, outgoing HTTP and catch-all excepts may stand, and how long things grow."""

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))
SERVER = [f for f in FILES if f.is_relative_to(SRC / "open_webui")]
Function = ast.FunctionDef | ast.AsyncFunctionDef
# In one process, which reads the sources once.
pytestmark = pytest.mark.xdist_group("sources")

MAX_FILE = 500
MAX_FUNCTION = 60
MAX_HANDLER = 25
# Longer than the rule, with the reason.
LONG_FILES = {
    "open_webui/routers/chats.py": "one prefix, some forty short handlers",
    "open_webui/models/messages.py": "reading, writing and comparing one tree of messages",
}
LONG_FUNCTIONS = {
    "open_webui/migrations/versions/0001_the_first_schema.py:upgrade": "a list of tables, frozen on release",
}
LONG_HANDLERS: dict[str, str] = {}

# Where SQL may be written. Everything else asks a repository, which checks access inside.
SQL_ROOMS = ("models", "migrations", "internal")
SQL_TYPES = {"SQLAlchemyError", "IntegrityError", "OperationalError", "DBAPIError", "AsyncConnection"}
# Where an HTTP client may be made: for addresses that an admin configured, and for all others.
CLIENTS = {
    "open_webui/internal/http.py",
    "open_webui/internal/guarded_http.py",
    "open_webui/internal/straight.py",
    # Of servers that an admin set up, in a process of its own.
    "open_webui/tools/mcp/client.py",
    # Of directories that an admin set up.
    "open_webui/internal/ldap/client.py",
}
# Where anything may be caught: a boundary beyond which somebody waits for an answer, or others must not suffer.
CATCH_ALL = {
    "llamaforge/pool/pool.py": "the monitor must go on: models are unloaded and checked by it",
    "llamaforge/loaded.py": "what a load raises is raised by everybody who waits for it",
    "llamaforge/server/residence.py": "the watch must go on: without it no model would ever go",
    "llamaforge/threads.py": "what a call in a thread raises is raised where its result is waited for",
    "open_webui/middleware.py": "the boundary to the network",
    "open_webui/audio/voice/__main__.py": "ONNX Runtime's errors have no common class below Exception",
    "open_webui/connections/gate.py": "who watches a call must not fail it",
    "open_webui/connections/direct.py": "whatever ends the asking of a page, it is told so, and the error goes on",
    "open_webui/notes/document.py": "what the library panics with is no Exception",
    "open_webui/chat/loop.py": "task runner: a bug must not leave a message unfinished",
    "open_webui/chat/aftermath.py": "task runner: a side question that fails must not take the others with it",
    "open_webui/chat/journal.py": "task runner: what is finished must not be lost, whatever a database raises",
    "open_webui/chat/service.py": "task runner: a database that is away must not end the sweep for lost answers",
    "open_webui/services/mcp_endpoint/own_tools.py": "a tool is other people's code: what it raises is for the client to hear",
    "open_webui/services/note_documents.py": "task runner: a note whose text can't be made must not keep others from theirs",
    "open_webui/services/reminders.py": "task runner: an event that can't be told must not keep others from theirs",
    "open_webui/services/processes.py": "task runner: a lease is renewed whatever the database raises",
    "open_webui/chat/starter.py": "task runner: an end that can't be stored, and what follows an answer",
    "open_webui/chat/tools.py": "a tool is other people's code: what it raises is an answer to the model",
    "open_webui/internal/bus/listeners.py": "event fan-out: news that can't be taken must not take others with them",
    "open_webui/internal/db.py": "a unit of work: whatever ends it, it is rolled back; what follows a commit can't undo it",
    "open_webui/services/audit/requests.py": "whatever ends a request that has stored something, the record says that it failed",
    "open_webui/moving_in/runner.py": "a foreign row may be damaged in any way: it must not take the others with it",
    "open_webui/jobs/runner.py": "task runner: a job that fails is tried again, and must not take others with it",
    "open_webui/retrieval/parsing/reader.py": "the library of tokenizers raises Exception itself",
    "open_webui/internal/postgres.py": "whatever the driver raises is handed to SQLAlchemy, which raises it as its own",
    "open_webui/internal/supervise.py": "task runner: a long-lived task that fails is started again",
    "open_webui/tools/mcp/client.py": "the library raises what its transports do: it is an answer to the server",
    "open_webui/utils/threads.py": "what a thread raises is raised where its work is awaited",
    "open_webui/storage/disk.py": "a file that can't be read on is closed, whatever ended it",
    "open_webui/socket/engine.py": "task runner: a packet that can't be handled ends its socket, and that in order",
    "open_webui/socket/server.py": "task runner: a lost database must not end the sweep",
    "llamaforge/plugins/manager.py": "plugins are other people's code: one that fails is skipped",
    "llamaforge/plugins/streaming.py": "plugins are other people's code: one that fails is skipped",
    "llamaforge/plugins/registry.py": "plugins are other people's code: one that fails is skipped",
    "llamaforge/backends/huggingface/constraint.py": "llguidance's reader of grammars raises Exception itself",
    "open_webui/images/diffusion/__main__.py": "what the thread raises is raised where its work is answered",
    "open_webui/retrieval/onnx/network.py": "onnxruntime and tokenizers raise Exception itself, or classes of their own each",
    "llamaforge/loading.py": "a backend may be other people's code: whatever its load raises is a ModelLoadError",
    "llamaforge/tools/loop.py": "a tool is other people's code: what it raises is an answer to the model",
    "llamaforge/tools/tool.py": "whatever pydantic raises of a signature says that it has no schema",
    "synthora/callbacks/manager.py": "handlers are other people's code: one that fails is logged",
    "synthora/models/provider.py": "whatever ends a request is told to its handlers, and raised again",
    "synthora/models/wrappers/fallback.py": "whatever it is that one backend raises, the next one is asked",
    "synthora/models/wrappers/rate_limit.py": "whatever ends a wait gives its turn back, and is raised again",
    "synthora/models/wrappers/retry.py": "what may be tried again is seen by looking at it; all else is raised again",
    "synthora/models/wrappers/trace.py": "whatever ends a request ends its span, and is raised again",
    "open_webui/plugins/host.py": "a plugin whose start failed, whatever it raised, is not kept",
    "open_webui/plugins/running.py": "who answers a plugin's question may fail in any way; the plugin hears that it did",
    "oui_sandbox/calls.py": "a plugin is other people's code: whatever it raises is an answer to who called it",
    "oui_sandbox/notebook.py": "whatever code raises is told to who had it run",
    "oui_sandbox/plugin.py": "a plugin's own exception may fail when it is asked for its sentence",
    "llamaforge/worker/api.py": "a backend may be other people's code: whatever it raises is an answer to the client",
}
# Tasks with an endless loop that need nobody to start them again, with the reason.
ENDS = {
    "open_webui/internal/supervise.py:_keep": "it is what starts the others again",
    "open_webui/connections/local/models.py:self._scan": "one look at the disk, repeated while what it saw is changed",
    "open_webui/images/automatic1111.py:self._look": "it ends with the request that it looks after",
    "open_webui/services/images/telling.py:show": "it ends with the order that it tells of",
}
# Modules that stand on an extra's engine and are imported with a first model; the engine itself writes on import.
ON_AN_ENGINE = {
    f"llamaforge/backends/huggingface/{module}.py"
    for module in ("batching", "constraint", "engine", "loading", "sampling")
} | {
    "open_webui/images/diffusion/pipes.py",
    "open_webui/retrieval/onnx/network.py",
    "open_webui/tools/mcp/client.py",
    "open_webui/tools/mcp/reading.py",
    "open_webui/tools/mcp/__main__.py",
}
SPEAK = {f"open_webui/{module}.py" for module in ("cli", "commands", "printing", "supervisor", "worker")}


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a module, in the order of `ast.walk`."""
    return tuple(ast.walk(tree(path)))


def functions(path: Path) -> Iterator[Function]:
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: Function) -> int:
    """Lines of the body, without its docstring."""
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(body) > 1:
        first = body[1]
    return (function.end_lineno or function.lineno) - first.lineno + 1


@functools.cache
def callee(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_every_merge_was_resolved() -> None:
    marks = tuple(sign * 7 for sign in "<>|")
    kinds = {".py", ".js", ".mjs", ".css", ".html", ".md", ".toml", ".txt", ".in", ".sh"}
    places = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "pyproject.toml"]
    places += [
        f for folder in ("src", "tests", "docs", "tools") for f in (ROOT / folder).rglob("*") if f.suffix in kinds
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in places
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if line.startswith(marks) and line[7:8] in {"", " "}
    ]
    assert found == []


def test_files_stay_short() -> None:
    lines = {name(f): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {n: count for n, count in lines.items() if count > MAX_FILE and n not in LONG_FILES} == {}
    assert [n for n in LONG_FILES if lines.get(n, 0) <= MAX_FILE] == [], "no longer an exception"


def test_functions_stay_short() -> None:
    lines = {f"{name(f)}:{d.name}": length(d) for f in FILES for d in functions(f)}
    assert {n: count for n, count in lines.items() if count > MAX_FUNCTION and n not in LONG_FUNCTIONS} == {}
    assert [n for n in LONG_FUNCTIONS if lines.get(n, 0) <= MAX_FUNCTION] == [], "no longer an exception"


def test_route_handlers_read_like_a_table_of_contents() -> None:
    lines = {
        f"{name(f)}:{d.name}": length(d)
        for f in SERVER
        for d in functions(f)
        if any(ast.unparse(decorator).startswith("allow(") for decorator in d.decorator_list)
    }
    assert {n: count for n, count in lines.items() if count > MAX_HANDLER and n not in LONG_HANDLERS} == {}
    assert [n for n in LONG_HANDLERS if lines.get(n, 0) <= MAX_HANDLER] == [], "no longer an exception"


def test_sql_is_written_in_repositories_only() -> None:
    found = []
    for path in SERVER:
        if path.relative_to(SRC / "open_webui").parts[0] in SQL_ROOMS:
            continue
        for node in nodes(path):
            if (
                isinstance(node, ast.Attribute)
                and ast.unparse(node.value) in {"sa", "sqlalchemy"}
                and node.attr != "exc"
            ):
                found.append(f"{name(path)}:{node.lineno}: {ast.unparse(node)}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                found += [f"{name(path)}: {a.name}" for a in node.names if a.name not in SQL_TYPES]
    assert found == []


def test_tables_are_read_by_repositories_only() -> None:
    found = []
    for path in SERVER:
        if path.relative_to(SRC / "open_webui").parts[0] in SQL_ROOMS:
            continue
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom):
                imported = {f"{node.module}.{a.name}" for a in node.names} | {node.module}
                if "open_webui.models.tables" in imported:
                    found.append(f"{name(path)}:{node.lineno}")
    assert found == []


def test_clients_are_made_in_named_places_only() -> None:
    makers = ("ClientSession", "AsyncClient", "urlopen", "HTTPConnection", "HTTPSConnection", "create_connection")
    found = {
        f"{name(path)}: {callee(node)}"
        for path in SERVER
        for node in nodes(path)
        if isinstance(node, ast.Call) and callee(node).rpartition(".")[2] in makers and name(path) not in CLIENTS
    }
    assert found == set()


def test_everything_is_caught_in_named_places_only() -> None:
    found = set()
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "BaseException"
                if caught in {"Exception", "BaseException"}:
                    found.add(name(path))
    assert found - CATCH_ALL.keys() == set()
    assert CATCH_ALL.keys() - found == set(), "no longer an exception"


def is_endless(function: Function) -> bool:
    return any(isinstance(n, ast.While) and ast.unparse(n.test) == "True" for n in ast.walk(function))


def test_long_lived_tasks_are_supervised() -> None:
    """A task that runs an endless loop is started by internal/supervise.py, which starts it again when it fails."""
    found = set()
    for path in SERVER:
        endless = {d.name for d in functions(path) if is_endless(d)}
        for node in nodes(path):
            if not isinstance(node, ast.Call) or callee(node).rpartition(".")[2] not in {
                "create_task",
                "ensure_future",
            }:
                continue
            if node.args and isinstance(node.args[0], ast.Call) and callee(node.args[0]).rpartition(".")[2] in endless:
                found.add(f"{name(path)}:{callee(node.args[0])}")
    assert found - ENDS.keys() == set()
    assert ENDS.keys() - found == set(), "no longer an exception"


def test_the_server_speaks_through_its_log() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.Call) and callee(node) in {"print", "pprint"} and name(path) not in SPEAK
    ]
    assert found == []


def test_a_module_begins_with_its_purpose() -> None:
    assert [name(f) for f in FILES if not (ast.get_docstring(tree(f)) or "").strip()] == []


ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1"}
WATCH = """
import importlib, os, sys, threading

def watch(event, args):
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove", "sqlite3.connect"}:
        raise SystemExit(f"{module}: {event} {args}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        raise SystemExit(f"{module}: writes {args[0]}")

module = "nothing yet"
# engineio takes it where something else has brought it, and it binds a socket to see whether there is IPv6.
sys.modules["requests"] = None
sys.addaudithook(watch)
before = dict(os.environ)
for module in sys.argv[1:]:
    importlib.import_module(module)
if threading.active_count() != 1:
    raise SystemExit(f"threads were started: {threading.enumerate()}")
if dict(os.environ) != before:
    raise SystemExit("the environment was changed")
"""


@pytest.mark.timeout(500)
def test_importing_does_nothing(tmp_path: Path) -> None:
    """No file, socket, process, thread or environment is touched by an import."""
    modules = [
        ".".join(f.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        for f in FILES
        # Alembic runs these; they are scripts.
        if ("migrations" not in f.parts or f.name in {"__init__.py", "runner.py"}) and name(f) not in ON_AN_ENGINE
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCH, *modules],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(500)
def test_what_only_some_need_is_not_loaded(tmp_path: Path) -> None:
    """Engines and drivers of extras are loaded where they are used, by those who have them."""
    heavy = [
        "torch",
        "transformers",
        "diffusers",
        "numpy",
        "onnxruntime",
        "xllamacpp",
        "asyncpg",
        "redis",
        "obstore",
        "kreuzberg",
        "mcp",
        "httpx2",
        "open_webui.services.tool_servers",
    ]
    code = f"import sys; sys.modules |= dict.fromkeys({heavy}); import open_webui.main, open_webui.commands"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_server_loads_one_databases_dialect() -> None:
    """The other one's would cost every process 3 MB; conditions of partial indexes in the tables once loaded it."""
    code = (
        "import sys, open_webui.main; print([m for m in sys.modules if m.startswith('sqlalchemy.dialects.postgresql')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_a_database_that_a_test_asks_for_is_the_one_it_gets() -> None:
    """A file's own `database_kind` that takes no request is what every test of it runs on, whatever their names say."""
    wrong = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if re.search(r"def database_kind\(\)", text) and re.search(r'"database_kind",[^)]*indirect=', text):
            wrong.append(file.relative_to(ROOT).as_posix())
    assert wrong == []


def test_nothing_waits_by_what_forgets_cancellations() -> None:
    """`asyncio.wait_for` of Python 3.11 may: what is closed in that moment would never end. `asyncio.timeout` does not."""
    found = [
        file.relative_to(SRC).as_posix() for file in FILES if "asyncio.wait_for(" in file.read_text(encoding="utf-8")
    ]
    assert found == []
