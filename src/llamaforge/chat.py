"""A conversation on a terminal, or over any two functions that read and write lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from llamaforge import terminal
from llamaforge.exceptions import LlamaForgeError, ModelNotLoadedError
from llamaforge.model import Model, expanded
from llamaforge.parameters import unknown

_GOODBYES = frozenset(("exit", "quit", "q"))
_QUOTES = '"""'
_HELP = """\
/help           these lines
/reset          forget the conversation
/system [TEXT]  show the system prompt, or set it ("/system -" removes it)
/model [NAME]   show the model, or go on with another
/save FILE      keep the conversation in a new file
/load FILE      go on with a kept conversation
/exit           end (also: exit, quit, /bye, Ctrl-D)
//...           a message that begins with one slash
\"""             begins a message of several lines, and ends it
Ctrl-C ends an answer; what has been said counts.
"""


def _nothing() -> None:
    """An iterator without close() has nothing to close."""


class Forge(Protocol):
    """What a conversation needs of a LlamaForge."""

    @property
    def current_model(self) -> Model | None:
        """The model that answers where none is named."""

    @property
    def default_model(self) -> str | None:
        """The name of the model that is used where none is current."""

    def load_model(self, name: str) -> None:
        """Make a model ready and the current one."""

    def chat_stream(
        self,
        user_input: str,
        chat_history: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        model: str | None = None,
    ) -> Iterator[str]:
        """The answer in pieces."""


class ChatInterface:
    """A conversation with one model, whose turns are in `history` as {role, content}, without the system prompt."""

    def __init__(
        self,
        forge: Forge,
        model: str | None = None,
        system_prompt: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        read: Callable[[str], str] = terminal.read,
        write: Callable[[str], None] = terminal.write,
        after_turn: Callable[[ChatInterface], None] | None = None,
    ) -> None:
        """model: None for the forge's current or default one. parameters: of every answer.

        read: returns a line, or several that were pasted, given the prompt to show; EOFError ends the conversation.
        write: shows a piece of text at once, line ends included. after_turn: called when a turn is in the history.
        """
        self.forge = forge
        self.model = model
        self.system_prompt = system_prompt
        self.parameters = dict(parameters or {})
        self.history: list[dict[str, Any]] = []
        self._read = read
        self._write = write
        self._after_turn = after_turn

    def start(self) -> None:
        """Load the model and talk until the person ends it.

        Raises ModelNotLoadedError where there is none to talk with, and what `LlamaForge.load_model` raises.
        """
        self._use(self.model)
        self._write(f"{self.model}: /help tells what you can do, /exit ends.\n")
        while True:
            try:
                line = self._read("> ").strip()
                quoted = self._quoted(line) if line.startswith(_QUOTES) else ""
            except EOFError:
                self._write("\n")
                return
            except KeyboardInterrupt:
                self._write("\n")
                continue
            if quoted:
                self.say(quoted)
            elif not line.startswith(_QUOTES) and not self.take(line):
                return

    def _quoted(self, text: str) -> str:
        """What stands between the quotes that `text` begins with and those that end a line, without blank lines around."""
        text = text.removeprefix(_QUOTES)
        while not text.endswith(_QUOTES):
            text += "\n" + self._read("... ").rstrip()
        return text.removesuffix(_QUOTES).strip("\n")

    def take(self, line: str) -> bool:
        """Do what one line says: a command, or words to the model. False when it ends the conversation."""
        if line.lower() in _GOODBYES:
            return False
        if line.startswith("/") and not line.startswith("//"):
            return self._command(line)
        if line:
            self.say(line.removeprefix("/"))
        return True

    def say(self, text: str) -> None:
        """Ask the model and write its answer as it comes. If it fails, that is written and the turn is forgotten."""
        if not terminal.is_text(text):
            self._write("That is not text in UTF-8; it was not sent.\n")
            return
        pieces: list[str] = []
        stream: Iterator[str] = iter(())
        try:
            stream = self.forge.chat_stream(text, self._messages(), self.parameters, model=self.model)
            for piece in stream:
                pieces.append(piece)
                self._write(piece)
        except KeyboardInterrupt:
            getattr(stream, "close", _nothing)()
            if not pieces:
                self._write("\n")
                return
        except (LlamaForgeError, RuntimeError, ValueError, OSError) as error:  # a backend is anybody's code
            self._write(("\n" if pieces else "") + f"{error}\n")
            return
        self._write("\n")
        self.history += [{"role": "user", "content": text}, {"role": "assistant", "content": "".join(pieces)}]
        if self._after_turn is not None:
            self._after_turn(self)

    def _messages(self) -> list[dict[str, Any]]:
        system = [] if self.system_prompt is None else [{"role": "system", "content": self.system_prompt}]
        return system + self.history

    def _use(self, model: str | None) -> None:
        if model is None:
            current = self.forge.current_model
            model = self.forge.default_model if current is None else current.name
        if model is None:
            raise ModelNotLoadedError("No model was named, and there is no default_model.")
        self.forge.load_model(model)
        self.model = model

    # ---- commands

    def _command(self, line: str) -> bool:
        name, _, argument = line[1:].partition(" ")
        if name in _GOODBYES or name == "bye":
            return False
        method = self._COMMANDS.get(name)
        if method is None:
            self._write(unknown(name, self._COMMANDS, "command") + "\n")
            return True
        try:
            method(self, argument.strip())
        except LlamaForgeError as error:
            self._write(f"{error}\n")
        except OSError as error:
            self._write(f"{error.filename}: {error.strerror}\n")
        return True

    def _help(self, _argument: str) -> None:
        self._write(_HELP)

    def _reset(self, _argument: str) -> None:
        self.history.clear()
        self._write("The conversation begins anew.\n")

    def _system(self, text: str) -> None:
        if text:
            self.system_prompt = None if text == "-" else text
        self._write(f"System prompt: {self.system_prompt or 'none'}\n")

    def _model(self, name: str) -> None:
        if name:
            self._use(name)
        self._write(f"Model: {self.model}\n")

    def _save(self, file: str) -> None:
        kept = {"model": self.model, "system_prompt": self.system_prompt, "messages": self.history}
        if not file:
            self._write("Say into which file: /save FILE\n")
            return
        with expanded(file).open("x", encoding="utf-8") as target:
            json.dump(kept, target, indent=2)
        self._write(f"Kept in {file}.\n")

    def _load(self, file: str) -> None:
        if not file:
            self._write("Say which file: /load FILE\n")
            return
        try:
            kept = json.loads(expanded(file).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            kept = None
        if not _is_kept(kept):
            self._write(f"{file} holds no conversation.\n")
            return
        self.history = [{"role": turn["role"], "content": turn["content"]} for turn in kept["messages"]]
        self.system_prompt = kept.get("system_prompt")
        self._write(f"{len(self.history)} messages of {file}.\n")

    _COMMANDS: ClassVar[dict[str, Callable[[ChatInterface, str], None]]] = {
        "help": _help,
        "reset": _reset,
        "system": _system,
        "model": _model,
        "save": _save,
        "load": _load,
    }


def _is_kept(kept: Any) -> bool:
    """Whether this is what /save writes."""
    if not isinstance(kept, dict) or not isinstance(kept.get("messages"), list):
        return False
    turns = kept["messages"]
    texts = all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns)
    known = texts and all(turn.get("role") in ("system", "user", "assistant") for turn in turns)
    return known and isinstance(kept.get("system_prompt"), str | None)
