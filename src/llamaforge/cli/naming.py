"""alias and template: other names for models, and prompts that are used again."""

from __future__ import annotations

import json
import string
import sys
from typing import Annotated, Any

import typer

from llamaforge.cli.asking import piped, schema_of
from llamaforge.cli.models import AsJson
from llamaforge.cli.state import State, aliases_of, parameters, say, show_fields, show_json, show_table
from llamaforge.cli.talking import Model, Param, System, run
from llamaforge.exceptions import ModelNotLoadedError, ParameterError
from llamaforge.parameters import unknown

aliases = typer.Typer(help="Other names for models.", no_args_is_help=True, rich_markup_mode=None)
templates = typer.Typer(help="Prompts that are used again.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="Its name.")]


@aliases.command("set")
def set_alias(
    ctx: typer.Context,
    alias: Annotated[str, typer.Argument(help="The other name.")],
    model: Annotated[str, typer.Argument(help="The model, as `list` has it.")],
) -> None:
    """Give a model another name, for `run` and for clients of `serve`."""
    state: State = ctx.obj
    config = state.config()
    models = config.config["models"]
    if not alias.strip() or alias in models:
        raise ParameterError(f"'{alias}' is a model itself." if alias.strip() else "An alias is not blank.")
    if model not in models:
        raise ParameterError(unknown(model, models, "model") + " Only models that were added can have aliases.")
    _drop(models, alias)
    entry = models[model]
    entry["metadata"] = {**(entry.get("metadata") or {}), "aliases": [*aliases_of(entry), alias]}
    config.save()


@aliases.command("list")
def list_aliases(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List aliases and their models."""
    state: State = ctx.obj
    found = {alias: name for name, entry in state.config().config["models"].items() for alias in aliases_of(entry)}
    if as_json:
        show_json(found)
    elif found:
        show_table(["ALIAS", "MODEL"], sorted(found.items()))
    else:
        say("There are no aliases: llamaforge alias set ALIAS MODEL", err=True)


@aliases.command("remove")
def remove_alias(ctx: typer.Context, alias: Annotated[str, typer.Argument(help="The other name.")]) -> None:
    """Forget an alias. The model stays."""
    state: State = ctx.obj
    config = state.config()
    if not _drop(config.config["models"], alias):
        raise ParameterError(f"There is no alias '{alias}'.")
    config.save()


def _drop(models: dict[str, Any], alias: str) -> bool:
    """Take an alias from whoever has it; whether anybody had."""
    having = [entry for entry in models.values() if alias in aliases_of(entry)]
    for entry in having:
        entry["metadata"]["aliases"] = [other for other in aliases_of(entry) if other != alias]
    return bool(having)


@templates.command("save")
def save(
    ctx: typer.Context,
    *,
    name: Name,
    prompt: Annotated[str, typer.Argument(help="The prompt, with $input and other $variables in it.")],
    model: Model = None,
    system: System = None,
    schema: Annotated[str | None, typer.Option("--schema", help="The form of the answer, as for run.")] = None,
    param: Param = None,
) -> None:
    """Keep a prompt with what goes with it, in the place of one of that name."""
    _variables(prompt)
    if schema is not None:
        schema_of(schema)
    kept = {"prompt": prompt, "model": model, "system": system, "schema": schema, "parameters": parameters(param or ())}
    state: State = ctx.obj
    config = state.config()
    config.set(("templates", name), {key: value for key, value in kept.items() if value})
    config.save()


@templates.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List templates."""
    state: State = ctx.obj
    found = state.config().get("templates")
    if as_json:
        show_json(found)
    elif found:
        show_table(["NAME", "PROMPT"], [[name, str(entry.get("prompt", ""))] for name, entry in sorted(found.items())])
    else:
        say("There are no templates: llamaforge template save NAME PROMPT", err=True)


@templates.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Write what a template holds."""
    (show_json if as_json else show_fields)(_found(ctx, name))


@templates.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Forget a template."""
    _found(ctx, name)
    state: State = ctx.obj
    config = state.config()
    del config.config["templates"][name]
    config.save()


@templates.command("run")
def run_template(
    ctx: typer.Context,
    *,
    name: Name,
    words: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help="For $input; '-' is stdin.")] = None,
    variable: Annotated[list[str] | None, typer.Option("--variable", "-v", help="Another, as name=value.")] = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole answer as JSON.")] = False,
) -> None:
    """Ask what a template says, with its variables filled in."""
    state: State = ctx.obj
    kept = _found(ctx, name)
    prompt = str(kept.get("prompt", ""))
    values = dict(item.partition("=")[::2] for item in variable or ())
    if words and words != ["-"]:
        values["input"] = " ".join(words)
    elif "input" in _variables(prompt) and (words or not sys.stdin.isatty()):
        values["input"] = piped()
    missing = _variables(prompt) - values.keys()
    if missing:
        raise ParameterError(f"The template '{name}' needs {', '.join(sorted(missing))}: give -v {min(missing)}=...")
    filled = string.Template(prompt).substitute(values)
    model = model or kept.get("model") or state.config().get("default_model")
    if model is None:
        raise ModelNotLoadedError("Name a model by -m, or set a default_model.")
    given = [f"{key}={json.dumps(value)}" for key, value in (kept.get("parameters") or {}).items()]
    system, schema = kept.get("system"), kept.get("schema")
    run(ctx, words=[filled], model=model, system=system, schema=schema, param=given, as_json=as_json)


def _found(ctx: typer.Context, name: str) -> dict[str, Any]:
    """A template. Raises ParameterError with the nearest name."""
    state: State = ctx.obj
    known: dict[str, dict[str, Any]] = state.config().config["templates"]
    if name not in known:
        raise ParameterError(unknown(name, known, "template"))
    return known[name]


def _variables(prompt: str) -> set[str]:
    """The names after $. Raises ParameterError where a $ stands before none."""
    template = string.Template(prompt)
    if not template.is_valid():
        raise ParameterError("A $ that begins no variable is written $$.")
    return set(template.get_identifiers())
