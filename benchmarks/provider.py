"""A fast OpenAI-compatible provider for measurements: raw asyncio, no framework, so that it is never the bottleneck.

    python benchmarks/provider.py PORT [--tokens N]

Models: `fast` (chunks without a pause) and `slow` (20 ms apart, a person reading along). `max_tokens` sets how many. `tools`
calls the first tool that it is offered three times, each time in a round of its own, and then is as `slow`.
Each chunk is one write, as providers send them.
"""

import argparse
import asyncio
import json

try:
    import uvloop
except ImportError:  # the standard loop will do
    uvloop = None

WORDS = (
    "a small server that keeps every word of an answer and sends each of them once to everybody who is looking on "
).split()

# Calls of the model `tools`.
ROUNDS = 3


def chunk(number: int, model: str, finish: str | None = None) -> bytes:
    delta = {} if finish else {"content": WORDS[number % len(WORDS)] + " "}
    if number == 0:
        delta["role"] = "assistant"
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return event(body)


def event(body: object) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": tokens + 7}


def calls_of(request: dict[str, object]) -> bytes | None:
    """The call that the model `tools` makes next, as one chunk; None when it has made all of them."""
    messages, tools = request.get("messages"), request.get("tools")
    if request.get("model") != "tools" or not isinstance(messages, list) or not isinstance(tools, list):
        return None
    made = sum(message.get("role") == "tool" for message in messages)
    if made >= ROUNDS:
        return None
    function = {"name": tools[0]["function"]["name"], "arguments": json.dumps({"a": made, "b": 1})}
    delta = {
        "role": "assistant",
        "tool_calls": [{"index": 0, "id": f"call_{made}", "type": "function", "function": function}],
    }
    choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls"}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tools", "choices": [choice]}
    return event(body)


async def call(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    writer.write(framed(chunk) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


async def stream(writer: asyncio.StreamWriter, model: str, tokens: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(tokens):
        writer.write(framed(chunk(number, model)))
        if model in ("slow", "tools"):
            await writer.drain()
            await asyncio.sleep(0.02)
        elif number % 16 == 15:
            await writer.drain()
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": []}
    writer.write(framed(chunk(tokens, model, "stop")) + framed(event(last | {"usage": usage(tokens)})))
    writer.write(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


async def send_json(writer: asyncio.StreamWriter, body: object) -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    out = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            out += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    return out


async def answer(writer: asyncio.StreamWriter, path: str, body: bytes, default: int) -> None:
    if path.endswith("/models"):
        models = [{"id": m, "object": "model", "created": 1, "owned_by": "bench"} for m in ("fast", "slow", "tools")]
        await send_json(writer, {"object": "list", "data": models})
        return
    request = json.loads(body)
    tokens = int(request.get("max_tokens") or default)
    model = request.get("model", "fast")
    if request.get("stream"):
        if (chunk := calls_of(request)) is not None:
            await call(writer, chunk)
            return
        await stream(writer, model, tokens)
        return
    text = " ".join(WORDS[i % len(WORDS)] for i in range(tokens))
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    await send_json(writer, whole | {"usage": usage(tokens)})


async def serve(port: int, tokens: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = head[0].split(" ")[1].split("?")[0]
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                await answer(writer, path, await body_of(reader, headers), tokens)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, limit=1 << 26, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--tokens", type=int, default=200)
    given = parser.parse_args()
    (uvloop.run if uvloop else asyncio.run)(serve(given.port, given.tokens))
