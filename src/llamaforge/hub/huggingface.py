"""Models of the Hugging Face hub, through its own client: GGUF files, and Transformers folders."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamaforge.exceptions import DownloadError, MissingExtraError, ParameterError
from llamaforge.hub.download import Progress, sha256_of
from llamaforge.hub.found import Found, gguf

# What people with an ordinary machine want, best first: small enough, and hardly worse than the original.
PREFERRED = (
    "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q5_K_S", "Q4_0", "IQ4_NL", "IQ4_XS", "Q6_K", "Q8_0", "Q3_K_M", "Q3_K_L", "IQ3_M",
    "Q2_K", "BF16", "F16", "F32",
)  # fmt: skip
_REPOSITORY = re.compile(
    r"(?P<repo>(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9_][\w.-]*)(?:@(?P<revision>[\w./-]+?))?(?:/(?P<file>.+\.gguf))?"
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_FOLDER_FILES = (".safetensors", ".json", ".model", ".txt", ".jinja", ".tiktoken")
_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository. size: in bytes. sha256: hexadecimal, of large files only."""

    name: str
    size: int | None = None
    sha256: str | None = None


def find(source: str, models_dir: Path, progress: Progress | None) -> Found:
    """The model "owner/repo" or "owner/repo/file.gguf" (after "owner/repo@revision" another version), downloaded.

    A repository without an owner, such as "gpt2", is given by its name alone. Without a file, a repository with GGUF
    files gives the best quantisation of PREFERRED, another its safetensors.
    Raises MissingExtraError, ParameterError, DownloadError, ModelLoadError.
    """
    match = _REPOSITORY.fullmatch(source)
    if match is None or ".." in source:
        raise ParameterError(f"'{source}' is no model of the hub: give owner/repo or owner/repo/file.gguf.")
    repo, revision, file = match["repo"], match["revision"], match["file"]
    hub = _client()
    with _translated(hub, repo):
        info = hub.HfApi(endpoint=_endpoint()).model_info(
            repo, revision=revision, files_metadata=True, timeout=_TIMEOUT
        )
    files = [_file(sibling) for sibling in info.siblings or ()]
    ggufs = [item for item in files if item.name.lower().endswith(".gguf")]
    chosen, remark = (_choose(ggufs, repo, file), "") if file or ggufs else (_folder_files(files, repo), "")
    if ggufs and file is None:
        remark = f"{repo} has {len(ggufs)} GGUF files; {chosen[0].name} was chosen."
    folder = _download(hub, repo, info.sha, chosen, models_dir, progress)
    metadata = {"source": f"hf:{source}", "revision": info.sha}
    if ggufs:
        return gguf(folder / chosen[0].name, metadata=metadata, remark=remark)
    return Found(folder, "huggingface", metadata=metadata)


def _choose(files: Sequence[File], repo: str, name: str | None) -> list[File]:
    """The files of one model, the first part first. Raises ParameterError when `name` is none of them."""
    # Projectors of images and measurements of importance are no models.
    models = [file for file in files if not re.search(r"mmproj|imatrix", file.name, re.IGNORECASE)]
    whole = [file for file in models if (part := _PART.search(file.name)) is None or int(part[1]) == 1]
    if name is not None:
        first = next((file for file in files if file.name == name), None)
        if first is None:
            raise ParameterError(f"{repo} has no file {name}. It has: {', '.join(f.name for f in whole) or 'none'}.")
    else:
        if not whole:
            raise ParameterError(f"{repo} has no GGUF file that is a model.")
        first = min(whole, key=_rank)
    part = _PART.search(first.name)
    if part is None:
        return [first]
    stem = first.name[: part.start()]
    return sorted((f for f in files if _PART.search(f.name) and f.name[: part.start()] == stem), key=lambda f: f.name)


def _rank(file: File) -> tuple[int, int]:
    name = file.name.upper().replace("-", "_").replace(".", "_")
    places = (place for place, kind in enumerate(PREFERRED) if re.search(rf"(^|_|/){kind}(_|$)", name))
    return next(places, len(PREFERRED)), file.size or 0


