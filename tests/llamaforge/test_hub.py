"""Getting and removing models: paths, addresses, Ollama and the Hugging Face hub, on servers of the loopback interface."""

import errno
import fcntl
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from llamaforge import LlamaForge, hub
from llamaforge.config import Config
from llamaforge.exceptions import DownloadError, MissingExtraError, ModelLoadError, ModelNotFoundError, ParameterError
from llamaforge.hub import download, huggingface, ollama
from llamaforge.hub.download import Download, fetch


class Files(http.server.ThreadingHTTPServer):
    """Serves bytes by path, with ranges and tags. cut: how many bytes of the next answers go out before the line breaks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.cut: list[int] = []
        self.tag: str | None = '"v1"'
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Files

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        files, path = self.server, self.path.partition("?")[0]
        wanted = self.headers.get("Range")
        if body:
            files.asked.append((path, wanted))
        content = files.files.get(path)
        status = files.statuses.get(path, 404 if content is None else 200)
        if content is None or status != 200:
            content = b"{}"
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
        first = 0
        same = self.headers.get("If-Range") in {None, files.tag}
        if match and files.ranges and same and status == 200:
            first = int(match[1])
            last = int(match[2]) if match[2] else len(content) - 1
            status = 206 if first < len(content) else 416
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        elif status == 416:
            self.send_header("Content-Range", f"bytes */{len(content)}")
        if files.tag:
            self.send_header("ETag", files.tag)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            cut = files.cut.pop(0) if files.cut and len(content) > 1000 else len(content)
            self.wfile.write(content[:cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def files() -> Iterator[Files]:
    server = Files()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(tmp_path / "config.json")
    config.set("models_dir", str(tmp_path / "models"))
    config.save()
    return config


@pytest.fixture(autouse=True)
def no_ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(home))
    monkeypatch.setattr(ollama, "REGISTRY", "http://127.0.0.1:9")
    return home


CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


# ---- one file


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_and_its_progress_told(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    told: list[tuple[int, int | None]] = []
    fetch(Download(f"{files.url}/f.bin", SHA256), tmp_path / "f.bin", lambda done, total: told.append((done, total)))
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert left(tmp_path) == ["f.bin"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_cut_download_goes_on_by_itself(files: Files, tmp_path: Path, sha256: str | None) -> None:
    files.files["/f.bin"] = CONTENT
    files.cut = [400_000, 300_000]
    fetch(Download(f"{files.url}/f.bin", sha256), tmp_path / "f.bin", pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert files.asked == [("/f.bin", None), ("/f.bin", "bytes=400000-"), ("/f.bin", "bytes=700000-")]


def test_a_download_that_never_gets_on_ends_and_keeps_what_came(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    files.cut = [5000, *[0] * 20]
    with pytest.raises(DownloadError, match=r"broke off at 5,000 of 1,024,000 bytes\. What has come is kept"):
        fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert left(tmp_path) == ["f.bin.part", "f.bin.part.json"]
    files.cut = []
    files.asked.clear()
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert files.asked == [("/f.bin", "bytes=5000-")]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_begins_anew(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    files.cut = [5000, *[0] * 20]
    with pytest.raises(DownloadError):
        fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    files.cut, files.tag = [], '"v2"'
    files.files["/f.bin"] = CONTENT[::-1]
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("ranges", "tag"), [(False, '"v1"'), (True, None)])
def test_where_nothing_can_be_continued_it_begins_anew(
    files: Files, tmp_path: Path, ranges: bool, tag: str | None
) -> None:
    files.files["/f.bin"] = CONTENT
    files.cut, files.ranges, files.tag = [5000], ranges, tag
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_process_killed_in_the_middle_resumes(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    code = f"""
import os, sys
from pathlib import Path
from llamaforge.hub.download import Download, fetch
def die(done, total):
    if done > 300_000:
        os._exit(9)
