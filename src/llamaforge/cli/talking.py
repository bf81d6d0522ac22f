"""chat, run and serve: the commands that make a model speak."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from llamaforge.cli.answering import Asked, Record, talk
from llamaforge.cli.asking import addressed, piped, question, schema_of, tools_of, with_files, with_pictures
from llamaforge.cli.state import State, known_as, parameters

Model = Annotated[str | None, typer.Option("--model", "-m", help="A model's name, or a path to one.")]
Backend = Annotated[str | None, typer.Option("--backend", "-b", help="The backend that runs it.")]
System = Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")]
Temperature = Annotated[float | None, typer.Option("--temperature", "-t", help="Randomness; 0 for none.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", "-n", help="The longest answer, in tokens.")]
Param = Annotated[list[str] | None, typer.Option("--param", "-p", help="Any other parameter, as name=value.")]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Go on with the latest conversation.")]
Conversation = Annotated[str | None, typer.Option("--conversation", help="Go on with this conversation of `logs`.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL|PROMPT",
        help="Without a prompt, it is what is piped in; where nothing is, you talk. '-' is stdin, too.",
    ),
]
Schema = Annotated[
    str | None, typer.Option("--schema", help="The form of the answer: JSON schema, a file of it, or 'name, age int'.")
]
Tools = Annotated[
    list[str] | None, typer.Option("--tool", "-T", help="A tool plugin, or module:function; may be repeated.")
]
NoLog = Annotated[bool, typer.Option("--no-log", help="Leave this out of the log of conversations.")]


def chat(  # noqa: PLR0913 - one argument an option
    ctx: typer.Context,
    *,
    words: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="The model.")] = None,
    model: Model = None,
    backend: Backend = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    param: Param = None,
    go_on: Continue = False,
    conversation: Conversation = None,
    no_log: NoLog = False,
) -> None:
    """Talk with a model. /help tells the commands; exit, quit, q or Ctrl-D ends."""
    if len(words or ()) > (model is None):
        raise typer.BadParameter("name one model.", param_hint="MODEL")
    state: State = ctx.obj
    given = parameters(param or (), temperature=temperature, max_tokens=max_tokens)
    with state.forge() as forge:
        name = model or next(iter(words or ()), None)
        record = Record(forge, name and known_as(forge.config, name), system, off=no_log)
        if go_on or conversation is not None:
            record.go_on(conversation)
        state.use_backend(forge, record.model, backend)
        talk(forge, record, given)


def run(  # noqa: PLR0913 - one argument an option
    ctx: typer.Context,
    *,
    words: Words = None,
    model: Model = None,
    backend: Backend = None,
    system: System = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as it stands, without a chat template.")
    ] = False,
    as_chat: Annotated[bool, typer.Option("--chat", help="Ask as in a chat, also a model without a template.")] = False,
    picture: Annotated[list[str] | None, typer.Option("--attachment", "-a", help="A picture; may be repeated.")] = None,
    file: Annotated[list[str] | None, typer.Option("--file", "-f", help="A text that goes before the prompt.")] = None,
    schema: Schema = None,
    tool: Tools = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    param: Param = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write the answer to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole answer as JSON.")] = False,
    go_on: Continue = False,
    conversation: Conversation = None,
    no_log: NoLog = False,
) -> None:
    """Answer one prompt, streamed to stdout. A model that has a chat template is asked as in a chat."""
    given = parameters(param or (), temperature=temperature, max_tokens=max_tokens)
    if schema is not None:
        given["json_schema"] = schema_of(schema)
    if raw and (as_chat or system or picture or tool or schema or go_on or conversation):
        raise typer.BadParameter("takes a prompt alone, with -f and parameters.", param_hint="--raw")
    state: State = ctx.obj
    with state.forge() as forge:
        if backend is not None and model is None and words and len(words) > 1:
            model, words = words[0], words[1:]
        named, prompt = (model, " ".join(words or ()) or None) if backend else addressed(forge, model, words or ())
        record = Record(forge, named, system, off=no_log)
        if go_on or conversation is not None:
            record.go_on(conversation)
        state.use_backend(forge, record.model, backend)
        if prompt is None and not file and sys.stdin.isatty():
            if raw or picture or tool or as_json or output:
                raise typer.BadParameter("give a prompt, or pipe one in.", param_hint="PROMPT")
            talk(forge, record, given)
            return
        if prompt == "-" or (prompt is None and not file):
            prompt = piped()
        text = question(with_files(prompt, file or ()))
        content = with_pictures(text, picture or ())
        asked = Asked(record, text, content, given, tools=tools_of(forge, tool or ()))
        answer = asked.answer(raw=raw or not (as_chat or asked.is_chat()), output=output, as_json=as_json)
        pictures = "".join(f"\n[picture: {Path(one).name}]" for one in picture or ())
        record.add([{"role": "user", "content": text + pictures}, {"role": "assistant", "content": answer}])


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
