"""Fetch third-party scripts, of the built-in page and of /docs, at pinned versions and check every byte against its hash."""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import os
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
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Bundle:
    """One module made of several npm packages, whose own modules name each other in a way that browsers don't follow."""

    name: str
    # What is made of them, as a module that names what the page uses.
    entry: str
    packages: tuple[Package, ...]


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
# Puts the modules of a bundle together. Nothing of it is kept.
BUNDLER = Package(
    "esbuild-wasm",
    "0.28.2",
    "sha512-GccVwhv3mmOUVQHCQm2Ox/rby8n/EqUwvZxE6Pjfikrq/lWw9g9WX/u9EykWnpot3Ko6j426DgQdea2xWKIAQA==",
)
PAGE_BUNDLES = (
    # The editor of notes. Loaded with the first note that is opened.
    Bundle(
        "note-editor",
        """
export { Doc, applyUpdate, encodeStateAsUpdate, encodeStateVectorFromUpdate, mergeUpdates } from 'yjs';
export { redo, undo, yCursorPlugin, ySyncPlugin, yUndoPlugin } from 'y-prosemirror';
export { Awareness } from 'y-protocols/awareness';
export { DOMParser, Schema, Slice } from 'prosemirror-model';
export { EditorState, Plugin, TextSelection } from 'prosemirror-state';
export { EditorView } from 'prosemirror-view';
export { keymap } from 'prosemirror-keymap';
export { baseKeymap, chainCommands, exitCode, lift, setBlockType, toggleMark, wrapIn } from 'prosemirror-commands';
export { InputRule, inputRules, textblockTypeInputRule, undoInputRule, wrappingInputRule } from 'prosemirror-inputrules';
export { liftListItem, sinkListItem, splitListItem, wrapInList } from 'prosemirror-schema-list';
""",
        (
            Package(
                "isomorphic.js",
                "0.2.5",
                "sha512-PIeMbHqMt4DnUP3MA/Flc0HElYjMXArsw1qwJZcm9sqR8mq3l8NYizFMty0pWwE/tzIGH3EKK5+jes5mAr85yw==",
            ),
            Package(
                "lib0",
                "0.2.120",
                "sha512-/a2eRImR8sZbmMVKe2we1/KukDQkuPyPf8yol6epvCu2PH6hurjcRI3mdGFFAi0uGoRJGyns99JquZgxwW1tQg==",
            ),
            Package(
                "orderedmap",
                "2.1.1",
                "sha512-TvAWxi0nDe1j/rtMcWcIj94+Ffe6n7zhow33h40SKxmsmozs6dz/e+EajymfoFcHd7sxNn8yHM8839uixMOV6g==",
            ),
            Package(
                "prosemirror-commands",
                "1.7.2",
                "sha512-q6Q6szxqdu9Xd6EcdKsqXghu5nQdZTpB4Q9yd04WRc7/jt763e/rT60Owh0L1GYY+T46o5rD+9lEN36dZS43tw==",
            ),
            Package(
                "prosemirror-inputrules",
                "1.7.0",
                "sha512-8osbijqTD9BtFWbtWbrJ47zvwwiC4/+Y993VzCKRYjPw3jK+CixvRlFu7UgT6mExqPnu12WOh+IF9l6921vqhA==",
            ),
            Package(
                "prosemirror-keymap",
                "1.2.3",
                "sha512-4HucRlpiLd1IPQQXNqeo81BGtkY8Ai5smHhKW9jjPKRc2wQIxksg7Hl1tTI2IfT2B/LgX6bfYvXxEpJl7aKYKw==",
            ),
            Package(
                "prosemirror-model",
                "1.25.13",
                "sha512-MlDMWGjYXaYOeCiO17jcybntCOzPnN+97U0809ke2QsgPtxW3n5/sD6ZKyJONUgMw1iP93ohZTjeKjnRJ7L6kQ==",
            ),
            Package(
                "prosemirror-schema-list",
                "1.6.1",
                "sha512-QiL/QjgCWr+3Mhukm48E5d3XCC8lVEIanixGkXbWKUyxCUGy4ntVffFapmMwQ4vxhZw+8i7117W2N6FSyqyWfA==",
            ),
            Package(
                "prosemirror-state",
                "1.4.4",
                "sha512-6jiYHH2CIGbCfnxdHbXZ12gySFY/fz/ulZE333G6bPqIZ4F+TXo9ifiR86nAHpWnfoNjOb3o5ESi7J8Uz1jXHw==",
            ),
            Package(
                "prosemirror-transform",
                "1.12.7",
                "sha512-/e87cbxcM5WJOJrL1IrM9gJqO3EK8LdQoPvs+r4ss1lRO5t5QeqkU0SlmDvcitCSDUbm8s/MxbBB6ds4pY6Xlg==",
            ),
            Package(
                "prosemirror-view",
                "1.44.0",
                "sha512-Ga7889C0DYI1AI0zzgXBNVElPRLh6B2+K87XLjza90Bm/02XyEGXUr0gnla+Oefv7krvo3VIUDwM+YHKU9xGxg==",
            ),
            Package(
                "w3c-keyname",
                "2.2.8",
                "sha512-dpojBhNsCNN7T82Tm7k26A6G9ML3NkhDsnw9n/eoxSRlVBB4CEtIQ/KTCLI2Fwf3ataSXRhYFkQi3SlnFwPvPQ==",
            ),
            Package(
                "y-prosemirror",
                "1.3.7",
                "sha512-NpM99WSdD4Fx4if5xOMDpPtU3oAmTSjlzh5U4353ABbRHl1HtAFUx6HlebLZfyFxXN9jzKMDkVbcRjqOZVkYQg==",
            ),
            Package(
                "y-protocols",
                "1.0.7",
                "sha512-YSVsLoXxO67J6eE/nV4AtFtT3QEotZf5sK5BHxFBXso7VDUT3Tx07IfA6hsu5Q5OmBdMkQVmFZ9QOA7fikWvnw==",
            ),
            Package(
                "yjs",
                "13.6.33",
                "sha512-q/UYvr1gOk4XII+Cu1CW2dINjYqJJFifTzogEaIARznrvX7uOlHsdTEXcnOBMuIsrCGEEKdNxi74kyMLZlKVfw==",
            ),
        ),
    ),
)
# Each folder with what lies in it, and whose scripts these are.
FOLDERS: tuple[tuple[Path, str, tuple[Package, ...], tuple[Bundle, ...]], ...] = (
    (SERVER / "static" / "page" / "vendor", "the page", PAGE, PAGE_BUNDLES),
    (SERVER / "api_docs" / "vendor", "/docs", API_DOCS, ()),
)