fetch(Download("{files.url}/f.bin", "{SHA256}"), Path(sys.argv[1]), die)
"""
    target = tmp_path / "f.bin"
    done = subprocess.run([sys.executable, "-c", code, str(target)], timeout=20, check=False)
    assert done.returncode == 9
    assert left(tmp_path) == ["f.bin.part", "f.bin.part.json"]
    here = (tmp_path / "f.bin.part").stat().st_size
    assert 0 < here < len(CONTENT)
    files.asked.clear()
    fetch(Download(f"{files.url}/f.bin", SHA256), target)
    assert files.asked == [("/f.bin", f"bytes={here}-")]
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_or_size_leaves_nothing(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    with pytest.raises(DownloadError, match=f"The checksum is {SHA256} instead of 00"):
        fetch(Download(f"{files.url}/f.bin", "0" * 64), tmp_path / "f.bin")
    with pytest.raises(DownloadError, match="The file has 1,024,000 bytes instead of 5; it was thrown away"):
        fetch(Download(f"{files.url}/f.bin", size=5), tmp_path / "f.bin")
    assert left(tmp_path) == []


def test_a_download_can_be_cancelled_and_resumed(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT

    def cancel(done: int, total: int | None) -> None:
        raise InterruptedError

    class CancelledError(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", stop)
    assert left(tmp_path) == ["f.bin.part", "f.bin.part.json"]
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_two_downloads_of_one_file_do_not_mix(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT

    def again(done: int, total: int | None) -> None:
        with pytest.raises(DownloadError, match=r"f\.bin is being downloaded already\."):
            fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin")

    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", again)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_file_that_another_download_finished_meanwhile_is_left_alone(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened before the first renamed it, locked after: what is open then is the finished file."""
    files.files["/f.bin"] = CONTENT
    part, target = tmp_path / "f.bin.part", tmp_path / "f.bin"
    part.write_bytes(CONTENT)
    lock = fcntl.flock

    def finished_first(file: IO[bytes], how: int) -> None:
        part.replace(target)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", finished_first)
    with pytest.raises(DownloadError, match=r"f\.bin was finished by another download just now\."):
        fetch(Download(f"{files.url}/f.bin"), target, pause=0)
    assert target.read_bytes() == CONTENT
    assert left(tmp_path) == ["f.bin"]
    assert files.asked == []


def test_a_whole_file_that_lacks_only_its_name_is_not_fetched_again(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    note = {"url": f"{files.url}/f.bin", "tag": files.tag}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(note))
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert files.asked == [("/f.bin", f"bytes={len(CONTENT)}-")]
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert left(tmp_path) == ["f.bin"]


def test_a_part_that_is_longer_than_the_file_begins_anew(files: Files, tmp_path: Path) -> None:
    files.files["/f.bin"] = CONTENT[:5000]
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    note = {"url": f"{files.url}/f.bin", "tag": files.tag}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(note))
    fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT[:5000]


@pytest.mark.parametrize(
    ("url", "error", "sentence"),
    [
        (
            "http://127.0.0.1:9/f",
            DownloadError,
            "127.0.0.1:9 can't be reached: [Errno 111] Connection refused. Is there",
        ),
        (
            "http://example.com/f",
            ParameterError,
            "'http://example.com/f' can't be fetched: give an address that begins",
        ),
        ("ftp://127.0.0.1/f", ParameterError, "give an address that begins with https://."),
        ("file:///etc/passwd", ParameterError, "give an address that begins with https://."),
    ],
)
def test_what_cannot_be_reached(tmp_path: Path, url: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as caught:
        fetch(Download(url), tmp_path / "f")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, "has no /f"), (403, "does not give /f to everybody (403)"), (500, "answered 500 for /f.")],
)
def test_refusals(files: Files, tmp_path: Path, status: int, sentence: str) -> None:
    files.statuses["/f"] = status
    with pytest.raises(DownloadError, match=re.escape(sentence)):
        fetch(Download(f"{files.url}/f"), tmp_path / "f")


def test_a_full_disk_is_told(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.files["/f.bin"] = CONTENT
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"The disk is full: 1,024,000 bytes are needed in .*, 1,000 are free"):
        fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin")
    monkeypatch.undo()

    def full(done: int, total: int | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadError, match=r"The disk is full: f\.bin could not be written"):
        fetch(Download(f"{files.url}/f.bin"), tmp_path / "f.bin", full)


# ---- paths and addresses


def test_a_file_of_this_machine(config: Config, tiny_gguf: Path) -> None:
    found = hub.add(config, "tiny", str(tiny_gguf), parameters={"n_ctx": 64})
    assert found.path == tiny_gguf
    entry = Config(config.config_path).get_model("tiny")
    assert entry is not None
    assert (entry["path"], entry["backend"], entry["parameters"]) == (str(tiny_gguf), "llama.cpp", {"n_ctx": 64})
    assert entry["metadata"]["architecture"] == "llama"


