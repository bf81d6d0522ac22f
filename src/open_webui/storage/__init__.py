"""Where the bytes of files lie: one port, and an adapter for each kind of place."""

from open_webui.env import Settings
from open_webui.storage.base import BlobStore
from open_webui.storage.disk import DiskStore


def open_store(settings: Settings) -> BlobStore:
    """The store of these settings: `blobs` in the data folder. Touches nothing yet."""
    return DiskStore(settings.data_dir / "blobs")
