"""open_webui.config: folders, and values that plugins read without the server's state."""

import os
from pathlib import Path

DATA_DIR = Path(os.environ.get("DATA_DIR", "."))
UPLOAD_DIR = CACHE_DIR = STATIC_DIR = DATA_DIR
WEBUI_NAME = "oui-backend"
ENABLE_ADMIN_EXPORT = False
