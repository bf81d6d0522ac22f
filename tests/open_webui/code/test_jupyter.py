"""A real kernel gateway and a real Jupyter server run code, and what is none of them is told as a sentence."""

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from open_webui.errors import Unavailable
from open_webui.services.code.jupyter import Jupyter, Server
from open_webui.services.code.port import Ran, Run
from tests.open_webui.code.conftest import ANN
from tests.support.process import free_port

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
GATEWAY = (
    "kernel_gateway",
    "--KernelGatewayApp.auth_token=s3cret",
    "--KernelGatewayApp.port={port}",
    "--JupyterWebsocketPersonality.list_kernels=True",
)
SERVER = (
    "jupyter_server", "--allow-root", "--no-browser", "--ServerApp.port={port}", "--IdentityProvider.token=",
    # As the server itself hashes it.
    "--PasswordIdentityProvider.hashed_password=sha1:abcdef:{hash}",
)  # fmt: skip


def started(kind: tuple[str, ...], folder: Path) -> Iterator[str]:
    assert PYTHON.exists(), "There is no .venv-clients: start ./test.sh once, which makes it."
    port = free_port()
    secret = hashlib.sha1(b"open sesameabcdef").hexdigest()
    arguments = [part.format(port=port, hash=secret) for part in kind]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", *arguments], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from started(GATEWAY, tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from started(SERVER, tmp_path_factory.mktemp("server"))


async def ran(url: str, code: str, *, seconds: float = 120, **more: str) -> Ran:
    """Once the server is there."""
    run = Run(principal=ANN, code=code, seconds=seconds)
    for _ in range(600):
        try:
            return await Jupyter(Server(url=url, **more)).run(run)
        except Unavailable as error:
            if "reached" not in error.detail:
                raise
            await asyncio.sleep(0.2)
    raise AssertionError("the server never came")


TOKEN = {"auth": "token", "token": "s3cret"}


async def test_a_gateway_runs_code(gateway: str) -> None:
    got = await ran(gateway, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7", **TOKEN)
    assert (got.stdout, got.stderr, got.result) == ("out\n", "err\n", "42")
    got = await ran(gateway, "1 / 0", **TOKEN)
    assert "ZeroDivisionError" in got.stderr
    assert "\x1b" not in got.stderr


async def test_plots_come_as_pictures(gateway: str) -> None:
    got = await ran(gateway, "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()", **TOKEN)
    assert [picture[:4] for picture in got.pictures] == [b"\x89PNG"], got.stderr


async def test_each_piece_has_a_kernel_that_ends_with_it(gateway: str) -> None:
    await ran(gateway, "x = 1", **TOKEN)
    assert "NameError" in (await ran(gateway, "x", **TOKEN)).stderr
    got = await ran(gateway, "import time\nprint('so far', flush=True)\ntime.sleep(600)", seconds=3, **TOKEN)
    assert got.stderr == "The code took longer than 3 seconds, and was stopped.\n"
    import httpx

    async with httpx.AsyncClient(headers={"authorization": "token s3cret"}, trust_env=False, verify=False) as client:
        assert (await client.get(f"{gateway}api/kernels")).json() == []


async def test_who_is_not_let_in_hears_it(gateway: str) -> None:
    await ran(gateway, "1", **TOKEN)
    for more in ({}, {"auth": "token", "token": "wrong"}, {"auth": "password", "password": "open sesame"}):
        with pytest.raises(Unavailable, match="does not let this server in"):
            await ran(gateway, "1", **more)


async def test_a_server_with_a_password(server: str) -> None:
    assert (await ran(server, "print(3)", auth="password", password="open sesame")).stdout == "3\n"
    with pytest.raises(Unavailable, match="does not let this server in"):
        await ran(server, "1", auth="password", password="wrong")


@pytest.mark.parametrize("case", ["down", "error", "no json", "no id", "moved", "no socket", "garbage"])
async def test_what_is_no_jupyter_is_a_sentence(case: str) -> None:
    async def kernels(_: web.Request) -> web.Response:
        body = {"no json": "<html>", "no id": "[]"}.get(case, '{"id": "k"}')
        status = {"error": 500, "moved": 302}.get(case, 201)
        return web.Response(
            status=status, text=body, headers={"location": "http://127.0.0.1:1/"} if case == "moved" else {}
        )

    async def channels(request: web.Request) -> web.StreamResponse:
        if case == "no socket":
            return web.Response(text="no")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str("garbage")
        return socket

    app = web.Application()
    app.router.add_post("/api/kernels", kernels)
    app.router.add_get("/api/kernels/k/channels", channels)
    url = f"http://127.0.0.1:{free_port()}"
    async with TestServer(app) as fake:
        with pytest.raises(Unavailable, match="Jupyter server that runs code"):
            await Jupyter(Server(url=url if case == "down" else str(fake.make_url("/")))).run(
                Run(principal=ANN, code="1", seconds=5)
            )
