"""The engine of ComfyUI: a workflow goes into its queue, its websocket tells how far it is, and its history what came of it."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from open_webui.errors import ProviderError
from open_webui.images import workflow as workflows
from open_webui.images.port import MOST, Made, Named, Order, Tell
from open_webui.images.wire import Wire
from open_webui.utils.pictures import extension

# Between two looks into the history, where the websocket says nothing.
_LOOK: Final = 2.0
_EMPTY: Final = "ComfyUI ended without a picture."
_ODD: Final = "ComfyUI answered something that can't be understood."
_CHECKPOINTS: Final = "CheckpointLoaderSimple"


class _Uploaded(msgspec.Struct):
    name: str
    subfolder: str = ""


class _Queued(msgspec.Struct):
    prompt_id: str
    node_errors: dict[str, Any] | list[Any] = {}


class ComfyUI:
    """workflow, nodes: as the settings have them. It needs no nodes where the workflow is the one that comes with the server."""

    def __init__(self, wire: Wire, workflow: str, nodes: Iterable[Mapping[str, Any]]) -> None:
        self._wire = wire
        self._workflow = workflow
        # The official page saves rows that name no node yet.
        self._nodes = [row for row in nodes if workflows.ids_of(row)] or list(workflows.DEFAULT_NODES)

    async def make(self, order: Order, tell: Tell) -> list[Made]:
        """See `Engine`. Cancelled, it takes the order out of the queue, or interrupts it."""
        nodes = workflows.parsed(self._workflow)
        images = [await self._upload(given.data, given.mime) for given in order.images]
        filled, seed = workflows.filled(nodes, self._nodes, order, images)
        client = uuid.uuid4().hex
        try:
            async with asyncio.timeout(self._wire.seconds), self._wire.socket(f"/ws?clientId={client}") as socket:
                outputs = await self._run(socket, client, filled, tell)
        except TimeoutError:
            raise ProviderError(
                f"ComfyUI did not end within {self._wire.seconds:g} seconds.", status=504, retryable=True
            ) from None
        return [Made(await self._view(one), seed) for one in outputs[:MOST]]

    async def _run(
        self, socket: aiohttp.ClientWebSocketResponse, client: str, filled: dict[str, Any], tell: Tell
    ) -> list[dict[str, str]]:
        queued = await self._wire.json("POST", "/prompt", _Queued, json={"prompt": filled, "client_id": client})
        watched = _Watched(queued.prompt_id, tell)
        try:
            while True:
                await watched.wait(socket)
                if (outputs := await self._outputs(queued.prompt_id)) is not None:
                    return outputs
        except (asyncio.CancelledError, ProviderError):
            await asyncio.shield(self._stop(queued.prompt_id, is_running=watched.is_running))
            raise

    async def _outputs(self, prompt_id: str) -> list[dict[str, str]] | None:
        """The pictures that its history names; None where it is not over. Raises ProviderError where it failed."""
        history = await self._wire.json("GET", f"/history/{prompt_id}", dict[str, Any])
        entry = history.get(prompt_id)
        if not isinstance(entry, dict):
            return None
        status = entry.get("status")
        if isinstance(status, dict) and status.get("status_str") == "error":
            raise ProviderError(f"ComfyUI could not make the picture{_failure(status.get('messages'))}.")
        found: list[dict[str, str]] = []
        outputs = entry.get("outputs")
        for node in outputs.values() if isinstance(outputs, dict) else ():
            listed = node.get("images") if isinstance(node, dict) else None
            found += [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        # Previews are what nodes on the way show.
        kept = [one for one in found if one.get("type") == "output"] or found
        if not kept:
            raise ProviderError(_EMPTY)
        return kept

    async def _view(self, named: dict[str, str]) -> bytes:
        query = {name: str(named.get(name, "")) for name in ("filename", "subfolder", "type")}
        return await self._wire.ask("GET", f"/view?{urlencode(query)}")

    async def _upload(self, data: bytes, mime: str) -> str:
        form = aiohttp.FormData()
        form.add_field("image", data, filename=f"{uuid.uuid4().hex}{extension(mime)}", content_type=mime)
        form.add_field("type", "input")
        found = await self._wire.json("POST", "/upload/image", _Uploaded, form=form)
        return f"{found.subfolder}/{found.name}" if found.subfolder else found.name

    async def _stop(self, prompt_id: str, *, is_running: bool) -> None:
        """An interrupt stops whatever runs, in older versions whosesoever it is: so only where ours does."""
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(5):
                await self._wire.ask("POST", "/queue", json={"delete": [prompt_id]})
                if is_running:
                    await self._wire.ask("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def models(self) -> list[Named]:
        """See `Engine`: the checkpoints, or what the node of the settings lets one choose."""
        kind, key = _CHECKPOINTS, "ckpt_name"
        nodes = workflows.parsed(self._workflow)
        for row in self._nodes:
            chosen = [nodes[i] for i in workflows.ids_of(row) if i in nodes]
            if row.get("type") == "model" and chosen:
                kind, key = chosen[0]["class_type"], str(row.get("key") or key)
        found = await self._wire.json("GET", "/object_info", dict[str, Any])
        try:
            names = found[kind]["input"]["required"][key][0]
        except (KeyError, TypeError, IndexError):
            return []
        return [Named(name, name) for name in names if isinstance(name, str)] if isinstance(names, list) else []

    async def check(self) -> None:
        """See `Engine`."""
        await self._wire.ask("GET", "/object_info", count=1)


class _Watched:
    """What the websocket says of one order."""

    def __init__(self, prompt_id: str, tell: Tell) -> None:
        self.is_running = False
        self._id = prompt_id
        self._tell = tell

    async def wait(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Until it may be over, or it is time to look. Raises ProviderError."""
        until = time.monotonic() + _LOOK
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    message = await socket.receive()
            except TimeoutError:
                return
            if message.type is not aiohttp.WSMsgType.TEXT:
                if socket.closed:
                    # The history says the rest.
                    await asyncio.sleep(min(left, 0.2))
                    return
                continue
            if self._is_over(message.data):
                return

    def _is_over(self, text: str) -> bool:
        try:
            said = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            raise ProviderError(_ODD) from None
        data = said.get("data") if isinstance(said, dict) else None
        if not isinstance(data, dict) or data.get("prompt_id", self._id) != self._id:
            return False
        match said.get("type"):
            case "execution_start" | "execution_cached":
                self.is_running = True
            case "progress":
                self.is_running = True
                value, most = data.get("value"), data.get("max")
                if isinstance(value, int | float) and isinstance(most, int | float) and most > 0:
                    self._tell(min(max(value / most, 0.0), 1.0), None)
            case "executing":
                # Without a node, and with our order: it is over.
                self.is_running = data.get("node") is not None or "prompt_id" not in data
                return not self.is_running
            case "execution_success" | "execution_error" | "execution_interrupted":
                self.is_running = False
                return True
        return False


def _failure(messages: Any) -> str:
    """What went wrong, as the end of a sentence."""
    for one in messages if isinstance(messages, list) else ():
        if isinstance(one, list) and len(one) == 2 and one[0] == "execution_error" and isinstance(one[1], dict):
            return f": {str(one[1].get('exception_message', '')).strip()[:300].rstrip('.')}"
    return ""
