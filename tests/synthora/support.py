"""A provider for streams that no ordinary one sends, and handlers that note what they hear."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synthora.callbacks import AsyncCallBackHandler, BaseCallBackHandler


class Told:
    """What handlers heard: (event, message or error or None, the rest)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, dict[str, Any]]] = []

    def names(self) -> list[str]:
        return [name for name, _, _ in self.events]

    def note(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.events.append((event, args[1] if len(args) > 1 else None, {"source": args[0], **kwargs}))


EVENTS = [name for name in vars(BaseCallBackHandler) if name.startswith("on_")]


class Listener(Told, BaseCallBackHandler):
    pass


class AsyncListener(Told, AsyncCallBackHandler):
    pass


def _listening(event: str) -> tuple[Any, Any]:
    def hear(self, *args, **kwargs):
        self.note(event, args, kwargs)

    async def ahear(self, *args, **kwargs):
        self.note(event, args, kwargs)

    return hear, ahear


for _event in EVENTS:
    _hear, _ahear = _listening(_event)
    setattr(Listener, _event, _hear)
    setattr(AsyncListener, _event, _ahear)


class Provider:
    """Answers every request with `chunks` as an event stream, or with `whole`.

    done: whether a stream ends with "[DONE]". raw: a media type and a body, with which all requests are answered instead.
    status, headers: of every answer. answer: a function that gets path, headers and body of a request, and returns status,
    headers and body of its answer instead of all these.
    """

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.whole: Any = None
        self.done = True
        self.raw: tuple[str, str] | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: Any = None
        self.bodies: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, headers = outer.status, outer.headers
                if outer.answer is not None:
                    status, headers, data = outer.answer(self.path, self.headers, body)
                    kind = headers.pop("Content-Type", "application/json")
                elif outer.raw is not None:
                    kind, data = outer.raw
                elif body.get("stream"):
                    lines = [json.dumps(chunk) for chunk in outer.chunks] + ["[DONE]"] * outer.done
                    kind, data = "text/event-stream", "".join(f"data: {line}\n\n" for line in lines)
                else:
                    kind, data = "application/json", json.dumps(outer.whole)
                self.send_response(status)
                for name, value in {"Content-Type": kind, **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data.encode())))
                self.end_headers()
                self.wfile.write(data.encode())

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
