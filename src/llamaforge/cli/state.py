"""What the commands share: the configuration, the forge, how errors end a command, where things are written."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from llamaforge import terminal
from llamaforge.exceptions import ConfigError, LlamaForgeError, ParameterError

if TYPE_CHECKING:
    from llamaforge.config import Config
    from llamaforge.forge import LlamaForge

FAILED = 1
INTERRUPTED = 130
_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


# click's class, wherever typer has click from.
_UsageError: Any = typer.BadParameter.__mro__[1]


# Each command with its module and its function or group, and its line in the help; "" for other spellings of older pages
# of the documentation. A command is built when it is called: building all of them takes longer than most of them run.
COMMANDS = {
    "run": ("talking:run", "Answer one prompt, or talk."),
    "chat": ("talking:chat", "Talk with a model."),
    "list": ("models:list_", "List models, backends or plugins."),
    "add": ("models:add", "Add a model, downloading it where it is not on this machine."),
    "pull": ("models:pull", "Download a model, or bring it up to date."),
    "show": ("models:show", "Tell what is known of a model."),
    "cp": ("models:cp", "Note a model under a second name."),
    "rm": ("models:rm", "Forget models, and delete their files after asking."),
    "remove": ("models:remove", "Forget a model."),
    "alias": ("naming:aliases", "Other names for models."),
    "template": ("naming:templates", "Prompts that are used again."),
    "logs": ("logs:app", "Conversations of the command line."),
    "serve": ("talking:serve", "Serve models over HTTP until Ctrl-C or SIGTERM."),
    "ps": ("remote:ps", "List what a running server has loaded."),
    "stop": ("remote:stop", "Unload models of a running server."),
    "config": ("settings:app", "Show and change the configuration."),
    "tools": ("measuring:tools", "Use a tool."),
    "benchmark": ("measuring:benchmark", "Measure tokens a second and time to the first token."),
    "info": ("models:show", ""),
    "generate": ("talking:run", ""),
    "models": ("spellings:app", ""),
    "list-models": ("spellings:list_", ""),
    "add-model": ("spellings:add", ""),
    "remove-model": ("spellings:remove", ""),
}


class Commands(TyperGroup):
    """Commands whose errors end as one sentence on stderr and an exit code: 1 for a failure, 130 for Ctrl-C."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as the library has it
        """Their names, as the help has them."""
        return [name for name, (_, about) in COMMANDS.items() if about]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"llamaforge.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command = typer.main.get_group(found)
            command.name = cmd_name
            return command
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Their lines of the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(None)])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line. Usage errors (exit code 2) are the library's own."""
        terminal.prepare_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the global options, and show their help."""
        with _errors_as_sentences():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _errors_as_sentences():
            return super().invoke(ctx)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """A reader that went away is no error; output that can't be written is one."""
    try:
        yield
    except LlamaForgeError as error:
        say(f"llamaforge: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        say("", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except _UsageError as error:
        error.message = terminal.shown(error.message)
        raise
    except BrokenPipeError as error:
        terminal.abandon(sys.stdout)
        raise typer.Exit(0) from error
    except OSError as error:
        terminal.abandon(sys.stdout)
        what = f"{error.filename} can't be used: " if error.filename else ""
        if error.errno in _OF_OUTPUT:
            what = "The output can't be written: "
        say(f"llamaforge: {what}{error.strerror or error}.", err=True)
        raise typer.Exit(FAILED) from error


@dataclass(frozen=True, slots=True)
class State:
    """The global options."""

    config_path: str | None = None
    profile: str | None = None
    verbose: bool = False

    def config(self) -> Config:
        """The configuration, with the profile asked for. Raises ConfigError."""
        from llamaforge.config import Config  # noqa: PLC0415 - a command loads what it needs

        self._choose_profile()
        return self._checked(Config(self.config_path))

    def forge(self, model: str | None = None, backend: str | None = None, level: str = "WARNING") -> LlamaForge:
        """A forge. backend: see `use_backend`. level: of the log."""
        from llamaforge.forge import LlamaForge  # noqa: PLC0415 - as above

        self._choose_profile()
        forge = LlamaForge(self.config_path, "DEBUG" if self.verbose else level)
        self._checked(forge.config)
        self.use_backend(forge, model, backend)
        return forge

    def use_backend(self, forge: LlamaForge, model: str | None, backend: str | None) -> None:
        """Run `model` on a backend, whatever is noted of it, for this command only. Raises ParameterError."""
        if backend is None:
            return
        if model is None:
            raise ParameterError("--backend needs the --model that it is to run.")
        known = forge.get_model(model)
        if known is None:
            forge.add_model(model, model, backend)
        else:
            forge.add_model(model, known.path or model, backend, known.parameters, known.metadata)

    def _choose_profile(self) -> None:
        # The environment, so that the processes of models see the same.
        if self.profile is not None:
            os.environ["LLAMAFORGE_PROFILE"] = self.profile

    def _checked(self, config: Config) -> Config:
        if self.profile is not None and self.profile not in config.config["profiles"]:
            known = ", ".join(config.config["profiles"]) or "none"
            raise ConfigError(f"There is no profile '{self.profile}'. Known: {known}.")
        return config


class _Formatter(logging.Formatter):
    """What is logged has names and words of others in it."""

    def format(self, record: logging.LogRecord) -> str:
        """One entry of the log."""
        text = super().format(record)
        return terminal.shown(text) if sys.stderr.isatty() else text


def log_to_stderr(*, verbose: bool) -> None:
    """Send the package's log to stderr: warnings, or everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s" if verbose else "llamaforge: %(message)s"))
    logger = logging.getLogger("llamaforge")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


def known_as(config: Config, name: str) -> str:
    """The model that an alias (`metadata.aliases`) stands for; any other name as it is."""
    models: Mapping[str, Any] = config.config["models"]
    if name in models:
        return name
    return next((str(other) for other, entry in models.items() if name in aliases_of(entry)), name)


def aliases_of(entry: Mapping[str, Any]) -> Sequence[str]:
    """The other names of a noted model."""
    metadata = entry.get("metadata")
    found = metadata.get("aliases") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, list) else ()


def parameters(given: Sequence[str], **named: Any) -> dict[str, Any]:
    """Parameters from options "name=value" (values as JSON, else as text) and from options of their own.

    Raises ParameterError for one without a name.
    """
    from llamaforge.settings import value_of  # noqa: PLC0415 - a command loads what it needs

    found = {name: value for name, value in named.items() if value is not None}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ParameterError(f"'{item}' is no parameter; write it as name=value.")
        found[name.strip()] = value_of(value)
    return found


def say(text: object, *, err: bool = False) -> None:
    """Write a line to stdout or stderr. Raises OSError where it can't be written."""
    terminal.write(f"{text}\n", err=err)


def show_json(value: Any) -> None:
    """Write a value to stdout as JSON for programs."""
    say(json.dumps(value, indent=2, ensure_ascii=not terminal.is_utf8(sys.stdout), default=str))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to stdout: drawn on a terminal, plain columns elsewhere."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    if sys.stdout.isatty():
        from rich.box import SIMPLE  # noqa: PLC0415 - only for people
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*lines[0], box=SIMPLE)
        for line in lines[1:]:
            table.add_row(*(Text(terminal.one_line(cell)) for cell in line))
        Console(file=sys.stdout).print(table)
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, Any]) -> None:
    """Write names and values to stdout, one a line; what is not known is left out."""
    known = {name: value for name, value in fields.items() if value not in (None, "", {}, [])}
    width = max((len(name) for name in known), default=0)
    for name, value in known.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        say(f"{name.replace('_', ' ').ljust(width)}  {text}")
