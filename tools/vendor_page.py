"""Fetch third-party scripts, of the built-in page and of /docs, at pinned versions and check every byte against its hash."""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).resolve().parent.parent / "src" / "open_webui"


@dataclass(frozen=True)
class Package:
    """One npm package: its pinned version, the registry's integrity value and the files we keep, renamed.

    A new name that ends with .gz is the file compressed, which is how it is sent.
    """

    name: str
    version: str
    integrity: str
    files: tuple[tuple[str, str], ...]


# The files are kept byte for byte as published, so that a reader can compare them with the package.
PAGE = (
    Package(
        "socket.io-client",
        "4.8.4",
        "sha512-7wjKAvVXYOJsbmUgkWbnhPD4bFpkqrUR0++XOjpGFmqDqsqV1CI93VTraeExLxpjxEqrWgFoSRZu1ihjLWfkAA==",
        (("dist/socket.io.esm.min.js", "socket.io.esm.min.js"), ("LICENSE", "socket.io-client.LICENSE")),
    ),
    Package(
        "marked",
        "18.2.1",
        "sha512-ii4bxCTCqqwpT86XZWgJNs+ZnAIZksmLGYMViWA7PDIXYIeNo1x6cDdX3JOip9NM/cI6p8z57FxliACboTruMA==",
        (("lib/marked.esm.js", "marked.esm.js"), ("LICENSE", "marked.LICENSE")),
    ),
    Package(
        "dompurify",
        "3.4.18",
        "sha512-ofe3wI/uNm68HInABYFJYqQxRw1EaKAjNdrFVKqjUY+UZurvNd2L/HuQe097s/4RivWiZyP6tT7aoT8atjfhwg==",
        (("dist/purify.min.js", "purify.min.js"), ("LICENSE", "dompurify.LICENSE")),
    ),
    Package(
        "@highlightjs/cdn-assets",
        "11.12.0",
        "sha512-KvOKXODaiFmId9xaq3xc5xCL66wVLUuOngDbO9B/kewbFTqdGbn2nJxNhN3H5R1cgDTVj6R8vH0zgiNDEGjpDw==",
        (("es/highlight.min.js", "highlight.min.js"), ("LICENSE", "highlight.js.LICENSE")),
    ),
    Package(
        "temml",
        "0.13.5",
        "sha512-aPkDDgunanpLNL0ql32HbolqLep+w8DRcVXRql7rWrMt/PhczdLgL4UBYYVU3BYjCNjkGq4EqwIicu/zWr1iOg==",
        (
            ("dist/temml.min.js", "temml.min.js"),
            ("dist/Temml-Local.css", "temml.css"),
            ("dist/Temml.woff2", "Temml.woff2"),
            ("LICENSE", "temml.LICENSE"),
        ),
    ),
    # The smaller build: without mind maps, pictures of architectures and mathematics in diagrams.
    Package(
        "@mermaid-js/tiny",
        "12.0.0",
        "sha512-ZW9YXy+3tSLPscBT+NnQO0K0qYH7BGES5nExl6Snoygey7xd2N0cO7Nq30N5k/u7gIeYoCrldyVy+VTCMWrNDQ==",
        (("dist/mermaid.tiny.js", "mermaid.tiny.js.gz"), ("LICENSE", "mermaid.LICENSE")),
    ),
)
API_DOCS = (
    Package(
        "swagger-ui-dist",
        "5.35.0",
        "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        (
            ("swagger-ui-bundle.js", "swagger-ui-bundle.js.gz"),
            ("swagger-ui.css", "swagger-ui.css.gz"),
            ("LICENSE", "swagger-ui.LICENSE"),
            ("NOTICE", "swagger-ui.NOTICE"),
            ("swagger-ui-bundle.js.LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt"),
        ),
    ),
)
# Each folder with what lies in it, and whose scripts these are.
FOLDERS = (
    (SERVER / "static" / "page" / "vendor", "the page", PAGE),
    (SERVER / "api_docs" / "vendor", "/docs", API_DOCS),
)


def integrity_of(data: bytes) -> str:
    """The value npm calls integrity: the algorithm, a dash and the digest in base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode("ascii")


def fetch(package: Package, folder: Path) -> dict[str, bytes]:
    """Ask the npm client for the package and return our files by their new names."""
    done = subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    archive = folder / done.stdout.strip().splitlines()[-1]
    found = integrity_of(archive.read_bytes())
    if found != package.integrity:
        raise SystemExit(f"{package.name}@{package.version}: expected {package.integrity}, got {found}")
    kept: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for source, name in package.files:
            member = tar.extractfile(f"package/{source}")
            if member is None:
                raise SystemExit(f"{package.name}@{package.version} has no file {source}")
            kept[name] = member.read()
    return kept


def manifest(packages: tuple[Package, ...], whose: str) -> str:
    """What lies in a folder, for a reader."""
    lines = [f"# Third-party scripts of {whose}", ""]
    lines += ["Fetched by `python tools/vendor_page.py`; do not edit.", ""]
    lines += ["| package | version | files | integrity of the package |", "| --- | --- | --- | --- |"]
    for package in packages:
        files = ", ".join(f"`{name}`" for _, name in package.files)
        lines.append(f"| {package.name} | {package.version} | {files} | `{package.integrity}` |")
    return "\n".join(lines) + "\n"


def kept(name: str, data: bytes) -> bytes:
    """The bytes of a file as it lies in its folder."""
    return gzip.compress(data, compresslevel=9, mtime=0) if name.endswith(".gz") else data


def is_kept(path: Path, data: bytes) -> bool:
    """Whether a file lies there with these bytes; compressed by whichever zlib."""
    if not path.is_file():
        return False
    found = path.read_bytes()
    return (gzip.decompress(found) if path.suffix == ".gz" else found) == data


def main(argv: list[str]) -> int:
    """Write the files, or with --check compare them with what the registry has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args(argv).check
    wrong = 0
    for place, whose, packages in FOLDERS:
        wanted: dict[str, bytes] = {"README.md": manifest(packages, whose).encode()}
        for package in packages:
            with tempfile.TemporaryDirectory() as folder:
                wanted.update(fetch(package, Path(folder)))
        place.mkdir(parents=True, exist_ok=True)
        for name, data in wanted.items():
            if is_kept(place / name, data):
                continue
            wrong += 1
            if check:
                print(f"{place / name} differs from the pinned package", file=sys.stderr)
            else:
                (place / name).write_bytes(kept(name, data))
                print(f"{name}: {len(data)} bytes")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