def test_a_folder_of_this_machine(config: Config, tmp_path: Path, tiny_gguf: Path) -> None:
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "config.json").write_text("{}")
    assert hub.add(config, "a", str(tmp_path / "transformers")).backend == "huggingface"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ModelLoadError, match="holds no model: neither a"):
        hub.add(config, "b", str(folder))
    shutil.copy(tiny_gguf, folder / "one.gguf")
    assert hub.add(config, "b", str(folder)).path == folder / "one.gguf"
    shutil.copy(tiny_gguf, folder / "two.gguf")
    with pytest.raises(ModelLoadError, match=r"holds several models; name one of them: one\.gguf, two\.gguf\."):
        hub.add(config, "c", str(folder))


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "There is no file or folder"), (b"GGUF", "broken.gguf"), (b"no", "broken.gguf")]
)
def test_what_is_no_model_is_not_noted(config: Config, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=sentence):
        hub.add(config, "broken", str(path))
    assert config.list_models() == []


def test_a_name_that_is_taken(config: Config, tiny_gguf: Path) -> None:
    hub.add(config, "tiny", str(tiny_gguf))
    with pytest.raises(ParameterError, match="There is already a model 'tiny'"):
        hub.add(config, "tiny", str(tiny_gguf))
    hub.add(config, "tiny", str(tiny_gguf), replace=True)


def test_parameters_that_the_backend_does_not_take_are_told_at_once(config: Config, tiny_gguf: Path) -> None:
    with pytest.raises(ParameterError, match=r"'n_ctxx'\. Did you mean 'n_ctx'\?"):
        hub.add(config, "mine", str(tiny_gguf), parameters={"n_ctxx": 512})
    with pytest.raises(ParameterError, match="'temperature' must be a number"):
        hub.add(config, "mine", str(tiny_gguf), parameters={"temperature": "hot"})
    assert config.list_models() == []
    hub.add(config, "theirs", "anything", backend="registered later", parameters={"volume": 11})
    assert config.get_model("theirs")["parameters"] == {"volume": 11}  # type: ignore[index]


def test_a_model_of_a_provider(config: Config) -> None:
    hub.add(config, "gpt", "gpt-4", backend="openai", parameters={"api_base": "http://127.0.0.1:1/v1"})
    entry = config.get_model("gpt")
    assert entry is not None
    assert (entry["path"], entry["backend"]) == ("gpt-4", "openai")


def test_an_address(config: Config, files: Files, tiny_gguf: Path) -> None:
    content = tiny_gguf.read_bytes()
    files.files["/m/tiny%20one.gguf"] = content
    digest = hashlib.sha256(content).hexdigest()
    found = hub.add(config, "tiny", f"{files.url}/m/tiny%20one.gguf#sha256={digest}")
    assert found.path == config.models_dir / "tiny one.gguf"
    assert (config.models_dir / "tiny one.gguf").read_bytes() == content
    with pytest.raises(DownloadError, match="is there already"):
        hub.add(config, "again", f"{files.url}/m/tiny%20one.gguf")


def test_a_broken_file_of_an_address_leaves_nothing(config: Config, files: Files, tiny_gguf: Path) -> None:
    files.files["/t.gguf"] = tiny_gguf.read_bytes()[:-5000]
    with pytest.raises(ModelLoadError):
        hub.add(config, "tiny", f"{files.url}/t.gguf")
    assert left(config.models_dir) == []
    assert config.list_models() == []


@pytest.mark.parametrize(
    "tail", ["/model.bin", "/", "/.gguf", "/%2e%2e%5cx.gguf", "/x.gguf#sha256=12", "/..%2f..%2fx.gguf#md5=1"]
)
def test_addresses_that_name_no_file(config: Config, files: Files, tail: str) -> None:
    with pytest.raises(ParameterError):
        hub.add(config, "x", files.url + tail)
    assert files.asked == []


# ---- Ollama


def blob(home: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    (home / "blobs" / f"sha256-{digest}").write_bytes(content)
    return f"sha256:{digest}"


def manifest(model: str, parameters: str) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "layers": [
            {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "1" * 64},
            {"mediaType": "application/vnd.ollama.image.model", "digest": model},
            {"mediaType": "application/vnd.ollama.image.params", "digest": parameters},
        ],
    }


