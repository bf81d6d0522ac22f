"""Where the bytes of files lie: one port, and an adapter for each kind of place."""

import re
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from llamaforge.exceptions import how_to_install
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.storage.base import BlobStore
from open_webui.storage.disk import DiskStore

_BUCKET: Final = re.compile(r"[\w.-]+", re.ASCII)


def open_store(settings: Settings) -> BlobStore:
    """The store that these settings name. Touches nothing yet. Raises StartupError for settings that don't make one."""
    return open_bucket(settings) if settings.storage_provider == "s3" else open_disk(settings)


def open_disk(settings: Settings) -> BlobStore:
    """`blobs` in the data folder."""
    return DiskStore(settings.data_dir / "blobs")


def open_bucket(settings: Settings) -> BlobStore:
    """The bucket of S3_BUCKET_NAME. Raises StartupError naming the variable that is wrong or missing."""
    if not _BUCKET.fullmatch(settings.s3_bucket_name):
        raise StartupError(
            "STORAGE_PROVIDER=s3 needs the bucket's name in S3_BUCKET_NAME: letters, digits, dots and -_ only."
        )
    keys = settings.s3_access_key_id, settings.s3_secret_access_key.get_secret_value()
    if any(keys) and not all(keys):
        raise StartupError(
            "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY belong together: set both, or neither to use the machine's role."
        )
    if settings.s3_endpoint_url:
        _check_endpoint(settings.s3_endpoint_url)
    if find_spec("obstore") is None:
        raise StartupError(f"S3 needs a library that is not installed. Install it with: {how_to_install('s3')}")
    from open_webui.storage import s3  # noqa: PLC0415 - an extra's library

    # As AWS's own libraries: the bucket in the host's name on AWS, in the path elsewhere.
    style = settings.s3_addressing_style
    virtual = style == "virtual" or (style != "path" and not settings.s3_endpoint_url)
    return s3.open_bucket(settings, keys if all(keys) else None, virtual=virtual)


def _check_endpoint(url: str) -> None:
    wrong = StartupError(
        "S3_ENDPOINT_URL must be the address of an S3 server, without path, name and password: https://s3.example.com"
    )
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port that is no number is found when it is asked for
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise wrong
