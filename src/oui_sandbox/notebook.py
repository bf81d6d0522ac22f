"""Runs pieces of Python one after the other, as a notebook does: what one of them names, the next one knows.

It is what a worker has for a plugin (`Pipe`), so all that binds plugins binds it. Nothing here keeps the code from anything; it
may change whatever it finds. What it gives back is looked at again by the server.
"""

import ast
import asyncio
import base64
import contextlib
import inspect
import io
import itertools
import linecache
import os
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from oui_sandbox.calls import Stopped
from oui_sandbox.printed import Printed, bounded

# Bytes of all pictures and files that one piece gives back: encoded they fit into a frame. And how many of each.
MOST_BYTES: Final = 10 * 2**20
MOST_PICTURES: Final = 10
MOST_FILES: Final = 10
_LOOKED_AT: Final = 2_000
_FLAGS: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_ENVIRONMENT: Final = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}


class Pipe:
    """One notebook."""

    def __init__(self) -> None:
        os.environ.update(_ENVIRONMENT)
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        self._home = Path.cwd()
        self._numbers = itertools.count(1)
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self._names = module.__dict__

    def pipe(self, code: str, files: dict[str, str]) -> dict[str, Any]:
        """What came of a piece. files: put into the folder before, by name, in base64."""
        for name, data in files.items():
            (self._home / name).write_bytes(base64.b64decode(data))
        before = dict(self._seen())
        out, err = Printed(), Printed()
        was = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        result, shown = None, None
        try:
            shown = self._run(code)
            result = None if shown is None else bounded(repr(shown))
        except Stopped:
            raise
        except SystemExit as error:
            if error.code:
                _write(err, f"It ended with {error.code!r}.\n")
        except BaseException as error:  # noqa: BLE001 - whatever code raises is told to who had it run
            _write(err, self._told(error))
        finally:
            sys.stdout, sys.stderr = was
        left_out: list[str] = []
        pictures = _within(_pictures(shown, err), MOST_PICTURES, MOST_BYTES, left_out)
        room = MOST_BYTES - sum(map(len, pictures.values()))
        made = _within(self._made(before), MOST_FILES, room, left_out)
        return {
            "stdout": out.text(),
            "stderr": err.text(),
            "result": result,
            "pictures": [base64.b64encode(data).decode() for data in pictures.values()],
            "files": {name: base64.b64encode(data).decode() for name, data in made.items()},
            "left_out": left_out[:MOST_FILES],
        }

    def _run(self, code: str) -> Any:
        """Runs it; the value of its last line, where that is one."""
        file = f"<code {next(self._numbers)}>"
        linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
        tree = compile(code, file, "exec", ast.PyCF_ONLY_AST | _FLAGS, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        self._evaluate(compile(tree, file, "exec", _FLAGS, dont_inherit=True))
        if not isinstance(last, ast.Expr):
            return None
        return self._evaluate(compile(ast.Expression(last.value), file, "eval", _FLAGS, dont_inherit=True))

    def _evaluate(self, code: types.CodeType) -> Any:
        made = eval(code, self._names)  # noqa: S307 - what this process is for
        return asyncio.run(made) if code.co_flags & inspect.CO_COROUTINE else made

    def _told(self, error: BaseException) -> str:
        """The traceback from the first line of the code's own on."""
        trace = error.__traceback__
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<code "):
            trace = trace.tb_next
        return "".join(traceback.format_exception(type(error), error, trace, limit=20))

    def _seen(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The files of the folder, with what tells a changed one. Hidden ones are Python's and libraries' own."""
        count = 0
        for folder, folders, names in os.walk(self._home):
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            for name in names:
                path = Path(folder, name)
                count += 1
                if count > _LOOKED_AT:
                    return
                if not name.startswith(".") and not path.is_symlink():
                    with contextlib.suppress(OSError):
                        about = path.stat()
                        yield str(path.relative_to(self._home)), (about.st_mtime_ns, about.st_size)

    def _made(self, before: dict[str, tuple[int, int]]) -> Iterator[tuple[str, bytes]]:
        """The files that are new or changed. One that is too large is read as far as shows that."""
        for name, about in self._seen():
            if before.get(name) != about:
                with contextlib.suppress(OSError), (self._home / name).open("rb") as file:
                    yield name, file.read(MOST_BYTES + 1)


def _write(printed: Printed, text: str) -> None:
    with contextlib.suppress(OSError):
        printed.write(text)


def _within(given: Iterator[tuple[str, bytes]], count: int, room: int, left_out: list[str]) -> dict[str, bytes]:
    """The first ones that fit; the others' names are noted."""
    kept: dict[str, bytes] = {}
    for name, data in given:
        if len(kept) < count and len(data) <= room:
            kept[name] = data
            room -= len(data)
        else:
            left_out.append(name)
    return kept


def _pictures(shown: Any, err: Printed) -> Iterator[tuple[str, bytes]]:
    """What was drawn, and what the last line's value looks like."""
    plots = sys.modules.get("matplotlib.pyplot")
    try:
        for number in plots.get_fignums() if plots is not None else ():
            made = io.BytesIO()
            plots.figure(number).savefig(made, format="png")  # type: ignore[union-attr]
            yield f"figure {number}", made.getvalue()
        if plots is not None:
            plots.close("all")
        if (draw := getattr(type(shown), "_repr_png_", None)) is not None and (drawn := draw(shown)):
            yield "the result's picture", bytes(drawn)
    except Exception as error:  # noqa: BLE001 - a library's or the code's own
        _write(err, f"A picture could not be made: {error}\n")
