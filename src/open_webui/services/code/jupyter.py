"""The engine of a Jupyter server or kernel gateway: each piece has a kernel of its own there, which is ended with it."""

import asyncio
import base64
import binascii
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.errors import Unavailable
from open_webui.internal.http import open_visit
from open_webui.internal.log import get_logger
from open_webui.services.code.port import Ran, Run
from open_webui.services.code.pulling import MOST, without_pictures
from oui_sandbox.printed import Printed, bounded

log = get_logger(__name__)
# Bytes of one message of a kernel, and of all pictures of a piece.
MAX_MESSAGE: Final = 16 * 2**20
MAX_PICTURES: Final = 16 * 2**20
# Seconds for each step beside the code itself.
STEP_SECONDS: Final = 20.0
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TOLD: Final = 200
AWAY: Final = "The Jupyter server that runs code can't be reached."
NOT_LET_IN: Final = (
    "The Jupyter server that runs code does not let this server in. An administrator can set its token or password."
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is. auth: "", "none", "token" or "password"."""

    url: str
    auth: str = ""
    token: str = ""
    password: str = ""


class Jupyter:
    """One server of an admin's settings."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._base = server.url.rstrip("/")

    async def run(self, run: Run) -> Ran:
        """See `Engine`. Raises Unavailable."""
        try:
            async with self._session() as session, self._kernel(session) as kernel:
                return await self._piece(session, kernel, run)
        except TimeoutError:
            raise Unavailable(
                f"The Jupyter server that runs code did not answer within {STEP_SECONDS:g} seconds."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, msgspec.DecodeError) as error:
            log.info("a Jupyter server could not be used", error=f"{type(error).__name__}: {error}"[:_TOLD])
            raise Unavailable(AWAY) from error

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client that is signed in. Raises Unavailable."""
        server = self._server
        is_token = server.auth == "token" and server.token
        async with open_visit(STEP_SECONDS, {"authorization": f"token {server.token}"} if is_token else {}) as session:
            if server.auth == "password" and server.password:
                await self._sign_in(session)
            yield session

    async def _sign_in(self, session: aiohttp.ClientSession) -> None:
        place = f"{self._base}/login"
        async with session.get(place, allow_redirects=False):
            pass
        form = {"password": self._server.password, "_xsrf": self._cross_site(session)}
        async with session.post(place, data=form, allow_redirects=False) as reply:
            if reply.status not in {200, 302} or not _signed_in(session):
                raise Unavailable(NOT_LET_IN)

    def _cross_site(self, session: aiohttp.ClientSession) -> str:
        found = [cookie.value for cookie in session.cookie_jar if cookie.key == "_xsrf"]
        return found[0] if found else ""

    @asynccontextmanager
    async def _kernel(self, session: aiohttp.ClientSession) -> AsyncIterator[str]:
        """A new kernel, ended with the block whatever happens in it. Raises Unavailable."""
        own = {"x-xsrftoken": self._cross_site(session)}
        place = f"{self._base}/api/kernels"
        async with session.post(place, json={}, headers=own, allow_redirects=False) as reply:
            if reply.status in {301, 302, 401, 403}:
                raise Unavailable(NOT_LET_IN)
            if reply.status != 201:
                raise Unavailable(f"The Jupyter server that runs code made no kernel: it answered {reply.status}.")
            kernel = str(msgspec.json.decode(await reply.read())["id"])
        try:
            yield kernel
        finally:
            await asyncio.shield(self._end(session, kernel, own))

    async def _end(self, session: aiohttp.ClientSession, kernel: str, own: dict[str, str]) -> None:
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with session.delete(f"{self._base}/api/kernels/{kernel}", headers=own, allow_redirects=False):
                pass

    async def _piece(self, session: aiohttp.ClientSession, kernel: str, run: Run) -> Ran:
        outputs = _Outputs()
        async with session.ws_connect(
            f"{self._base}/api/kernels/{kernel}/channels",
            max_msg_size=MAX_MESSAGE,
            timeout=aiohttp.ClientWSTimeout(ws_close=2),
        ) as socket:
            sent = uuid.uuid4().hex
            await socket.send_str(msgspec.json.encode(_request(sent, run.code)).decode())
            try:
                async with asyncio.timeout(run.seconds):
                    await _listen(socket, sent, outputs)
            except TimeoutError:
                outputs.add_error(f"The code took longer than {run.seconds:g} seconds, and was stopped.")
        return outputs.ran()


class _Outputs:
    """What a kernel has said of a piece so far, within bounds."""

    def __init__(self) -> None:
        self._out, self._err = Printed(), Printed()
        self._results: list[str] = []
        self._pictures: list[bytes] = []
        self._size = 0

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """One message."""
        if kind == "stream":
            printed = self._err if content.get("name") == "stderr" else self._out
            # What is too much is left out; the kernel is not stopped for it.
            with suppress(OSError):
                printed.write(str(content.get("text", "")))
        elif kind in {"execute_result", "display_data"} and isinstance(data := content.get("data"), dict):
            self._show(data)
        elif kind == "error":
            lines = content.get("traceback")
            told = "\n".join(map(str, lines)) if isinstance(lines, list) else str(content.get("evalue", ""))
            self.add_error(_COLOURS.sub("", told))

    def add_error(self, text: str) -> None:
        """A sentence or a traceback."""
        with suppress(OSError):
            self._err.write(f"{text}\n")

    def _show(self, data: dict[str, Any]) -> None:
        encoded = next((data[kind] for kind in ("image/png", "image/jpeg") if isinstance(data.get(kind), str)), None)
        if encoded is None:
            if isinstance(text := data.get("text/plain"), str) and len(self._results) < MOST:
                self._results.append(bounded(text))
            return
        if len(self._pictures) < MOST and self._size + len(encoded) <= MAX_PICTURES:
            with suppress(binascii.Error, ValueError):
                self._pictures.append(base64.b64decode(encoded))
                self._size += len(encoded)

    def ran(self) -> Ran:
        """All of it."""
        stdout, printed = without_pictures(self._out.text())
        result = bounded("\n".join(self._results)) or None
        pictures = (*self._pictures, *printed)
        return Ran(stdout=stdout, stderr=self._err.text(), result=result, pictures=pictures[:MOST])


async def _listen(socket: aiohttp.ClientWebSocketResponse, sent: str, outputs: _Outputs) -> None:
    """Until the kernel is idle again. Raises DecodeError for what is no message of Jupyter's."""
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        told = msgspec.json.decode(message.data)
        parent = told.get("parent_header") if isinstance(told, dict) else None
        content = told.get("content") if isinstance(told, dict) else None
        if not isinstance(parent, dict) or parent.get("msg_id") != sent or not isinstance(content, dict):
            continue
        kind = str(told.get("msg_type") or (told.get("header") or {}).get("msg_type"))
        if kind == "status" and content.get("execution_state") == "idle":
            return
        outputs.take(kind, content)
    outputs.add_error("The kernel ended before the code did.")


def _request(number: str, code: str) -> dict[str, Any]:
    """A message that has a kernel run something."""
    header = {
        "msg_id": number,
        "username": "oui",
        "session": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "version": "5.3",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "buffers": [],
        "channel": "shell",
    }


def _signed_in(session: aiohttp.ClientSession) -> bool:
    return any(cookie.key != "_xsrf" for cookie in session.cookie_jar)
