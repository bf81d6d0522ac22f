"""Asks /health again and again from a process of its own, until its input ends; prints the times in ms as JSON.

python benchmarks/probe.py PORT
"""

import http.client
import json
import sys
import threading
import time


def main() -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    times = []
    while not over.is_set():
        started = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(0.05)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
