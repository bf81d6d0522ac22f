"""Memory that large values have left behind, given back to the system: the C library keeps it otherwise, for the next ones."""

import ctypes
import sys
from typing import Any


def trim() -> None:
    """Takes some milliseconds. Does nothing where the C library is not glibc. To be called beside the event loop."""
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
