"""The configurations of docs/deployment.md, run as they stand there: real nginx and Caddy with TLS in front of a real server."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest
import socketio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.process import die_with_parent, free_port
from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
NAME = "chat.example.com"
FORM = {"name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}
WAIT = 20


def block(language: str, begin: str = "") -> str:
    (found,) = re.findall(rf"^```{language}\n({begin}.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    assert found, f"{name} is not installed: ./test.sh installs it, or `sudo apt-get install {name}`"
    return found


def put(text: str, old: str, new: str) -> str:
    assert old in text, f"the page's configuration no longer has {old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "chain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("deployed")).start()
    httpx.post(f"{running.url}/api/v1/auths/signup", json=FORM, trust_env=False, timeout=60).raise_for_status()
    yield running
    running.kill()


def nginx(folder: Path, server: Server, port: int, chain: Path, key: Path) -> list[str]:
    given = put(block("nginx", "map"), "127.0.0.1:8080", f"127.0.0.1:{server.port}")
    return nginx_with(given, folder, port, chain, key)


def nginx_of_two(folder: Path, servers: tuple[Server, Server], port: int, chain: Path, key: Path) -> list[str]:
    upstream = block("nginx", "upstream")
    for server, address in zip(servers, ("10.0.0.11:8080", "10.0.0.12:8080"), strict=True):
        upstream = put(upstream, address, f"127.0.0.1:{server.port}")
    assert "`proxy_pass http://oui;`" in PAGE
    given = put(block("nginx", "map"), "proxy_pass http://127.0.0.1:8080;", "proxy_pass http://oui;")
    return nginx_with(upstream + given, folder, port, chain, key)


def nginx_with(given: str, folder: Path, port: int, chain: Path, key: Path) -> list[str]:
    given = put(given, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    given = put(given, f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(chain))
    given = put(given, f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(key))
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    around = f"daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{around}http {{\naccess_log off;\n{places}{given}}}\n", encoding="utf-8")
    # Whom it runs as where the tests run as root: its own account could not read the folder.
    whom = "user root;" if folder.owner() == "root" else "env X;"
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", whom]


def caddy(folder: Path, server: Server, port: int, chain: Path, key: Path) -> list[str]:
    given = put(block("caddyfile"), f"{NAME} {{", f"https://127.0.0.1:{port} {{\n\ttls {chain} {key}")
    given = put(given, "127.0.0.1:8080", f"127.0.0.1:{server.port}")
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{given}", encoding="utf-8")
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


class Proxy:
    """A proxy's address and what its clients trust."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self.url, self.trust = url, trust

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, verify=self.trust, trust_env=False, timeout=WAIT)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", verify=self.trust, trust_env=False, timeout=60).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server, certificate: tuple[Path, Path]
) -> Iterator[Proxy]:
    with started(request.param, tmp_path, server, certificate) as made:
        yield made


@contextlib.contextmanager
def started(
    build: Callable[..., list[str]], tmp_path: Path, before: object, certificate: tuple[Path, Path]
) -> Iterator[Proxy]:
    """A proxy before a server, or before several."""
    port = free_port()
    made = Proxy(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(certificate[0])))
    with (tmp_path / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            build(tmp_path, before, port, *certificate),
            stdout=log, stderr=log, preexec_fn=die_with_parent, cwd=tmp_path,
            env={"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + WAIT
        while not made.answers():
            assert process.poll() is None, (tmp_path / "proxy.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "proxy.log").read_text()
            time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(10)


async def test_a_person_signs_in_with_a_secure_cookie(proxy: Proxy) -> None:
    async with proxy.client() as client:
        reply = await client.post("/api/v1/auths/signin", json=FORM)
    assert reply.status_code == 200
    assert "secure" in reply.headers["set-cookie"].lower()


async def test_a_page_has_its_websocket_and_its_answer(proxy: Proxy) -> None:
    """With the origin that a browser says, which the server compares with its own name."""
    await chat(proxy)


async def chat(proxy: Proxy) -> None:
    """Somebody signs in, and chats in a page until the answer is whole."""
    async with proxy.client() as client:
        token = (await client.post("/api/v1/auths/signin", json=FORM)).json()["token"]
    # A session of the test's own, to be closed by it: the client leaves its open.
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=proxy.trust))
    page = socketio.AsyncClient(reconnection=False, http_session=session)
    ended = asyncio.Event()

    async def hear(event: dict[str, object]) -> None:
        data = event.get("data")
        if isinstance(data, dict) and data.get("type") == "chat:completion" and (data.get("data") or {}).get("done"):
            ended.set()

    page.on("events", hear)
    await page.connect(
        proxy.url, headers={"Origin": proxy.url}, socketio_path="/ws/socket.io", transports=["websocket"],
        auth={"token": token}, wait_timeout=WAIT,
    )  # fmt: skip
    connection = page.eio.ws.get_extra_info("socket")
    try:
        assert page.transport() == "websocket"
        body = {
            "session_id": page.get_sid(), "id": "answer", "chat_id": None, "parent_id": None, "model": "eliza",
            "user_message": {"id": "question", "role": "user", "content": "Hello"}, "stream": True,
        }  # fmt: skip
        async with proxy.client() as client:
            reply = await client.post("/api/chat/completions", json=body, headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code == 200, reply.text
        await asyncio.wait_for(ended.wait(), WAIT)
    finally:
        await page.disconnect()
        await page.wait()
        await session.close()
        # TLS takes its leave in turns of the loop's own.
        async with asyncio.timeout(30):
            while connection.fileno() != -1:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)


async def test_a_stream_comes_through_whole(proxy: Proxy) -> None:
    await stream(proxy)


async def stream(proxy: Proxy) -> None:
    """An API client signs in and has an answer streamed."""
    async with proxy.client() as client:
        token = (await client.post("/api/v1/auths/signin", json=FORM)).json()["token"]
        body = {"model": "eliza", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        headers = {"Authorization": f"Bearer {token}"}
        async with client.stream("POST", "/api/chat/completions", json=body, headers=headers) as reply:
            lines = [line async for line in reply.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_two_servers_behind_nginx_are_one(
    make_server: Callable[..., Server], database_url: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """Requests and sockets go to either, and nobody needs to come back to the same."""
    environment = {"DATABASE_URL": database_url, "FORWARDED_ALLOW_IPS": "127.0.0.1", "MAIN_LOG_LEVEL": "DEBUG"}
    one, two = (make_server(**environment).start() for _ in range(2))
    async with httpx.AsyncClient(base_url=one.url, trust_env=False, timeout=WAIT) as client:
        (await client.post("/api/v1/auths/signup", json=FORM)).raise_for_status()
    with started(nginx_of_two, tmp_path, (one, two), certificate) as proxy:
        for _ in range(3):
            await chat(proxy)
            await stream(proxy)
        # The sign-up went to the first by itself.
        assert [server.log.count("path=/api/") > 1 for server in (one, two)] == [True, True]
        two.kill()
        # Of a machine that is gone nobody hears.
        for _ in range(4):
            assert proxy.answers()


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "oui-backend.service"
    command = ROOT / ".venv" / "bin" / "oui-backend"
    given = put(block("ini"), "/opt/oui-backend/.venv/bin/oui-backend", str(command))
    unit.write_text(put(given, "User=oui\nGroup=oui\n", ""), encoding="utf-8")
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "oui-backend" in line]
    assert (done.returncode, said) == (0, []), done.stderr
