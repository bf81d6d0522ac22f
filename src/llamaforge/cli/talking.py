"""chat, run and serve: the commands that make a model speak."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from llamaforge import terminal
from llamaforge.cli.state import State, parameters
from llamaforge.exceptions import ParameterError

Model = Annotated[str | None, typer.Option("--model", "-m", help="A model's name, or a path to one.")]
Backend = Annotated[str | None, typer.Option("--backend", "-b", help="The backend that runs it.")]
System = Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")]
Temperature = Annotated[float | None, typer.Option("--temperature", "-t", help="Randomness; 0 for none.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", "-n", help="The longest answer, in tokens.")]
Param = Annotated[list[str] | None, typer.Option("--param", "-p", help="Any other parameter, as name=value.")]


def chat(
    ctx: typer.Context,
    *,
    model: Model = None,
    backend: Backend = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    param: Param = None,
) -> None:
    """Talk with a model. /help tells the commands; exit, quit, q or Ctrl-D ends."""
    from llamaforge.chat import ChatInterface  # noqa: PLC0415 - a command loads what it needs

    given = parameters(param or (), temperature=temperature, max_tokens=max_tokens)
    if sys.stdin.isatty():
        terminal.edit_lines()
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no text spoils none of the others
    state: State = ctx.obj
    with state.forge(model, backend) as forge:
        ChatInterface(forge, model, system, parameters=given).start()


def run(  # noqa: PLR0913 - one argument an option
    ctx: typer.Context,
    *,
    prompt: Annotated[str | None, typer.Argument(help="The prompt; left out or '-', it is read from stdin.")] = None,
    model: Model = None,
    backend: Backend = None,
    system: System = None,
    as_chat: Annotated[bool, typer.Option("--chat", help="Give the prompt as a message of a chat.")] = False,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    param: Param = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write the answer to.")] = None,
) -> None:
    """Answer one prompt. The answer is streamed to stdout."""
    if prompt is None and sys.stdin.isatty():
        raise typer.BadParameter("give a prompt, or pipe one in.", param_hint="PROMPT")
    text = _piped() if prompt in {None, "-"} else prompt
    if not text or not text.strip():
        raise typer.BadParameter("the prompt is empty.", param_hint="PROMPT")
    if not terminal.is_text(text):
        raise ParameterError("The prompt is not text in UTF-8.")
    given = parameters(param or (), temperature=temperature, max_tokens=max_tokens)
    state: State = ctx.obj
    with state.forge(model, backend) as forge:
        if as_chat or system is not None:
            history = [] if system is None else [{"role": "system", "content": system}]
            pieces = forge.chat_stream(text, history, given, model=model)
        else:
            pieces = forge.generate_stream(text, given, model=model)
        if output is None:
            _stream(pieces)
        else:
            _write(output, "".join(pieces))


def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on; the configuration's by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "--models", "-m", help="A model to load before serving, or several with commas."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="What clients must send as bearer token.", envvar="LLAMAFORGE_API_KEY")
    ] = None,
    enable_cors: Annotated[
        bool | None, typer.Option("--enable-cors/--no-cors", help="Answer pages of any site.")
    ] = None,
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Let everybody in who reaches the address, without a key.")
    ] = False,
) -> None:
    """Serve models over OpenAI's API until Ctrl-C or SIGTERM."""
    from llamaforge.server import ApiServer  # noqa: PLC0415 - the web framework is for those who serve

    state: State = ctx.obj
    cors = {} if enable_cors is None else {"enable_cors": enable_cors}
    with state.forge(level="INFO") as forge:
        names = [name.strip() for names in model or () for name in names.split(",")]
        for name in names:
            forge.get_model_info(name)
        server = ApiServer(forge, host, port, api_key=api_key, allow_public=allow_public, **cors)
        if names:
            threading.Thread(target=_warm_up, args=(server.url, names, api_key), daemon=True).start()
        server.run()


def _warm_up(url: str, models: Sequence[str], api_key: str | None) -> None:
    """Ask the server, which listens already, to load the models; it logs what goes wrong."""
    import urllib.request  # noqa: PLC0415 - a command loads what it needs
    from urllib.parse import quote  # noqa: PLC0415

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    for name in models:
        request = urllib.request.Request(f"{url}/v1/models/{quote(name)}", b"", headers, method="POST")  # noqa: S310
        try:
            urllib.request.urlopen(request).close()  # noqa: S310 - our own address
        except OSError as error:
            logging.getLogger("llamaforge.cli").warning("%s could not be loaded: %s", name, error)


def _stream(pieces: Iterator[str]) -> None:
    """Each piece to stdout as it comes. Where it can't be written, the generation ends."""
    try:
        for piece in pieces:
            terminal.write(piece)
        terminal.write("\n")
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _piped() -> str:
    """What comes through stdin. Raises ParameterError for what is no text."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ParameterError(
            f"What comes through stdin is not text in {sys.stdin.encoding.upper()} (byte {error.start}). "
            "Convert it, for instance from Latin-1: iconv -f latin1 -t utf-8"
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"{path} can't be written: {error.strerror}.") from error
