"""RichOutputHandler: a run shown on a terminal while it happens."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from synthora.callbacks.handlers import BaseCallBackHandler

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from synthora.messages import BaseMessage
    from synthora.types import Node, Result

_FRAMES_PER_SECOND = 12
_FRAME_LINES = 4  # of a panel, and the line of a spinner
# What a model says must not move the cursor or rename the window.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


class RichOutputHandler(BaseCallBackHandler):
    """Spinners for what is under way, panels for what has come. Runs of several nodes are shown side by side.

    What is under way lies at the bottom of the screen and is gone with the last of it; panels stay in the scrollback.
    """

    def __init__(self, console: Console | None = None) -> None:
        """console: the terminal's by default."""
        from rich.console import Console as Terminal  # noqa: PLC0415 -- only who shows something needs it

        self.console = console or Terminal()
        self._under_way: dict[str, tuple[str, bool]] = {}  # by name: the text, and whether it is an answer that comes
        self._live: Live | None = None
        self._lock = threading.RLock()

    # ---- what is under way

    def thinking(self, name: str) -> None:
        """A spinner that says who thinks."""
        self.update_status(f"{name} is thinking...", name)

    def update_status(self, status: str, name: str = "") -> None:
        """A spinner with this text, in the place of what else was under way by that name."""
        self._show(name, status, is_answer=False)

    def stream_print(self, text: str, title: str = "") -> None:
        """An answer so far, as Markdown in a panel; the next call by that title replaces it."""
        self._show(title, text, is_answer=True)

    def done(self, name: str = "") -> None:
        """What was under way by that name is no more."""
        with self._lock:
            self._under_way.pop(name, None)
            if not self._under_way:
                self.stop()

    def done_all(self) -> None:
        """Nothing is under way."""
        with self._lock:
            self._under_way.clear()
            self.stop()

    def stop(self) -> None:
        """Give the terminal back: no spinner turns."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.stop()

    def clear(self) -> None:
        """An empty screen with nothing under way."""
        self.done_all()
        self.console.clear()

    # ---- what stays

    def panel_print(self, item: Any, title: str = "", stream: bool = False, style: str = "") -> None:
        """A panel: text as Markdown, anything else as JSON where it can be. stream: one that the next call replaces."""
        if stream:
            self.stream_print(str(item), title)
        else:
            self.console.print(self._panel(item, title, style))

    def json_print(self, item: Any) -> None:
        """A value as JSON."""
        self.console.print_json(json.dumps(item, default=str))

    # ---- events

    def on_llm_start(
        self,
        source: Node,
        messages: list[Any],  # noqa: ARG002
        stream: bool = False,  # noqa: ARG002
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """A spinner."""
        self.thinking(source.name)

    def on_llm_chunk(self, source: Node, message: BaseMessage, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The answer so far, at most twelve times a second."""
        if message.content:
            self.stream_print(message.content, source.name)

    def on_llm_end(
        self,
        source: Node,
        message: BaseMessage,
        stream: bool = False,  # noqa: ARG002
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """The whole answer, and the tools it calls."""
        self.done(source.name)
        if message.content:
            self.panel_print(message.content, source.name)
        for call in message.tool_calls or ():
            self.panel_print(f"`{call.function.name}({call.function.arguments})`", f"{source.name} calls", style="cyan")

    def on_llm_error(
        self,
        source: Node,
        e: BaseException,
        stream: bool = False,  # noqa: ARG002
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """The error, in red."""
        self.done(source.name)
        self.panel_print(f"{type(e).__name__}: {e}", source.name, style="red")

    def on_tool_start(self, source: Node, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A spinner."""
        self.update_status(f"Calling Tool: {source.name}", source.name)

    def on_tool_end(self, source: Node, result: Result[Any]) -> None:
        """The result, in cyan."""
        self.done(source.name)
        self.panel_print(result.unwrap(), source.name, style="cyan")

    def on_tool_error(self, source: Node, result: Result[Any]) -> None:
        """The error, in red."""
        self.done(source.name)
        self.panel_print(_told(result), source.name, style="red")

    def on_agent_start(self, source: Node, message: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The task, in blue."""
        self.panel_print(_words(message), source.name, style="blue")

    def on_agent_end(self, source: Node, message: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The response, in green."""
        self.done(source.name)
        self.panel_print(_words(message), source.name, style="green")

    def on_agent_error(self, source: Node, result: Result[Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The error, in red."""
        self.done(source.name)
        self.panel_print(_told(result), source.name, style="red")

    # ---- drawing

    def _show(self, name: str, text: str, *, is_answer: bool) -> None:
        from rich.live import Live  # noqa: PLC0415 -- as above

        with self._lock:
            self._under_way[name] = (text, is_answer)
            if self._live is None:
                self._live = Live(
                    console=self.console,
                    get_renderable=self._frame,
                    refresh_per_second=_FRAMES_PER_SECOND,
                    transient=True,
                )
                self._live.start(refresh=True)

    def _frame(self) -> RenderableType:
        """All that is under way. Asked for by the thread that refreshes, so that pieces of text cost no drawing."""
        from rich.console import Group  # noqa: PLC0415 -- as above
        from rich.spinner import Spinner  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        with self._lock:
            under_way = list(self._under_way.items())
        shown: list[RenderableType] = []
        for name, (text, is_answer) in under_way:
            if is_answer:
                room = max(self.console.height // len(under_way) - _FRAME_LINES, 1)
                shown.append(self._panel("\n".join(text.splitlines()[-room:]), name, ""))
            else:
                shown.append(Spinner("dots", Text(text.translate(_CONTROLS))))
        return Group(*shown)

    def _panel(self, item: Any, title: str, style: str) -> RenderableType:
        from rich.json import JSON  # noqa: PLC0415 -- as above
        from rich.markdown import Markdown  # noqa: PLC0415
        from rich.panel import Panel  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        body: RenderableType
        is_data = isinstance(item, dict | list)
        body = JSON.from_data(item, default=str) if is_data else Markdown(str(item).translate(_CONTROLS))
        return Panel(body, title=Text(title.translate(_CONTROLS)) if title else None, border_style=style)


def _words(message: Any) -> Any:
    """What a message says; anything else itself."""
    content = getattr(message, "content", None)
    return message if content is None else content


def _told(result: Result[Any]) -> str:
    told = result.unwrap_err_val()
    return str(result.unwrap_err() if told is None else told)
