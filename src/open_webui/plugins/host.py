"""Plugins, loaded and called. This is what the rest of the server uses of them:

    source = PluginSource(id="adder", kind="tool", content=text, valves={"limit": 5})
    loaded = await host.load(source)                      # Loaded: kind, members, specs, attributes, schemas of the settings
    text = await host.call(source, "add", {"a": 1, "b": 2}, context=context, answer=answer)
    async for part in host.stream(source, "pipe", {"body": body}, context=context, answer=answer): ...
    events = await host.batch(source, "stream", [{"event": e} for e in events], context=context, answer=answer)
    host.unload("tool", "adder")

Nothing needs to be loaded before it is called; a call loads. One process has one version of a plugin (its text, its
requirements) and many calls at once; a call with another text starts another process, and the old one ends with its last
call. Other valves reach the process with the next call. After some idle minutes processes end by themselves.

`context` holds what functions may want to be told, under the parameters' names without underscores: user (a dictionary),
user_valves (what the person has set, from which `__user__["valves"]` is made), metadata, model, files, messages, chat_id,
message_id, session_id, task, task_body, id, oauth_token, body, tools (a list of {"name", "spec", ...}; each gets a
`callable` that asks `tool_call`), request ({"headers", "base_url", "url", "method", "query"}). Only what a function
declares is sent to it. Where a function changes `__metadata__`, the dictionary `context["metadata"]` is changed in place.

`answer` is asked what the plugin asks (see `source.Answer`): events, calls of the page, and the façade of Open WebUI's
modules. It gets the `Call`, whose context names the person, and what it raises as an OuiError is raised in the plugin as a
sentence.

What comes back is JSON: `{"$response": {"status", "headers", "body"}}` stands for a response object (HTMLResponse) wherever
it stands, `{"$bytes": base64}` for bytes. Raised are PluginFailed (the plugin's own exception, or it is no plugin),
PluginLost (crashed, too slow, stopped), Unavailable (plugins are switched off, or can't be run here). Cancelling a call
stops it inside.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec

from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.internal.log import get_logger
from open_webui.plugins.running import Running
from open_webui.plugins.source import CODE, Answer, Call, Loaded, PluginFailed, PluginLost, PluginSource
from open_webui.plugins.starting import Starter
from open_webui.plugins.worker import Worker, told

__all__ = ("Answer", "Call", "Loaded", "PluginFailed", "PluginHost", "PluginLost", "PluginSource")
log = get_logger(__name__)
LOAD_SECONDS: Final = 60.0
# Seconds before a plugin whose process crashed twice in a row is started again; twice as many with each crash that follows.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_LOOK_SECONDS: Final = 1.0


class _Entry:
    """The version of a plugin that is in use, and its process once it is there."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.starting: asyncio.Task[Worker] | None = None
        self.worker: Worker | None = None
        self.waiting = 0


class _Crashes:
    """How often a plugin's processes crashed in a row."""

    def __init__(self) -> None:
        self.count = 0
        self.again_at = 0.0