PARAMETERS = {"stop": ["<end>"], "temperature": 0.5, "num_predict": 9, "mirostat": 1}


def test_a_model_that_ollama_has_pulled(config: Config, no_ollama: Path, tiny_gguf: Path) -> None:
    model = blob(no_ollama, tiny_gguf.read_bytes())
    stored = manifest(model, blob(no_ollama, json.dumps(PARAMETERS).encode()))
    place = no_ollama / "manifests/registry.ollama.ai/library/tiny/1b"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(stored))
    found = hub.add(config, "mine", "ollama:tiny:1b")
    assert found.path == no_ollama / "blobs" / model.replace(":", "-")
    assert found.parameters == {"stop": ["<end>"], "temperature": 0.5, "max_tokens": 9}
    assert found.remark == "Ollama has pulled tiny:1b; its file is used where it lies."
    hub.add(config, "mine", "ollama:tiny:1b", parameters={"num_predict": 3}, replace=True)
    noted = config.get_model("mine")
    assert noted is not None
    assert noted["parameters"] == {"stop": ["<end>"], "temperature": 0.5, "num_predict": 3}, "one spelling of each"
    with pytest.raises(ParameterError, match=r"is not in .*, so it is not deleted"):
        hub.remove(config, "mine", delete_file=True)
    assert config.list_models() == ["mine"]
    assert hub.remove(config, "mine") is None
    assert Path(found.path).exists()


def test_a_model_of_the_registry_of_ollama(config: Config, files: Files, tiny_gguf: Path) -> None:
    content, parameters = tiny_gguf.read_bytes(), json.dumps(PARAMETERS).encode()
    model = f"sha256:{hashlib.sha256(content).hexdigest()}"
    stop = f"sha256:{hashlib.sha256(parameters).hexdigest()}"
    files.files = {
        "/v2/library/tiny/manifests/latest": json.dumps(manifest(model, stop)).encode(),
        f"/v2/library/tiny/blobs/{model}": content,
        f"/v2/library/tiny/blobs/{stop}": parameters,
    }
    files.cut = [100_000]
    found = ollama.find(ollama.Name.parse("tiny"), config.models_dir, None, files.url)
    assert found.path == config.models_dir / "ollama" / "tiny-latest.gguf"
    assert Path(found.path).read_bytes() == content
    assert found.parameters["stop"] == ["<end>"]
    files.asked.clear()
    ollama.pull(ollama.Name.parse("tiny"), config.models_dir, None, files.url)
    assert (f"/v2/library/tiny/blobs/{model}", None) not in files.asked, "what is here is not fetched again"
    files.files[f"/v2/library/tiny/blobs/{model}"] = content[::-1]
    with pytest.raises(DownloadError, match="The checksum is"):
        ollama.pull(ollama.Name.parse("tiny"), config.models_dir / "other", None, files.url)


def test_no_ollama_and_no_network(config: Config) -> None:
    with pytest.raises(DownloadError) as caught:
        ollama.find(ollama.Name.parse("tiny"), config.models_dir, None, "http://127.0.0.1:9")
    assert str(caught.value) == (
        "No local Ollama has tiny:latest, and it can't be fetched. 127.0.0.1:9 can't be reached: "
        "[Errno 111] Connection refused. Is there a network?"
    )


@pytest.mark.parametrize("name", ["", "../../etc", "a/b/c", "a:b:c", "a b", "a/../b", ".hidden", "a:../x"])
def test_names_that_ollama_does_not_have(config: Config, name: str) -> None:
    with pytest.raises(ParameterError, match="is no name of a model of Ollama"):
        hub.add(config, "x", f"ollama:{name}")


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"no json", json.dumps(manifest("sha256:../../../etc/passwd", "")).encode()]
)
def test_manifests_that_are_none(config: Config, files: Files, content: bytes) -> None:
    files.files["/v2/library/tiny/manifests/latest"] = content
    with pytest.raises(DownloadError):
        ollama.pull(ollama.Name.parse("tiny"), config.models_dir, None, files.url)


# ---- the Hugging Face hub, with its own client


