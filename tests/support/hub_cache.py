"""A cache of the Hugging Face hub as its client writes it: files under their hashes, and links to them by commit."""

import hashlib
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache_model(cache: Path, name: str, folder: Path, *, commit: str = COMMIT, reference: str = "main") -> Path:
    """Put the files of `folder` into `cache` as the repository `name`; the snapshot's folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for place in (repository / "blobs", repository / "refs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    (repository / "refs" / reference).write_text(commit)
    return snapshot
