"""Asking a model, once or in a conversation, and keeping what was said."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamaforge import terminal
from llamaforge.cli.state import say, show_json
from llamaforge.exceptions import ConfigError, ParameterError

if TYPE_CHECKING:
    from llamaforge.config import Config
    from llamaforge.conversations import ConversationLog
    from llamaforge.forge import LlamaForge
    from llamaforge.tools import Tool

Json = dict[str, Any]
_log = logging.getLogger("llamaforge.cli")


def log_of(config: Config) -> ConversationLog:
    """The log beside the configuration file. Raises ConfigError where there is no such file."""
    from llamaforge.conversations import ConversationLog  # noqa: PLC0415 - not every command needs SQLite

    if config.config_path == ":memory:":
        raise ConfigError("A configuration in memory has no log of conversations.")
    return ConversationLog(Path(config.config_path).with_name("conversations.db"))


class Record:
    """One conversation: its model, system prompt and history, written to the log turn by turn.

    A log that can't be written is told once, and the conversation goes on.
    """

    def __init__(self, forge: LlamaForge, model: str | None, system: str | None, *, off: bool = False) -> None:
        """model: None for the one that counts without a name. off: write nothing."""
        self.forge = forge
        self.model = model
        self.system = system
        self.history: list[Json] = []
        self.conversation: str | None = None
        self._off = off or not forge.config.get("log_conversations") or forge.config.config_path == ":memory:"

    def beside(self, name: str) -> Path | None:
        """A file beside the configuration's, or None where nothing is to be written."""
        return None if self._off else Path(self.forge.config.config_path).with_name(name)

    def go_on(self, conversation: str | None) -> None:
        """Take up a conversation of the log, or the latest; what was given wins over what is there. Raises ConfigError."""
        found = log_of(self.forge.config).get(conversation)
        self.conversation, self.history = found["id"], found["messages"]
        self.model = self.model or found["model"]
        self.system = found["system"] if self.system is None else self.system

    def add(self, turn: Sequence[Json]) -> None:
        """Write a turn, messages of {role, content}."""
        if self._off:
            return
        model = self.model or str(self.forge.default_model)
        try:
            log = log_of(self.forge.config)
            self.conversation = log.add(self.conversation, turn, model=model, system=self.system)
        except ConfigError as error:
            self._off = True
            _log.warning("%s", error)


def talk(forge: LlamaForge, record: Record, given: Mapping[str, Any]) -> None:
    """A conversation on the terminal."""
    from llamaforge.chat import ChatInterface  # noqa: PLC0415 - a command loads what it needs

    if sys.stdin.isatty():
        terminal.edit_lines(record.beside("history"))
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no text spoils none of the others

    def keep(chat: ChatInterface) -> None:
        new = chat.history[-2:]
        if chat.history is not record.history or len(chat.history) == 2:  # /load, or it has begun anew
            record.conversation, record.history, new = None, chat.history, chat.history
        record.model, record.system = chat.model, chat.system_prompt
        record.add(new)

    chat = ChatInterface(forge, record.model, record.system, parameters=given, after_turn=keep)
    chat.history = record.history
    chat.start()


class Asked:
    """One question, its parameters and the tools that may be used for it."""

    def __init__(
        self, record: Record, text: str, content: str | Sequence[Json], given: Mapping[str, Any], tools: Sequence[Tool]
    ) -> None:
        """text: the prompt. content: the same as the content of a message, with pictures."""
        self._forge, self._model = record.forge, record.model
        self._text, self._given, self._tools = text, given, tools
        self._plain = content == text and not record.history and record.system is None and not tools
        system = [] if record.system is None else [{"role": "system", "content": record.system}]
        self._history = [*system, *record.history]
        self._content = content

    def is_chat(self) -> bool:
        """Whether it can only be asked in a chat, or the model, which is loaded for this, was made for chats."""
        return not self._plain or "json_schema" in self._given or self._forge.has_chat_template(self._model)

    def answer(self, *, raw: bool, output: Path | None, as_json: bool) -> str:
        """Ask, write the answer as it comes, and return it. output: a file for it. as_json: the whole answer, at its end.

        Raises what the forge raises, and ParameterError for a file that can't be written.
        """
        if as_json or output is not None:
            pieces: list[str] = []
            if output is not None:
                _write(output, "", "a")  # one that can't be written is told before the model works
            whole = self._ask(pieces.append, raw=raw, whole=as_json)
            text = "".join(pieces)
            if output is not None:
                _write(output, text)
            if as_json:
                show_json(whole)
            return text
        written: list[str] = []

        def show(piece: str) -> None:
            written.append(piece)
            terminal.write(piece)

        self._ask(show, raw=raw)
        terminal.write("\n")
        return "".join(written)

    def _ask(self, take: Callable[[str], object], *, raw: bool, whole: bool = False) -> Any:
        """Give the text to `take` in pieces. whole: in one piece, and return OpenAI's form of the answer."""
        forge, model, given = self._forge, self._model, self._given
        messages = [*self._history, {"role": "user", "content": self._content}]
        if self._tools:
            from llamaforge.tools import run_tools  # noqa: PLC0415 - a command loads what it needs

            return run_tools(forge, messages, self._tools, given, model=model, observe=_show_call, on_text=take).message
        if not whole:
            pieces = forge.generate_stream(self._text, given, model=model, raw=True) if raw else None
            _each(pieces or forge.chat_stream(self._content, self._history, given, model=model), take)
            return None
        if raw:
            answer = forge.completion(self._text, given, model=model)
            take(str(answer["choices"][0]["text"]))
        else:
            answer = forge.chat_completion(messages, given, model=model)
            take(str(answer["choices"][0]["message"].get("content") or ""))
        return answer


def _each(pieces: Iterator[str], take: Callable[[str], object]) -> None:
    """Whatever ends this ends the generation, too."""
    with contextlib.closing(pieces) as closed:  # type: ignore[type-var]
        for piece in closed:
            take(piece)


def _show_call(call: Any, result: Any) -> None:
    """A tool that was called, for who watches."""
    if result is not None and sys.stderr.isatty():
        say(f"{call.tool.name}({call.call.arguments}): {result.text}", err=True)


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ParameterError(f"{path} can't be written: {error.strerror}.") from error
