"""Fetch the third-party scripts of the built-in page at pinned versions and check every byte against its hash."""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "src" / "open_webui" / "static" / "page" / "vendor"


@dataclass(frozen=True)
class Package:
    """One npm package: its pinned version, the registry's integrity value and the files we keep, renamed."""

    name: str
    version: str
    integrity: str
    files: tuple[tuple[str, str], ...]


# The files are kept byte for byte as published, so that a reader can compare them with the package.
PACKAGES = (
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


def manifest(packages: tuple[Package, ...]) -> str:
    """What lies in the folder, for a reader."""
    lines = ["# Third-party scripts of the page", ""]
    lines += ["Fetched by `python tools/vendor_page.py`; do not edit.", ""]
    lines += ["| package | version | files | integrity of the package |", "| --- | --- | --- | --- |"]
    for package in packages:
        files = ", ".join(f"`{name}`" for _, name in package.files)
        lines.append(f"| {package.name} | {package.version} | {files} | `{package.integrity}` |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Write the files, or with --check compare them with what the registry has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args(argv).check
    wanted: dict[str, bytes] = {"README.md": manifest(PACKAGES).encode()}
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as folder:
            wanted.update(fetch(package, Path(folder)))
    if check:
        wrong = [
            name
            for name, data in wanted.items()
            if not (VENDOR / name).is_file() or (VENDOR / name).read_bytes() != data
        ]
        for name in wrong:
            print(f"{name} differs from the pinned package", file=sys.stderr)
        return 1 if wrong else 0
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, data in wanted.items():
        (VENDOR / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
