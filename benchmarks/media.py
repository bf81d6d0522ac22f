"""Pictures and speech: what others notice of them, what they leave in memory, and how soon one hears something.

    python benchmarks/media.py [--only together memory spoken whisper] [--pictures 200] [--recordings 50] [--rounds 5]
    python benchmarks/media.py --engine PORT
    python benchmarks/media.py --bare MODEL RECORDING

`--engine`: an engine of OpenAI's API that stands in: each picture is 4 MB and takes a second, each recording is "heard" a second
after it has come. `together`: ten recordings of ten minutes (19 MB each) are sent at once, and twenty pictures ordered by ten
people, while another process asks /health twenty times a second. `memory`: so many pictures and recordings, four at a time;
the server's memory before, and when it rests after. `spoken`: how long a first sentence takes to be heard, by espeak-ng.
`whisper`: CPU of writing down four minutes that espeak-ng has spoken, by the process that listens over that of a program that
does the same with faster-whisper alone (`--bare`); each time in a fresh process, in turns.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import re
import resource
import secrets
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import wave
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measure import Answer, Client, cpu, load, memory_mb, percentile
from processes import servers
from run import ADMIN, Bench, free_port, health_asked, process

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a secret that is long enough for benchmarks"
SECONDS = 1.0
SIDE = 1_180
PEOPLE, RECORDINGS, PICTURES = 10, 10, 20
SENTENCE = "The harbour is quiet this morning, and all the boats are out."


def png() -> bytes:
    """A picture of about 4 MB: noise, which nothing makes smaller."""
    rows = b"".join(b"\0" + os.urandom(3 * SIDE) for _ in range(SIDE))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ]
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def recording(seconds: int) -> bytes:
    """A tone, as a WAV file of 16,000 samples a second."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(struct.pack("<16000h", *((n % 160 - 80) * 200 for n in range(16_000))) * seconds)
    return out.getvalue()


async def engine(port: int) -> None:
    pictures = [base64.b64encode(png()).decode() for _ in range(4)]
    made = iter(range(2**31))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower():
            _, _, length = head.partition("content-length:")
            if length:
                await reader.readexactly(int(length.split("\r\n")[0]))
            elif "chunked" in head:
                while (size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16)) > 0:
                    await reader.readexactly(size + 2)
                await reader.readuntil(b"\r\n")
            body = json.dumps({"data": [{"id": "img"}]})
            if "/images/" in head or "/audio/" in head:
                await asyncio.sleep(SECONDS)
                told = {"data": [{"b64_json": pictures[next(made) % 4]}]} if "/images/" in head else {"text": "heard"}
                body = json.dumps(told)
            writer.write(
                f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
            )
            await writer.drain()

    async def until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(until_gone, "127.0.0.1", port, limit=1 << 26) as server:
        await server.serve_forever()


def settings(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}/v1"
    return {
        "HOST": "127.0.0.1", "PYTHONPATH": str(ROOT / "src"), "WEBUI_SECRET_KEY": SECRET, "GLOBAL_LOG_LEVEL": "WARNING",
        "ENABLE_OPENAI_API": "false", "ENABLE_OLLAMA_API": "false", "ENABLE_IMAGE_GENERATION": "true",
        "IMAGE_GENERATION_MODEL": "img", "IMAGES_OPENAI_API_BASE_URL": url, "IMAGES_OPENAI_API_KEY": "none",
        "AUDIO_STT_ENGINE": "openai", "AUDIO_STT_OPENAI_API_BASE_URL": url, "AUDIO_STT_OPENAI_API_KEY": "none",
        "AUDIO_TTS_ENGINE": "espeak",
    }  # fmt: skip


class Sender(Client):
    """Sends a recording as a form."""

    async def transcribe(self, wav: bytes) -> Any:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 26)
        mark = secrets.token_hex(12)
        lines = [
            f"--{mark}",
            'content-disposition: form-data; name="file"; filename="a.wav"',
            "content-type: audio/wav",
            "",
            "",
        ]
        body = "\r\n".join(lines).encode() + wav + f"\r\n--{mark}--\r\n".encode()
        head = [
            "POST /api/v1/audio/transcriptions HTTP/1.1", f"host: {self.host}:{self.port}",
            f"authorization: Bearer {self.token}", f"content-type: multipart/form-data; boundary={mark}",
            f"content-length: {len(body)}", "connection: close",
        ]  # fmt: skip
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        assert b'"heard"' in answer, answer[:500]
        return Answer(200, answer, 0, 0)


async def draw(client: Client) -> Any:
    answer = await client.post("/api/v1/images/generations", {"prompt": "a harbour"})
    assert answer.status == 200, answer.body[:500]
    return answer


async def signed_up(port: int) -> str:
    token: str = (await Client(port).post("/api/v1/auths/signup", ADMIN)).json()["token"]
    return token


async def people(port: int, token: str) -> list[str]:
    """Tokens of people who may have pictures made."""
    admin = Client(port, token)
    may = (await admin.get("/api/v1/users/default/permissions")).json()
    may["features"]["image_generation"] = True
    assert (await admin.post("/api/v1/users/default/permissions", may)).status == 200
    forms = [ADMIN | {"email": f"person{n}@example.com", "role": "user"} for n in range(PEOPLE)]
    return [(await admin.post("/api/v1/auths/add", form)).json()["token"] for form in forms]


