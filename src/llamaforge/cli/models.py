"""list, add, pull, cp, rm, remove and show: which models there are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamaforge import terminal
from llamaforge.cli.state import State, known_as, parameters, say, show_fields, show_json, show_table
from llamaforge.exceptions import ParameterError
from llamaforge.model import expanded

if TYPE_CHECKING:
    from llamaforge.config import Config

_SECRET = re.compile(
    r"(^|[_-])(api_?keys?|token|secret|password|authorization)$|^default_(headers|query)$", re.IGNORECASE
)
# The password of an address, and a key in its query.
_IN_ADDRESS = re.compile(
    r"((?<=://)[^/\s@:]*:(?=[^/\s]*@)|[?&](?:[\w-]*[_-])?(?:key|token|secret|password)=)[^/&#\s@]+"
)
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


class What(StrEnum):
    """What can be listed."""

    MODELS = "models"
    BACKENDS = "backends"
    PLUGINS = "plugins"


def list_(
    ctx: typer.Context,
    what: Annotated[What, typer.Argument(help="models, backends or plugins.")] = What.MODELS,
    as_json: AsJson = False,
) -> None:
    """List models, backends or plugins."""
    state: State = ctx.obj
    rows = {What.MODELS: _models, What.BACKENDS: _backends, What.PLUGINS: _plugins}[what](state)
    if as_json:
        show_json(rows)
    elif rows:
        show_table([name.upper() for name in rows[0]], [[_cell(value) for value in row.values()] for row in rows])
    else:
        say("There are no models yet: llamaforge add NAME SOURCE", err=True)


def add(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="The name to give it.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A file or folder, hf:owner/repo[/file.gguf], ollama:name[:tag], an https address of a GGUF file, or with "
            "--backend what that backend calls the model."
        ),
    ],
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Take the source as it stands for this.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter to keep, as name=value.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model of that name.")] = False,
    default: Annotated[bool, typer.Option("--default", help="Make it the default model.")] = False,
) -> None:
    """Add a model, downloading it where it is not on this machine."""
    state: State = ctx.obj
    config = state.config()
    if backend is not None:
        from llamaforge.backends import get_backend  # noqa: PLC0415 - a command loads what it needs

        get_backend(backend)
    given = parameters(param or ())
    _obtain(config, name, source, backend=backend, parameters=given, replace=replace, default=default)


def _obtain(config: Config, name: str, source: str, *, default: bool, **options: Any) -> None:
    """Add a model and tell so."""
    from llamaforge import hub  # noqa: PLC0415 - a command loads what it needs

    with _progress(name) as progress:
        found = hub.add(config, name, source, progress=progress, **options)
    if default:
        config.set("default_model", name)
        config.save()
    if found.remark:
        say(found.remark, err=True)
    say(f"Added {name}: {found.path} ({found.backend})")


def pull(
    ctx: typer.Context,
    *,
    source: Annotated[str, typer.Argument(help="As in Ollama: llama3.2:1b, or hf.co/owner/repo; or as for add.")],
    name: Annotated[str | None, typer.Argument(help="The name to give it.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default model.")] = False,
) -> None:
    """Download a model. One that was downloaded before is brought up to date and keeps its parameters."""
    from llamaforge.hub import source_of  # noqa: PLC0415 - a command loads what it needs

    state: State = ctx.obj
    config = state.config()
    where, usual = source_of(source)
    there = config.get_model(name or usual) or {}
    known = "source" in there.get("metadata", {})
    stored = there.get("parameters", {}) if known else {}
    _obtain(config, name or usual, where, parameters=stored, replace=known, default=default)


def cp(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The model.")],
    new: Annotated[str, typer.Argument(help="The name of the copy.")],
) -> None:
    """Note a model under a second name, with parameters of its own. The file is not copied."""
    state: State = ctx.obj
    with state.forge() as forge:
        if new in forge.list_models():
            raise ParameterError(f"There is already a model '{new}'.")
        found = forge.get_model_info(name)
        metadata = {key: value for key, value in found["metadata"].items() if key != "aliases"}
        forge.add_model(new, found["path"], found["backend"], found["parameters"], metadata)
        forge.config.save()
    say(f"Copied {name} to {new}")


def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="The models.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete files without asking.")] = False,
    keep: Annotated[bool, typer.Option("--keep-files", help="Delete no files.")] = False,
) -> None:
    """Forget models, and delete their files in models_dir after asking. Other files stay."""
    from llamaforge import hub  # noqa: PLC0415 - a command loads what it needs

    state: State = ctx.obj
    config = state.config()
    with state.forge() as forge:
        for name in names:
            forge.get_model_info(name)
    for name in dict.fromkeys(names):
        files = [] if keep else _deletable(config, name)
        if files and not yes:
            if not sys.stdin.isatty():
                raise ParameterError(f"{files[0]} would be deleted: give --yes, or --keep-files.")
            terminal.write(f"Delete {files[0]}? [y/N]: ", err=True)
            if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
                say(f"{name} stays.", err=True)
                continue
        deleted = hub.remove(config, name, delete_file=bool(files))
        say(f"Removed {name}" + (f" and deleted {deleted}" if deleted else ""))


def _deletable(config: Config, name: str) -> list[Path]:
    from llamaforge import hub  # noqa: PLC0415 - a command loads what it needs

    try:
        return hub.own_files(config, name)
    except ParameterError:  # it lies elsewhere, or another model uses it
        return []


def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The model.")],
    delete_file: Annotated[
        bool, typer.Option("--delete-file", help="Also delete its file or folder, if it lies in models_dir.")
    ] = False,
) -> None:
    """Forget a model. Its file stays unless that is asked for."""
    from llamaforge import hub  # noqa: PLC0415 - a command loads what it needs

    state: State = ctx.obj
    deleted = hub.remove(state.config(), name, delete_file=delete_file)
    say(f"Removed {name}" + (f" and deleted {deleted}" if deleted else ""))


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The model.")],
    template: Annotated[bool, typer.Option("--template", help="Write its chat template alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what is known of a model: parameters, context, quantisation, template. It is not loaded."""
    state: State = ctx.obj
    with state.forge() as forge:
        known = forge.get_model_info(known_as(forge.config, name))
    known = {key: value for key, value in known.items() if key not in {"loaded", "current", "memory", "details"}}
    known["parameters"] = hide_keys(known["parameters"])
    path = expanded(str(known["path"]))
    if known["backend"] == "llama.cpp" and path.is_file():
        from llamaforge.gguf import read_header  # noqa: PLC0415

        header = read_header(path)
        known["file"] = header.summary()
        known["template"] = header.chat_template
    if template:
        if not known.get("template"):
            raise ParameterError(f"No chat template is known of '{name}'.")
        say(known["template"])
    elif as_json:
        show_json(known)
    else:
        show_fields({key: value for key, value in known.items() if key not in {"file", "template"}})
        show_fields(known.get("file", {}))