def integrity_of(data: bytes) -> str:
    """The value npm calls integrity: the algorithm, a dash and the digest in base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode("ascii")


def archive_of(package: Package, folder: Path) -> Path:
    """The package as the npm client fetches it, once its bytes are the pinned ones."""
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
    return archive


def fetch(package: Package, folder: Path) -> dict[str, bytes]:
    """Our files of a package by their new names."""
    kept: dict[str, bytes] = {}
    with tarfile.open(archive_of(package, folder)) as tar:
        for source, name in package.files:
            member = tar.extractfile(f"package/{source}")
            if member is None:
                raise SystemExit(f"{package.name}@{package.version} has no file {source}")
            kept[name] = member.read()
    return kept


def put_together(bundle: Bundle, folder: Path) -> dict[str, bytes]:
    """A bundle and the licences of what is in it, by their names."""
    modules = folder / "node_modules"
    for package in (BUNDLER, *bundle.packages):
        place = modules / package.name
        with tarfile.open(archive_of(package, folder)) as tar:
            tar.extractall(folder / "out" / package.name, filter="data")
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / package.name / "package").rename(place)
    (folder / "entry.js").write_text(bundle.entry, encoding="utf-8")
    tool = modules / BUNDLER.name / "bin" / "esbuild"
    made = subprocess.run(
        ["node", str(tool), "entry.js", "--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=error"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=os.environ | {"NODE_PATH": ""},
    )
    licences = [
        f"{one.name} {one.version}\n\n{(modules / one.name / 'LICENSE').read_text(encoding='utf-8').strip()}\n"
        for one in bundle.packages
    ]
    return {f"{bundle.name}.js": made.stdout, f"{bundle.name}.LICENSE": "\n\n".join(licences).encode()}


def manifest(packages: tuple[Package, ...], bundles: tuple[Bundle, ...], whose: str) -> str:
    """What lies in a folder, for a reader."""
    lines = [f"# Third-party scripts of {whose}", ""]
    lines += ["Fetched by `python tools/vendor_page.py`; do not edit.", ""]
    lines += ["| package | version | files | integrity of the package |", "| --- | --- | --- | --- |"]
    for package in packages:
        files = ", ".join(f"`{name}`" for _, name in package.files)
        lines.append(f"| {package.name} | {package.version} | {files} | `{package.integrity}` |")
    for bundle in bundles:
        made_by = f"is one module made of these by {BUNDLER.name} {BUNDLER.version}"
        lines += [
            "",
            f"`{bundle.name}.js` {made_by}; `{bundle.name}.LICENSE` holds their licences.",
            "",
            "| package | version | integrity of the package |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {one.name} | {one.version} | `{one.integrity}` |" for one in bundle.packages]
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
    for place, whose, packages, bundles in FOLDERS:
        wanted: dict[str, bytes] = {"README.md": manifest(packages, bundles, whose).encode()}
        for package in packages:
            with tempfile.TemporaryDirectory() as folder:
                wanted.update(fetch(package, Path(folder)))
        for bundle in bundles:
            with tempfile.TemporaryDirectory() as folder:
                wanted.update(put_together(bundle, Path(folder)))
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