async def together(port: int, pid: int, token: str) -> str:
    wav, before = recording(600), cpu(pid)
    tokens = await people(port, token)
    draws = [draw(Client(port, tokens[n % PEOPLE])) for n in range(PICTURES)]
    sends = [Sender(port, tokens[n % PEOPLE]).transcribe(wav) for n in range(RECORDINGS)]
    async with health_asked(Bench(port, pid, 0, 0, token, {})) as health:
        await asyncio.gather(*draws, *sends)
    told = f"/health p50 {percentile(health, 0.5):.1f} ms, p99 {percentile(health, 0.99):.0f} ms, longest {max(health):.0f} ms"
    metrics = (await Client(port, token).get("/metrics")).body.decode()
    turn = float(re.search(r"^oui_loop_longest_turn_cpu_seconds (\S+)$", metrics, re.MULTILINE)[1]) * 1e3  # type: ignore[index]
    return f"{told}; {cpu(pid) - before:.1f} s CPU, {turn:.0f} ms in the longest turn of the loop"


async def memory(port: int, pid: int, token: str, pictures: int, recordings: int) -> str:
    wav = recording(60)
    await draw(Client(port, token))
    await Sender(port, token).transcribe(wav)
    await asyncio.sleep(5)
    before = memory_mb(pid)
    await load([Client(port, token) for _ in range(4)], pictures, draw)
    await load([Sender(port, token) for _ in range(4)], recordings, lambda c: c.transcribe(wav))
    await asyncio.sleep(10)
    after = memory_mb(pid)
    return (
        f"{before:.0f} MB after the first of each, {after:.0f} MB after {pictures} pictures and {recordings} recordings"
    )


async def spoken(port: int, token: str) -> str:
    client = Client(port, token)
    times = []
    for n in range(21):
        answer = await client.post("/api/v1/audio/speech", {"input": f"{SENTENCE} {n}", "response_format": "wav"})
        assert answer.status == 200, answer.body[:500]
        times.append(answer.first * 1e3)
    again = await client.post("/api/v1/audio/speech", {"input": f"{SENTENCE} 0", "response_format": "wav"})
    return f"median {statistics.median(times[1:]):.0f} ms, the longest {max(times[1:]):.0f} ms; again {again.first * 1e3:.0f} ms"


PARAGRAPH = (
    "The harbour is quiet this morning, and all the boats are out. Nobody knows when the ferry leaves, because the captain has"
    " gone to the market to buy bread, cheese and a new rope. In the afternoon the wind turns to the north. Then the children"
    " run down to the beach, and their teacher tells them of the whales that were seen here a hundred years ago. "
)


def speech(folder: Path, times: int) -> Path:
    path = folder / "speech.wav"
    subprocess.run(
        ["espeak-ng", "-v", "en-us", "-w", str(path), "--stdin"], input=PARAGRAPH.encode() * times, check=True
    )
    return path


def bare(model: str, path: str) -> None:
    """What the worker does, with nothing around it."""
    from faster_whisper import WhisperModel

    threads = max(1, min(4, len(os.sched_getaffinity(0))))
    listener = WhisperModel(model, device="auto", compute_type="auto", cpu_threads=threads, local_files_only=True)
    parts, info = listener.transcribe(path, beam_size=5, vad_filter=True, condition_on_previous_text=False)
    print(json.dumps([info.language, " ".join(part.text.strip() for part in parts)]))


def spent() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def ours(model: Path, path: Path) -> Any:
    from open_webui.audio.base import Recording
    from open_webui.audio.local import Worker

    sent = Recording(path=path, name=path.name, mime="audio/wav", size=path.stat().st_size)

    async def listen() -> Any:
        worker = Worker(SimpleNamespace(local_models_idle_seconds=60))  # type: ignore[arg-type]
        try:
            return await worker.listen(sent, model, None, 3600)
        finally:
            await worker.close()

    heard = asyncio.run(listen())
    return [heard.language, heard.text]


def whisper(rounds: int) -> str:
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from tests.support import real_whisper

    model, ratios, lines = real_whisper.folder(), [], []
    with tempfile.TemporaryDirectory() as folder:
        path = speech(Path(folder), 12)
        with wave.open(str(path)) as file:
            seconds = file.getnframes() / file.getframerate()
        ours(model, speech(Path(folder), 12))  # everything is read from the disk, and imported
        for n in range(rounds):
            used = {}
            for name in ("ours", "bare") if n % 2 else ("bare", "ours"):
                before, began = spent(), time.monotonic()
                if name == "ours":
                    told = ours(model, path)
                else:
                    command = [sys.executable, __file__, "--bare", str(model), str(path)]
                    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                used[name] = spent() - before
                lines.append(
                    f"  {name}: {used[name]:.1f} s CPU, {time.monotonic() - began:.1f} s, {len(told[1].split())} words"
                )
            ratios.append(used["ours"] / used["bare"])
    told = f"{seconds:.0f} s spoken; CPU over bare faster-whisper's: median {statistics.median(ratios):.2f}"
    return "\n".join([f"{told} ({min(ratios):.2f} to {max(ratios):.2f})", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["together", "memory", "spoken"])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", type=int)
    parser.add_argument("--bare", nargs=2)
    given = parser.parse_args()
    if given.bare:
        bare(*given.bare)
        return
    if given.engine:
        asyncio.run(engine(given.engine))
        return
    if "whisper" in given.only:
        given.only.remove("whisper")
        print(f"{'whisper':10}{whisper(given.rounds)}", flush=True)
    port = free_port()
    with process(["benchmarks/media.py", "--engine", str(port)], port, "/v1/models"):
        for name in given.only:
            with servers([settings(port)], 0, 0) as one:
                at = one.ports[0], one.pids[0], asyncio.run(signed_up(one.ports[0]))
                if name == "together":
                    told = asyncio.run(together(*at))
                elif name == "memory":
                    told = asyncio.run(memory(*at, given.pictures, given.recordings))
                else:
                    told = asyncio.run(spoken(at[0], at[2]))
                print(f"{name:10}{told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