def hide_keys(value: Any, *, hidden: bool = False) -> Any:
    """A copy in which API keys are not to be read, nor headers and queries, which may have one, nor an address' password."""
    if isinstance(value, dict):
        return {
            name: hide_keys(item, hidden=hidden or _SECRET.search(name) is not None) for name, item in value.items()
        }
    if isinstance(value, list):
        return [hide_keys(item, hidden=hidden) for item in value]
    if hidden and value:
        return "***"
    return _IN_ADDRESS.sub(r"\1***", value) if isinstance(value, str) else value


def _models(state: State) -> list[dict[str, Any]]:
    with state.forge() as forge:
        default = forge.config.get("default_model")
        found = [forge.get_model(name) for name in forge.list_models()]
    return [
        {"name": model.name, "backend": model.backend, "path": model.path, "default": model.name == default}
        for model in found
        if model is not None
    ]


def _backends(_state: State) -> list[dict[str, Any]]:
    from llamaforge.backends import list_backends  # noqa: PLC0415 - a command loads what it needs

    return [{"name": name} for name in list_backends()]


def _plugins(state: State) -> list[dict[str, Any]]:
    with state.forge() as forge:
        plugins = forge.plugins
        return [
            {"name": name, "kind": plugins.kind(name), "enabled": plugins.is_enabled(name)}
            | {"description": plugins.get(name).description}
            for name in plugins.list()
        ]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on stderr, where somebody sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    label = TextColumn("{task.description}", markup=False)
    with Progress(
        label, BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(terminal.one_line(name), total=None, start=False, visible=False)

        def tell(done: int, total: int | None) -> None:
            bar.start_task(task)
            bar.update(task, completed=done, total=total, visible=True)

        yield tell
