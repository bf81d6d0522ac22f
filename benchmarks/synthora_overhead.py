"""What synthora adds to the openai SDK: CPU time a call and a streamed chunk, against a provider on this machine.

    python benchmarks/synthora_overhead.py [--calls N] [--streams N] [--chunks N] [--rounds N]

The provider is a process of its own that writes ready-made bytes. Each round asks the SDK bare and then through
OpenAIChatBackend, the same requests on the same kind of client, and takes the CPU time of this process; the difference is
what synthora adds. The rounds are short and many, as the speed of a shared machine drifts; the median of the differences
stands, with its quartiles. Garbage collection stays on.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fast"}
QUESTION = "What is the weather like?"


class Measured:
    """CPU microseconds, bare and through synthora, a round each."""

    def __init__(self) -> None:
        self.bare: list[float] = []
        self.ours: list[float] = []

    def __str__(self) -> str:
        added = [ours - bare for ours, bare in zip(self.ours, self.bare, strict=True)]
        low, _, high = statistics.quantiles(added, n=4)
        ratio = statistics.median(self.ours) / statistics.median(self.bare)
        return (
            f"bare {statistics.median(self.bare):7.1f} us, synthora {statistics.median(self.ours):7.1f} us ({ratio:.2f}x): "
            f"adds {statistics.median(added):6.1f} us ({low:.1f} to {high:.1f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.chunks)
        return
    command = [sys.executable, __file__, "--serve", "--chunks", str(given.chunks)]
    provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert provider.stdout is not None
        measure(f"http://127.0.0.1:{int(provider.stdout.readline())}/v1", given)
    finally:
        provider.kill()
        provider.wait()


def measure(url: str, given: argparse.Namespace) -> None:
    import openai

    from synthora.messages import user
    from synthora.models import OpenAIChatBackend

    client = openai.OpenAI(api_key="k", base_url=url)
    backend = OpenAIChatBackend("fast", "k", url)
    wire = [user(QUESTION).to_openai_message()]
    options = {"include_usage": True}
    create = client.chat.completions.create

    def bare_stream() -> None:
        for _ in create(model="fast", messages=wire, stream=True, stream_options=options):  # type: ignore[call-overload]
            pass

    def stream() -> None:
        for _ in backend.run(user(QUESTION), stream=True):
            pass

    call, chunk = Measured(), Measured()
    for _ in range(given.rounds):
        call.bare.append(cpu(partial(create, model="fast", messages=wire), given.calls))
        call.ours.append(cpu(lambda: backend.run(user(QUESTION)), given.calls))
        chunk.bare.append(cpu(bare_stream, given.streams) / given.chunks)
        chunk.ours.append(cpu(stream, given.streams) / given.chunks)
    print(f"a call:  {call}; aim: under 150 us")
    print(f"a chunk: {chunk}; aim: under 15 us")
    client.close()
    backend.close()


def cpu(work: Callable[[], object], times: int) -> float:
    """CPU microseconds of this process a time, after one that does not count."""
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times * 1e6


def serve(chunks: int) -> None:
    """Answers whoever connects, for ever; prints its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0], chunks), daemon=True).start()


def answer(connection: socket.socket, chunks: int) -> None:
    whole, streamed = responses(chunks)
    with connection, connection.makefile("rb") as file:
        while line := file.readline():
            length = 0
            while line not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = file.readline()
            connection.sendall(streamed if b'"stream":true' in file.read(length) else whole)


def responses(chunks: int) -> tuple[bytes, bytes]:
    message = {"role": "assistant", "content": "Fine."}
    usage = {"prompt_tokens": 9, "completion_tokens": chunks, "total_tokens": 9 + chunks}
    whole = {**HEAD, "object": "chat.completion", "usage": usage}
    body = json.dumps({**whole, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    deltas = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}] * (chunks - 2)
    events = [{**HEAD, "choices": [delta]} for delta in deltas]
    events.append({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({**HEAD, "choices": [], "usage": usage})
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
    return _response(body, b"application/json"), _response(stream, b"text/event-stream")


def _response(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


if __name__ == "__main__":
    main()