class PluginHost:
    """All plugins' processes of this server. To be used from one event loop; nothing is started before the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starter = Starter(settings)
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._crashes: dict[tuple[str, str], _Crashes] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def load(self, source: PluginSource, *, seconds: float = LOAD_SECONDS) -> Loaded:
        """What a plugin is. Kept as long as its process is. Raises PluginFailed, PluginLost, Unavailable."""
        worker = await self._worker(source, seconds)
        assert worker.loaded is not None
        return worker.loaded

    async def call(
        self,
        source: PluginSource,
        method: str,
        arguments: dict[str, Any],
        *,
        context: dict[str, Any] | None = None,
        seconds: float | None = None,
        answer: Answer | None = None,
    ) -> Any:
        """What a function returned; of a generator, a list. seconds: as long as the setting says, where it is None."""
        worker = await self._worker(source)
        context = {} if context is None else context
        frame = self._frame(worker, source, method, arguments, "value")
        frame["context"] = told(context, self._wants(worker, method))
        return await self._run(worker, frame, Call(source.id, method, context, source.kind), answer, seconds)

    async def stream(
        self,
        source: PluginSource,
        method: str,
        arguments: dict[str, Any],
        *,
        context: dict[str, Any] | None = None,
        seconds: float | None = None,
        answer: Answer | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The parts that a generator gives, or the one value that anything else returns. seconds: for all of it.

        Closing the iterator stops the call inside.
        """
        worker = await self._worker(source)
        context = {} if context is None else context
        frame = self._frame(worker, source, method, arguments, "stream")
        frame["context"] = told(context, self._wants(worker, method))
        number, running = worker.begin(
            frame, Call(source.id, method, context, source.kind), answer, self._seconds(seconds)
        )
        try:
            async for part in worker.chunks(number, running):
                yield part
            value = await self._ended(worker, context, running)
            if value is not None:
                yield value
        finally:
            if not running.done.done():
                running.stop()

    async def batch(
        self,
        source: PluginSource,
        method: str,
        items: list[dict[str, Any]],
        *,
        context: dict[str, Any] | None = None,
        seconds: float | None = None,
        answer: Answer | None = None,
    ) -> list[Any]:
        """What a function returns for each of several arguments, called with one after the other.

        The same `context` object in calls in a row is sent once.
        """
        worker = await self._worker(source)
        context = {} if context is None else context
        frame = self._frame(worker, source, method, items, "batch") | worker.context(
            context, self._wants(worker, method)
        )
        values = await self._run(worker, frame, Call(source.id, method, context, source.kind), answer, seconds)
        if not isinstance(values, list) or len(values) != len(items):
            raise PluginFailed("It did not answer as often as it was called.")
        return values

    def unload(self, kind: str, plugin_id: str) -> None:
        """Ends a plugin's process, after the calls that run in it."""
        entry = self._entries.pop((kind, plugin_id), None)
        self._crashes.pop((kind, plugin_id), None)
        if entry is not None and entry.worker is not None:
            entry.worker.retire("It was unloaded.")

    async def limits(self) -> tuple[str, ...]:
        """Sentences about what this machine can't enforce; none where all is enforced. Raises Unavailable."""
        return await self._starter.limits()

    def processes(self) -> list[int]:
        """The numbers of all that run."""
        return self._starter.processes()

    async def close(self) -> None:
        """Ends all processes, whatever they are doing."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        for entry in self._entries.values():
            if entry.starting is not None:
                entry.starting.cancel()
        await self._starter.close()

    async def _worker(self, source: PluginSource, seconds: float = LOAD_SECONDS) -> Worker:
        """A plugin's process, loaded."""
        if self._closed:
            raise Unavailable("The server is being stopped.")
        self._check(source.kind)
        place = (source.kind, source.id)
        entry = self._entries.get(place)
        if entry is None or entry.version != source.version or (entry.worker is not None and _is_over(entry.worker)):
            if entry is not None and entry.worker is not None:
                self._note_end(place, entry.worker)
                entry.worker.retire("Another version of it is in use.")
            entry = self._entries[place] = _Entry(source.version)
            entry.starting = asyncio.create_task(self._start(entry, source, seconds), name=f"plugin {source.id[:50]}")
            entry.starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        if entry.worker is None:
            assert entry.starting is not None
            try:
                return await asyncio.shield(entry.starting)
            except asyncio.CancelledError:
                if entry.starting.cancelled():
                    raise PluginLost("It was stopped while it was loaded.") from None
                raise
            except Exception:
                if self._entries.get(place) is entry:
                    del self._entries[place]
                raise
        return entry.worker

    async def _start(self, entry: _Entry, source: PluginSource, seconds: float) -> Worker:
        crashes = self._crashes.get((source.kind, source.id))
        left = 0.0 if crashes is None else crashes.again_at - asyncio.get_running_loop().time()
        if left > 0:
            raise Unavailable(f"{_name(source)} has crashed several times, and is started again in {left:.0f} seconds.")
        worker = await self._starter.start(_name(source), source)
        try:
            frame = {"op": "load", "plugin": source.id, "kind": source.kind, "content": source.content} | {
                "valves": source.valves,
                "path": worker.path,
            }
            _, running = worker.begin(frame, Call(source.id, "load", {}, source.kind), None, seconds)
            result = await worker.result(running)
            worker.loaded = _loaded(result["value"])
            worker.valves = source.valves
        except BaseException:
            worker.kill("It could not be loaded.")
            raise
        entry.worker = worker
        if self._entries.get((source.kind, source.id)) is not entry:
            # It was unloaded, or another version came, while this one was started; those who waited for it have their calls.
            worker.retired = True
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, worker.retire, "It was unloaded.")
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="idle plugins")
        return worker

    def _check(self, kind: str) -> None:
        """Raises Unavailable where an admin has switched this kind of plugins off."""
        settings = self._settings
        if kind == CODE:
            return
        switches = {
            "ENABLE_PLUGINS=false": not settings.enable_plugins,
            "SAFE_MODE": settings.safe_mode,
            "ENABLE_TOOLS=false": kind == "tool" and not settings.enable_tools,
            "ENABLE_FUNCTIONS=false": kind == "function" and not settings.enable_functions,
        }
        if (by := next((name for name, is_off in switches.items() if is_off), None)) is not None:
            raise Unavailable(f"The server was started with {by}: no {kind} is run.")

    def _frame(self, worker: Worker, source: PluginSource, method: str, arguments: Any, mode: str) -> dict[str, Any]:
        frame = {"op": "call", "method": method, "arguments": arguments, "mode": mode}
        if source.valves is not None and source.valves != worker.valves:
            worker.valves = source.valves
            frame["new_valves"] = source.valves
        return frame

    def _wants(self, worker: Worker, method: str) -> tuple[str, ...]:
        assert worker.loaded is not None
        member = worker.loaded.members.get(method)
        if member is None:
            raise PluginFailed(f"{worker.name} has no function {method[:100]!r}.", "AttributeError")
        return member.wants

    async def _run(
        self, worker: Worker, frame: dict[str, Any], call: Call, answer: Answer | None, seconds: float | None
    ) -> Any:
        _, running = worker.begin(frame, call, answer, self._seconds(seconds))
        return await self._ended(worker, call.context, running)

    async def _ended(self, worker: Worker, context: dict[str, Any], running: Running) -> Any:
        frame = await worker.result(running)
        self._crashes.pop((worker.kind, running.call.plugin), None)
        if isinstance(changed := frame.get("metadata"), dict) and isinstance(kept := context.get("metadata"), dict):
            kept.clear()
            kept.update(changed)
        return frame["value"]

    def _seconds(self, seconds: float | None) -> float:
        return self._settings.plugin_call_seconds if seconds is None else seconds

    async def _look(self) -> None:
        """While there are processes: ends those that nobody has needed for a while, and those that break a bound."""
        idle_since = asyncio.get_running_loop().time()
        while not self._closed and self._starter.zygotes:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._starter.look_at_folders()
            now = asyncio.get_running_loop().time()
            for place, entry in list(self._entries.items()):
                worker = entry.worker
                if worker is None:
                    continue
                if worker.ended.is_set():
                    self._note_end(place, worker)
                    del self._entries[place]
                elif not worker.is_busy and now - worker.used_at > self._settings.plugin_idle_seconds:
                    del self._entries[place]
                    worker.retire("Nobody has called it for a while.")
            if not self._starter.is_idle:
                idle_since = now
            elif now - idle_since > self._settings.plugin_idle_seconds:
                await self._starter.rest()
        self._looking = None

    def _note_end(self, place: tuple[str, str], worker: Worker) -> None:
        """A process that crashed is started again at once; one that does so again and again, after a while."""
        if worker.crashed:
            crashes = self._crashes.setdefault(place, _Crashes())
            crashes.count += 1
            if crashes.count > 1:
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(crashes.count - 2, 10))
                crashes.again_at = asyncio.get_running_loop().time() + pause


def _name(source: PluginSource) -> str:
    if source.kind == CODE:
        return "The code"
    return f"The {source.kind} {source.id[:100]!r}"


def _is_over(worker: Worker) -> bool:
    return worker.retired or worker.ended.is_set()


def _loaded(value: Any) -> Loaded:
    try:
        return msgspec.convert(value, Loaded)
    except msgspec.ValidationError as error:
        raise PluginFailed(f"It says of itself what can't be: {error}.") from error
