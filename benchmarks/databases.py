"""What a page chat costs on PostgreSQL, over what it costs on SQLite: CPU of the server's own process, in one run.

    python benchmarks/databases.py [--scenarios page reading ...] [--rounds 3]

Runs run.py's scenarios by turns on a fresh SQLite file and on a fresh database of a PostgreSQL of its own (that of the
tests), and prints the medians and their ratio. PostgreSQL's own processes are not counted: they are another machine's.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import postgres  # noqa: E402 - found beside this folder


def measured(scenario: str, database_url: str) -> dict[str, float]:
    """CPU microseconds a token of each line that run.py prints for a scenario."""
    command = [sys.executable, "benchmarks/run.py", "--only", scenario, "--database-url", database_url]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name.strip(): float(figure) for name, figure in re.findall(r"^(.+?)\s+([\d.]+) us CPU", said, re.MULTILINE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="+", default=["page", "reading"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    server = postgres.start()
    figures: dict[str, tuple[list[float], list[float]]] = {}
    try:
        for number in range(given.rounds):
            for scenario in given.scenarios:
                name = f"bench_{scenario}_{number}"
                asyncio.run(server.execute(f"CREATE DATABASE {name}"))
                for place, url in enumerate(("", server.url(name))):
                    for line, figure in measured(scenario, url).items():
                        figures.setdefault(line, ([], []))[place].append(figure)
    finally:
        server.stop()
    for line, both in figures.items():
        sqlite, postgresql = map(statistics.median, both)
        print(
            f"{line:14} {postgresql / sqlite:.2f} x SQLite's CPU per token ({postgresql:.0f} us over {sqlite:.0f} us)"
        )


if __name__ == "__main__":
    main()
