"""How long it takes to move in from Open WebUI, and what a server that serves meanwhile feels of it.

    python benchmarks/moving_in.py [--chats 2000] [--messages 20] [--alone]

Makes a SQLite file as Open WebUI 0.12 has it (documents and rows of messages, a tenth of them longer), starts a server on an
empty SQLite file, and runs `oui-backend import open-webui` beside it while somebody asks `/health` a hundred times a second.
--alone: without a server.
"""

import argparse
import http.client
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.foreign_database import AT, Foreign  # noqa: E402
from tests.support.process import clean_environment  # noqa: E402
from tests.support.server import SECRET, Server  # noqa: E402

WORDS = "the kettle sings at four and nobody knows who fills it but the cat looks pleased".split()


def make(path: Path, chats: int, messages: int) -> None:
    """A server of ten people."""
    chance = random.Random(1)
    f = Foreign()
    people = [f.person(f"Person{n}", "user" if n else "admin") for n in range(10)]
    for number in range(chats):
        tree = {}
        for k in range(messages):
            words = 400 if chance.random() < 0.1 else 40
            said = {
                "id": f"m{k}",
                "parentId": f"m{k - 1}" if k else None,
                "childrenIds": [f"m{k + 1}"] if k + 1 < messages else [],
            }
            tree[f"m{k}"] = said | {
                "role": "assistant" if k % 2 else "user", "content": " ".join(chance.choices(WORDS, k=words)),
                "timestamp": AT + k, "model": "m",
            }  # fmt: skip
        f.chat(people[number % 10], f"Chat {number}", messages=tree, current_message_id=f"m{messages - 1}")
    f.sqlite(path)


def ask(port: int, over: threading.Event, took: list[float]) -> None:
    """Asks /health a hundred times a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not over.is_set():
        began = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
        over.wait(0.01)


def run(environment: dict[str, str], source: Path, folder: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "open_webui.cli", "import", "open-webui", str(source)]
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(environment), capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    done.check_returncode()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chats", type=int, default=2_000)
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "theirs" / "webui.db"
        make(source, options.chats, options.messages)
        environment = {"DATA_DIR": str(folder / "data"), "WEBUI_SECRET_KEY": SECRET}
        migrate = [sys.executable, "-m", "open_webui.cli", "migrate"]
        subprocess.run(migrate, cwd=folder, env=clean_environment(environment), check=True)
        server, took, over = Server(folder), [], threading.Event()
        asking = threading.Thread(target=ask, args=(server.port, over, took))
        if not options.alone:
            server.start()
            asking.start()
        try:
            seconds = run(environment, source, folder)
        finally:
            over.set()
            if not options.alone:
                asking.join()
                server.stop()
        rate = options.chats * options.messages / seconds
        print(
            f"{options.chats:,} chats with {options.chats * options.messages:,} messages: {seconds:.1f} s, {rate:,.0f} messages/s"
        )
        if took:
            took.sort()
            middle, late = (took[int(len(took) * part)] * 1e3 for part in (0.5, 0.99))
            print(f"/health: median {middle:.1f} ms, p99 {late:.1f} ms, of {len(took):,}")
        print(f"{os.cpu_count()} cores")


if __name__ == "__main__":
    main()
