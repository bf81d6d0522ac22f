"""The page and its files: ours, somebody's build, and everything that must not be served."""

import asyncio
import gzip
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.main import create_app
from open_webui.services import static_files
from open_webui.services.static_files import StaticFolder
from tests.support.live import Live

SCRIPT = "console.log('build');\n" * 200
OUTSIDE = "never to be served"


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Somebody's page, beside files that are none of the network's business."""
    (tmp_path / "secret.txt").write_text(OUTSIDE)
    folder = tmp_path / "build"
    files = {
        "index.html": "<!doctype html><title>theirs</title>",
        "_app/version.json": '{"version":"1"}',
        "_app/immutable/a.B1.js": SCRIPT,
        "static/favicon.png": "their picture",
        "favicon.png": "their other picture",
        ".env": OUTSIDE,
        ".git/config": OUTSIDE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    return folder


@pytest.fixture
async def theirs(make_live: Callable[..., Awaitable[Live]], build: Path) -> Live:
    return await make_live(frontend_build_dir=build)


@pytest.mark.parametrize("path", ["/", "/auth", "/s/x?y=1.js", "/workspace/models/llama3.2", "/index.html"])
async def test_our_page(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert "oui-backend" in reply.text
    policy = reply.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


async def test_the_parts_that_our_page_names_are_there(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    named = {part.split('"')[0] for part in html.split('="/')[1:]}
    assert len(named) > 5
    for name in named:
        assert (await client.get(f"/{name}")).status_code == 200, name


async def test_our_page_has_nothing_inline(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    assert "<style" not in html
    assert " style=" not in html
    assert " onclick=" not in html
    assert html.count("<script") == html.count("<script src=") + html.count('<script type="module" src=')


async def test_the_frame_of_tools_has_no_origin_and_reaches_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.get("/static/page/frame.html")
    rules = dict(rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; "))
    assert rules.pop("sandbox") == "allow-scripts"
    assert rules.pop("frame-ancestors") == "'self'"
    assert rules["default-src"] == "'none'"
    assert set(" ".join(rules.values()).split()) == {"'none'", "'unsafe-inline'", "data:", "blob:"}


async def test_the_python_of_a_build_is_read_by_frames_without_an_origin(build: Path, theirs: Live) -> None:
    (build / "pyodide").mkdir()
    (build / "pyodide" / "pyodide.mjs").write_text("export default 1;")
    async with theirs.client() as client:
        for path, origin in (("/pyodide/pyodide.mjs", "*"), ("/_app/version.json", None), ("/", None)):
            reply = await client.get(path, headers={"origin": "null"})
            assert (reply.status_code, reply.headers.get("access-control-allow-origin")) == (200, origin), path
        assert reply.headers["content-type"].startswith("text/html")


async def test_unknown_files(client: httpx.AsyncClient) -> None:
    unknown = "nope.js no/such/asset.png static/nope.css static/ static _app/immutable/x.js page/index.html".split()
    for path in unknown:
        reply = await client.get(f"/{path}")
        assert (reply.status_code, list(reply.json())) == (404, ["detail"]), path


MANUAL = (
    "README.md",
    "CHANGELOG.md",
    "docs/questions.md",
    "docs/architecture/configuration.md",
    "docs/images/chat.png",
)


async def there_is_documentation(client: httpx.AsyncClient) -> None:
    for name in MANUAL:
        reply = await client.get(f"/static/manual/{name}")
        assert (reply.status_code, len(reply.content) > 1000) == (200, True), name
        assert reply.headers["x-content-type-options"] == "nosniff"
    reader = await client.get("/static/manual.html?docs/questions.md")
    assert reader.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in reader.text


async def test_the_documentation(client: httpx.AsyncClient) -> None:
    await there_is_documentation(client)
    markdown = await client.get("/static/manual/docs/questions.md", headers={"accept-encoding": "gzip"})
    assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert markdown.headers["content-encoding"] == "gzip"


async def test_another_frontend_leaves_the_documentation_where_it_is(theirs: Live) -> None:
    async with theirs.client() as client:
        await there_is_documentation(client)


@pytest.mark.parametrize(
    "name",
    [
        "", ".env", ".env.example", "pyproject.toml", "start.sh", "src/open_webui/env.py", "docs", "docs/", "docs/nope.md",
        "data/notes.md", "docs/%2e%2e/pyproject.toml", "docs/..%2fstart.sh", "..%2fREADME.md", "docs/diagrams/style.iuml",
        "%2fREADME.md", "docs/%2e%2e/README.md", ".git/HEAD", "docs/x%00.md",
    ],
)  # fmt: skip
async def test_what_is_no_documentation_is_not_served(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.get(f"/static/manual/{name}")
    assert (reply.status_code, list(reply.json())) == (404, ["detail"])


async def test_a_server_without_documentation(
    make_live: Callable[..., Awaitable[Live]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_webui.utils.manual.folder", lambda: None)
    live = await make_live()
    async with live.client() as there:
        assert (await there.get("/static/manual/README.md")).status_code == 404
        assert (await there.get("/")).status_code == 200


async def test_pictures(client: httpx.AsyncClient) -> None:
    for path in ("/user.png", "/favicon.png", "/static/favicon.png", "/static/user.png", "/static/splash.png"):
        reply = await client.get(path)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png"), path
        assert reply.content.startswith(b"\x89PNG"), path


async def test_what_other_pages_expect_of_a_server(theirs: Live) -> None:
    async with theirs.client() as client:
        for path in ("/static/loader.js", "/static/custom.css", "/static/splash-dark.png"):
            assert (await client.get(path)).status_code == 200, path


async def test_a_file_is_sent_once(client: httpx.AsyncClient) -> None:
    first = await client.get("/static/page/js/main.js")
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await client.get("/static/page/js/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get("/static/page/js/main.js", headers={"if-none-match": '"other"'})).status_code == 200


async def test_text_is_compressed_for_those_who_can_read_it(client: httpx.AsyncClient) -> None:
    path = "/static/page/js/main.js"
    plain = await client.get(path, headers={"accept-encoding": "identity"})
    small = await client.get(path, headers={"accept-encoding": "gzip, br"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"])
    assert small.headers["etag"] != plain.headers["etag"]
    assert small.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    picture = await client.get("/user.png", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in picture.headers


async def test_heads_and_ranges(client: httpx.AsyncClient) -> None:
    path = "/static/page/js/main.js"
    whole = await client.get(path, headers={"accept-encoding": "identity"})
    head = await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    part = await client.get(path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    beyond = await client.get(path, headers={"range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert (await client.head("/c/some-chat")).status_code == 200


async def test_their_build_goes_first(theirs: Live) -> None:
    async with theirs.client() as client:
        for path in ("/", "/auth", "/c/1"):
            reply = await client.get(path)
            assert "theirs" in reply.text
            assert (
                reply.headers["content-security-policy"] == "frame-ancestors 'self'; base-uri 'self'; object-src 'none'"
            )
        assert (await client.get("/static/favicon.png")).text == "their picture"
        assert (await client.get("/favicon.png")).text == "their other picture"
        assert (await client.get("/_app/version.json")).json() == {"version": "1"}
        assert (await client.get("/_app/version.json")).headers["cache-control"] == "no-cache"
        script = await client.get("/_app/immutable/a.B1.js")
        assert script.text == SCRIPT
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get("/_app/immutable/nope.js")).status_code == 404
        assert (await client.get("/api/v1/nope")).status_code == 404
        assert (await client.get("/health")).json() == {"status": True}


ESCAPES = [
    "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "_app/../../secret.txt", "//etc/passwd",
    "%2fetc%2fpasswd", "..%5csecret.txt", "link.txt", "linked/secret.txt", ".env", ".git/config", "_app/.%00", "%00.js",
    "a" * 5000 + ".js", "static/../.env", "static/%2e%2e/%2e%2e/secret.txt", "static//etc/passwd",
]  # fmt: skip


async def test_nothing_outside_the_build_is_served(theirs: Live) -> None:
    """Sent as written: a client library would tidy the path up before."""
    for escape in ESCAPES:
        status, body = await _raw(theirs, f"/{escape}")
        assert OUTSIDE not in body, escape
        assert "root:" not in body, escape
        assert status == 404 or "<title>theirs</title>" in body, escape


async def _raw(live: Live, path: str) -> tuple[int, str]:
    host, _, port = live.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        reply = (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = reply.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


@pytest.mark.parametrize("there", [True, False])
def test_a_build_without_a_page_is_refused_at_the_start(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "empty"
    if there:
        folder.mkdir()
    with pytest.raises(StartupError, match=r"there is no index\.html in it"):
        create_app(Settings(_env_file=None, env="test", data_dir=tmp_path, frontend_build_dir=folder))


async def test_a_changed_file_is_compressed_anew(tmp_path: Path) -> None:
    folder, path = StaticFolder(tmp_path), tmp_path / "a.js"
    for at, text in enumerate(("one " * 500, "two " * 500)):
        path.write_text(text)
        os.utime(path, ns=(at, at))
        found = await folder.find("a.js")
        assert found is not None
        assert found.compressible
        assert gzip.decompress(await folder.compressed(found)).decode() == text


async def test_compressed_files_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files, "CACHE_BYTES", 5_000)
    folder = StaticFolder(tmp_path)
    for number in range(10):
        (tmp_path / f"{number}.js").write_bytes(os.urandom(2_000))
        found = await folder.find(f"{number}.js")
        assert found is not None
        await folder.compressed(found)
        assert sum(map(len, folder._compressed.values())) <= 5_000
