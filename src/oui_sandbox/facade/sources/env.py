"""open_webui.env: how the server was started, as far as plugins may know."""

import logging
import os
from collections import defaultdict
from pathlib import Path

GLOBAL_LOG_LEVEL = "INFO"
# The level of any part that a plugin may name.
SRC_LOG_LEVELS: dict[str, str] = defaultdict(lambda: GLOBAL_LOG_LEVEL)
log = logging.getLogger("plugin")
# A plugin's own folder: it sees none of the server's.
DATA_DIR = Path(os.environ.get("DATA_DIR", "."))
FRONTEND_BUILD_DIR = STATIC_DIR = DATA_DIR
ENV = "prod"
VERSION = "0.12.4"
WEBUI_NAME = "oui-backend"
AIOHTTP_CLIENT_TIMEOUT = None
AIOHTTP_CLIENT_SESSION_SSL = True
ENABLE_FORWARD_USER_INFO_HEADERS = False
BYPASS_MODEL_ACCESS_CONTROL = False
REDIS_URL = ""
OFFLINE_MODE = False