@pytest.fixture
def repository(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, bytes]], None]:
    """Makes a repository on a server with the hub's endpoints."""
    monkeypatch.setenv("HF_ENDPOINT", files.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    files.tag = None

    def make(repo: str, contents: dict[str, bytes]) -> None:
        commit = "0" * 40
        siblings = []
        for name, content in contents.items():
            digest = hashlib.sha256(content).hexdigest()
            files.files[f"/{repo}/resolve/{commit}/{name}"] = content
            lfs = {"sha256": digest, "size": len(content), "pointerSize": 100}
            siblings.append({"rfilename": name, "size": len(content), "lfs": lfs})
        info = {
            "id": repo,
            "_id": "1",
            "sha": commit,
            "private": False,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
        }
        files.files[f"/api/models/{repo}"] = json.dumps(info).encode()
        files.files[f"/api/models/{repo}/revision/main"] = json.dumps(info).encode()
        files.tag = '"v1"'

    return make


def test_the_hub_chooses_a_quantisation_and_says_which(
    config: Config, files: Files, repository: Callable[[str, dict[str, bytes]], None], tiny_gguf: Path
) -> None:
    content = tiny_gguf.read_bytes()
    names = ["tiny-F16.gguf", "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "mmproj-Q4_K_M.gguf", "README.md"]
    repository("owner/tiny-GGUF", dict.fromkeys(names, content))
    told: list[tuple[int, int | None]] = []
    found = hub.add(config, "tiny", "hf:owner/tiny-GGUF", progress=lambda done, total: told.append((done, total)))
    assert found.path == config.models_dir / "owner--tiny-GGUF" / "tiny-Q4_K_M.gguf"
    assert Path(found.path).read_bytes() == content
    assert found.remark == "owner/tiny-GGUF has 4 GGUF files; tiny-Q4_K_M.gguf was chosen."
    assert found.metadata["source"] == "hf:owner/tiny-GGUF"
    assert told[-1] == (len(content), len(content))
    assert left(config.models_dir / "owner--tiny-GGUF") == ["tiny-Q4_K_M.gguf"]
    assert LlamaForge(config.config_path).list_models() == ["tiny"], "its folder is no second model"


def test_the_hub_gives_the_file_that_is_named(
    config: Config, repository: Callable[[str, dict[str, bytes]], None], tiny_gguf: Path
) -> None:
    repository("owner/tiny", {"sub/a-Q4_K_M.gguf": b"x", "sub/b-Q8_0.gguf": tiny_gguf.read_bytes()})
    found = hub.add(config, "tiny", "hf:owner/tiny/sub/b-Q8_0.gguf")
    assert found.path == config.models_dir / "owner--tiny" / "sub" / "b-Q8_0.gguf"
    with pytest.raises(ParameterError, match=r"owner/tiny has no file c\.gguf\. It has: sub/a-Q4_K_M\.gguf, sub/b-Q8"):
        hub.add(config, "other", "hf:owner/tiny/c.gguf")


def test_a_repository_of_safetensors(config: Config, repository: Callable[[str, dict[str, bytes]], None]) -> None:
    contents = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        "pytorch_model.bin": b"x",
    }
    repository("owner/tiny", contents)
    found = hub.add(config, "tiny", "hf:owner/tiny")
    assert (found.backend, found.path) == ("huggingface", config.models_dir / "owner--tiny")
    assert left(config.models_dir / "owner--tiny") == ["config.json", "model.safetensors", "tokenizer.json"]
    assert hub.remove(config, "tiny", delete_file=True) == config.models_dir / "owner--tiny"
    assert not (config.models_dir / "owner--tiny").exists()


def test_a_repository_of_pickles_is_refused(
    config: Config, repository: Callable[[str, dict[str, bytes]], None]
) -> None:
    repository("owner/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(ParameterError, match="neither GGUF files nor safetensors"):
        hub.add(config, "old", "hf:owner/old")


def test_a_wrong_checksum_of_the_hub_leaves_no_model(
    config: Config, files: Files, repository: Callable[[str, dict[str, bytes]], None], tiny_gguf: Path
) -> None:
    content = tiny_gguf.read_bytes()
    repository("owner/tiny", {"a.gguf": content})
    files.files[f"/owner/tiny/resolve/{'0' * 40}/a.gguf"] = content[:-1] + b"!"
    with pytest.raises(DownloadError, match=r"The checksum of a\.gguf is wrong"):
        hub.add(config, "tiny", "hf:owner/tiny")
    assert not (config.models_dir / "owner--tiny").exists()
    assert config.list_models() == []


def test_a_cut_download_of_the_hub_goes_on_where_it_was(
    config: Config, files: Files, repository: Callable[[str, dict[str, bytes]], None]
) -> None:
    """Its client writes blocks of 10 MB."""
    weights = bytes(24_000_000)
    repository("owner/large", {"config.json": b"{}", "model.safetensors": weights})
    files.cut = [15_000_000]
    told: list[int] = []
    hub.add(config, "large", "hf:owner/large", progress=lambda done, _: told.append(done))
    assert (config.models_dir / "owner--large" / "model.safetensors").read_bytes() == weights
    assert [asked for path, asked in files.asked if path.endswith("safetensors")][-1] == "bytes=10485760-"
    assert told == sorted(told)
    assert told[-1] == 24_000_002


def test_a_repository_without_an_owner(config: Config, repository: Callable[[str, dict[str, bytes]], None]) -> None:
    repository("gpt2", {"config.json": b"{}", "model.safetensors": b"weights"})
    found = hub.add(config, "mine", "hf:gpt2")
    assert found.path == config.models_dir / "gpt2"
    assert (config.models_dir / "gpt2" / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("source", ["-owner", "owner/", "../x/y.gguf", "owner/repo/../x.gguf", "a/b/c.txt"])
def test_what_is_no_repository(config: Config, source: str) -> None:
    with pytest.raises(ParameterError, match="is no model of the hub"):
        hub.add(config, "x", f"hf:{source}")


def test_a_repository_that_is_not_there(config: Config, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", files.url)
    with pytest.raises(DownloadError):
        hub.add(config, "x", "hf:owner/nothing")


def test_without_a_network_the_hub_says_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9 can't be reached: .*Is there a network\?"):
        hub.add(config, "x", "hf:owner/tiny")


def test_without_its_client_the_error_says_what_to_install(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"Install it with: .*llamacpp"):
        hub.add(config, "x", "hf:owner/tiny")


def test_split_files_come_together() -> None:
    names = [f"big-Q4_K_M-0000{i}-of-00003.gguf" for i in (2, 1, 3)]
    files = [huggingface.File(name) for name in [*names, "big-Q8_0.gguf"]]
    assert [file.name for file in huggingface._choose(files, "r", None)] == sorted(names)


# ---- removing


def test_a_file_of_ours_is_deleted_when_that_is_asked_for(config: Config, tiny_gguf: Path) -> None:
    config.models_dir.mkdir()
    ours = config.models_dir / "ours.gguf"
    shutil.copy(tiny_gguf, ours)
    hub.add(config, "one", str(ours))
    hub.add(config, "two", str(ours))
    with pytest.raises(ParameterError, match="is also the model 'two', so it is not deleted"):
        hub.remove(config, "one", delete_file=True)
    hub.remove(config, "two")
    assert ours.exists()
    assert hub.remove(config, "one", delete_file=True) == ours
    assert not ours.exists()
    assert Config(config.config_path).list_models() == []


def test_a_file_that_was_never_added(config: Config, tiny_gguf: Path) -> None:
    config.models_dir.mkdir()
    shutil.copy(tiny_gguf, config.models_dir / "found.gguf")
    with pytest.raises(ParameterError, match=r"'found\.gguf' only lies in .*; delete its file to remove it"):
        hub.remove(config, "found.gguf")
    assert hub.remove(config, "found.gguf", delete_file=True) == config.models_dir / "found.gguf"
    assert left(config.models_dir) == []
    with pytest.raises(ModelNotFoundError):
        hub.remove(config, "../config.json", delete_file=True)


def test_a_link_that_leads_out_is_not_followed(config: Config, tmp_path: Path, tiny_gguf: Path) -> None:
    config.models_dir.mkdir()
    outside = tmp_path / "outside.gguf"
    shutil.copy(tiny_gguf, outside)
    (config.models_dir / "link.gguf").symlink_to(outside)
    hub.add(config, "link", str(config.models_dir / "link.gguf"))
    config.add_model("root", str(config.models_dir))
    config.add_model("up", str(config.models_dir / ".." / "outside.gguf"))
    for name in ("link", "root", "up"):
        with pytest.raises(ParameterError, match="so it is not deleted"):
            hub.remove(config, name, delete_file=True)
    assert outside.exists()
    with pytest.raises(ModelNotFoundError, match="There is no model 'nothing'"):
        hub.remove(config, "nothing")