def _folder_files(files: Sequence[File], repo: str) -> list[File]:
    top = [file for file in files if "/" not in file.name and file.name.lower().endswith(_FOLDER_FILES)]
    names = {file.name for file in top}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise ParameterError(
            f"{repo} has no model that can be run: neither GGUF files nor safetensors with a config.json."
        )
    return top


def _download(
    hub: Any, repo: str, revision: str, files: Sequence[File], models_dir: Path, progress: Progress | None
) -> Path:
    """All files, each checked, in a folder of `models_dir` that appears when they are complete."""
    folder = models_dir / repo.replace("/", "--")
    staging = models_dir / ".partial" / f"{folder.name}-{revision[:12]}"
    sizes = [file.size for file in files]
    meter = _Meter(progress, sum(size or 0 for size in sizes) if all(sizes) else None)
    for file in files:
        target = folder / file.name
        if target.is_file() and target.stat().st_size == file.size and file.sha256 in {None, sha256_of(target)}:
            meter.finish(file.size or 0)
            continue
        with _translated(hub, repo):
            path = Path(
                hub.hf_hub_download(
                    repo,
                    file.name,
                    revision=revision,
                    local_dir=staging,
                    endpoint=_endpoint(),
                    etag_timeout=_TIMEOUT,
                    tqdm_class=meter.bar(),
                )
            )
        if file.sha256 is not None and sha256_of(path) != file.sha256:
            path.unlink()
            raise DownloadError(f"The checksum of {file.name} is wrong; the file was thrown away.")
        meter.finish(path.stat().st_size)
    for file in files:
        if (staging / file.name).is_file():
            (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            (staging / file.name).replace(folder / file.name)
    _remove_tree(staging)
    return folder


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


class _Meter:
    """Sums the progress of several files. The hub's client reports to a class that looks like tqdm."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def finish(self, size: int) -> None:
        """A file of so many bytes is here."""
        self._done += size
        self.tell(0)

    def tell(self, current: int) -> None:
        """So many bytes of the present file are here."""
        if self._progress is not None:
            self._progress(self._done + current, self._total)

    def bar(self) -> type:
        """A class to give to the hub's client for one file."""
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore] # noqa: PLC0415 - comes with huggingface_hub

        meter = self

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs["disable"] = True
                kwargs.pop("name", None)
                super().__init__(*args, **kwargs)
                self.here = kwargs.get("initial") or 0

            def update(self, n: float | None = 1) -> None:
                self.here += n or 0
                meter.tell(int(self.here))

        return Bar


def _file(sibling: Any) -> File:
    lfs = sibling.lfs
    sha256 = None if lfs is None else (lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None))
    return File(sibling.rfilename, sibling.size, sha256)


def _endpoint() -> str | None:
    """Read now: the client reads it once, when it is imported."""
    return os.environ.get("HF_ENDPOINT") or None


def _client() -> Any:
    try:
        import huggingface_hub  # noqa: PLC0415 - half a second that only those pay who use it
        import huggingface_hub.errors  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("llamacpp", "huggingface_hub") from error
    return huggingface_hub


@contextmanager
def _translated(hub: Any, repo: str) -> Iterator[None]:
    errors = hub.errors
    where = _endpoint() or "https://huggingface.co"
    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadError(f"{repo} is given only to those who accepted its terms: set HF_TOKEN.") from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{repo} has no such revision.") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(f"{where} has no model {repo}, or it is private: set HF_TOKEN.") from error
    except errors.HfHubHTTPError as error:
        raise DownloadError(f"{where} answered {error.response.status_code} for {repo}.") from error
    except errors.HFValidationError as error:
        raise ParameterError(f"'{repo}' is no name of a repository: {error}") from error
    except (OSError, errors.LocalEntryNotFoundError, errors.HTTPError) as error:
        reason = (
            str(error.__cause__ or error).splitlines()[0] if str(error.__cause__ or error) else type(error).__name__
        )
        if isinstance(error, OSError) and error.errno == 28:
            raise DownloadError(f"The disk is full: {reason}.") from error
        raise DownloadError(f"{where} can't be reached: {reason}. Is there a network?") from error
