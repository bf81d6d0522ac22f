"""How the process was started: read once from the environment and `.env`, frozen, handed in."""

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from open_webui.errors import StartupError

# Shorter keys can be guessed. Those below GOOD_SECRET are taken, with a warning at the start.
MIN_SECRET = 8
GOOD_SECRET = 16
# More processes than any one machine has a use for are a mistake.
MAX_WORKERS = 128
# Names that every server of buckets takes as they are, but for "." and "..".
_PREFIX_PART = re.compile(r"(?!\.{1,2}$)[\w.!'()=+-]+", re.ASCII)
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_COLLECTION_PREFIX = re.compile(r"[\w.-]{1,100}", re.ASCII)


class Settings(BaseSettings):
    """Process settings. What an admin may change while the server runs is in config.py instead.

    Every field is read from the variable of its upper-case name. Malformed values are reported by name by `load`.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        case_sensitive=False,
        env_ignore_empty=True,
    )

    env: Literal["dev", "prod", "test"] = "prod"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    # Processes that serve on the one port.
    uvicorn_workers: int = Field(default=1, ge=1, le=MAX_WORKERS)
    data_dir: Path = Path("data")

    database_url: str = ""
    # Connections that are kept, and those beyond under load. None: `internal/db.py` says how many.
    database_pool_size: int | None = Field(default=None, ge=1, le=200)
    database_pool_max_overflow: int | None = Field(default=None, ge=0, le=200)
    # Seconds that a request waits for one of them, and for a new one to be made.
    database_pool_timeout: float = Field(default=10, gt=0)
    database_connect_timeout: float = Field(default=10, gt=0)
    # Seconds; 0 is no limit. Of one statement, of a transaction in which nothing happens, and of waiting for somebody's lock.
    database_statement_timeout: float = Field(default=60, ge=0)
    database_idle_transaction_timeout: float = Field(default=60, ge=0)
    database_lock_timeout: float = Field(default=20, ge=0)
    # None: unless a pooler is found before the database.
    database_prepared_statements: bool | None = None
    # PostgreSQL itself, where DATABASE_URL is a pooler in transaction mode: news between processes can't pass that one.
    database_direct_url: str = ""

    # Carries news between processes, and what is cheap to lose: redis://, rediss:// or unix://.
    redis_url: str = ""
    redis_key_prefix: str = "open-webui"
    # Hosts of sentinels, separated by commas. The host of REDIS_URL is the master's name then.
    redis_sentinel_hosts: str = ""
    redis_sentinel_port: int = Field(default=26379, ge=1, le=65535)
    redis_cluster: bool = False
    # Seconds until a Redis that does not answer is given up.
    redis_socket_connect_timeout: float = Field(default=5, gt=0)
    websocket_manager: Literal["", "redis"] = ""
    # Another Redis for the news alone.
    websocket_redis_url: str = ""
    database_sqlite_pragma_busy_timeout: int = Field(default=5000, ge=0)
    database_sqlite_pragma_cache_size: int = Field(default=-8000, ge=-(2**21), le=2**21)
    enable_db_migrations: bool = True

    # Where files lie: "local" (or empty) is DATA_DIR; "s3" a bucket of S3 or of a server that speaks like it.
    storage_provider: Literal["", "local", "s3"] = ""
    s3_bucket_name: str = ""
    s3_endpoint_url: str = ""
    s3_region_name: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: SecretStr = SecretStr("")
    # What all names of objects begin with, so that several servers may share a bucket.
    s3_key_prefix: str = ""
    # Where the bucket's name stands: in the "path" or in the host's name ("virtual").
    s3_addressing_style: Literal["", "auto", "path", "virtual"] = ""

    webui_secret_key: SecretStr = SecretStr("")
    webui_auth_cookie_same_site: Literal["lax", "strict", "none"] = "lax"
    webui_auth_cookie_secure: bool = False
    cors_allow_origin: str = ""
    # Proxies whose X-Forwarded-For is believed: addresses and networks, or "*" (see internal/forwarded.py).
    forwarded_allow_ips: str = ""
    # Headers in which these proxies say who asks; "*" is believed nothing of the kind (see access/trusted_headers.py).
    webui_auth_trusted_email_header: str = ""
    webui_auth_trusted_name_header: str = ""
    webui_auth_trusted_groups_header: str = ""
    webui_auth_trusted_role_header: str = ""
    # Where people go on when they sign out: where the proxy ends its own session.
    webui_auth_signout_redirect_url: str = ""
    # Empty: a quarter of all that the system has files for.
    max_connections_per_address: int | None = Field(default=None, ge=1)

    global_log_level: str = "INFO"
    # The level of the server's own lines, over GLOBAL_LOG_LEVEL.
    main_log_level: str = ""
    # Levels by component: "open_webui.chat=DEBUG,open_webui.socket=WARNING".
    log_levels: str = ""
    log_format: Literal["", "console", "json"] = ""
    log_to_file: bool = False
    log_dir: Path = Path("logs")

    frontend_build_dir: Path | None = None
    deployment_id: str = ""
    max_body_mb: int = Field(default=100, ge=1, le=4096)
    websocket_server_ping_interval: int = Field(default=25, ge=1)
    websocket_server_ping_timeout: int = Field(default=20, ge=1)
    enable_websocket_support: bool = True
    # One packet of a socket that has signed in. The pages send a few hundred bytes; answers to calls may be longer.
    websocket_max_message_kb: int = Field(default=128, ge=4, le=16 * 1024)

    # Provider time limits, in seconds. No limit on the whole answer unless set: local models think for minutes.
    aiohttp_client_timeout: float | None = Field(default=None, gt=0)
    aiohttp_client_timeout_model_list: float = Field(default=10, gt=0)
    models_cache_ttl: float = Field(default=60, gt=0)

    # Servers of tools: OpenAPI and MCP. Seconds of one call, by default those of a provider or two minutes; of a document.
    enable_tool_servers: bool = True
    aiohttp_client_timeout_tool_server: float | None = Field(default=None, gt=0)
    aiohttp_client_timeout_tool_server_data: float = Field(default=10, gt=0)
    # Whether tool servers are told who asks, in headers.
    enable_forward_user_info_headers: bool = False

    # Models of this machine: each runs in a process of its own while it is used.
    enable_local_models: bool = True
    local_models_memory_gb: float | None = Field(default=None, gt=0)
    local_models_idle_seconds: float = Field(default=300, gt=0)
    # Answers that one model writes at once; others wait in a queue.
    local_models_slots: int = Field(default=4, ge=1, le=64)
    local_models_scan_seconds: float = Field(default=5, ge=0.05)
    # An admin of the page is not root of the machine: its files, and models that bring code, stay out of reach.
    local_models_trust_admins: bool = False

    # A Qdrant by its REST API, and what the names of our collections begin with, so that several servers may share it.
    qdrant_uri: str = ""
    qdrant_api_key: SecretStr = SecretStr("")
    qdrant_collection_prefix: str = "open-webui"
    # Seconds that a search waits for it.
    qdrant_timeout: float = Field(default=5, gt=0)
    qdrant_on_disk: bool = False
    # How many neighbours a point is linked with in its index. 0: there is none, and all that are reached are looked at.
    qdrant_hnsw_m: int = Field(default=0, ge=0, le=512)
    # An index of neighbours for pgvector: "hnsw", or none, so that all that are reached are looked at.
    pgvector_index_method: Literal["", "none", "hnsw"] = ""
    pgvector_hnsw_m: int = Field(default=16, ge=2, le=100)
    pgvector_hnsw_ef_construction: int = Field(default=64, ge=4, le=1000)
    # Vectors lie in the database of DATABASE_URL; any other is refused.
    pgvector_db_url: SecretStr = SecretStr("")
    # Where the vectors of documents lie: see `_vectors`. Empty: "pgvector" where PostgreSQL has it, else "packed".
    vector_db: str = ""
    # What questions and texts are preceded by where an embedding model wants it, besides what its own files say.
    rag_embedding_query_prefix: str = ""
    rag_embedding_content_prefix: str = ""
    # Whether pages of this machine and of its networks may be read, too.
    enable_rag_local_web_fetch: bool = False

    # Plugins: tools and functions. Each runs in a confined process of its own while it is used.
    enable_plugins: bool = True
    enable_tools: bool = True
    enable_functions: bool = True
    # Starts with all of them switched off.
    safe_mode: bool = False
    plugin_memory_mb: int = Field(default=1024, ge=64)
    plugin_call_seconds: float = Field(default=300, gt=0)
    plugin_idle_seconds: float = Field(default=600, gt=0)
    # Whereto they may connect: "on", to public addresses and to allowed hosts; "list", to these alone; "off", nowhere.
    plugin_network: Literal["on", "list", "off"] = "on"
    plugin_allowed_hosts: str = ""
    # Also where the system can't keep them from anything.
    plugin_allow_unconfined: bool = False
    enable_pip_install_frontmatter_requirements: bool = True
    # Whereto code of models and people may connect, as plugin_network; and packages of the index that it may import.
    code_network: Literal["on", "list", "off"] = "off"
    code_packages: str = ""
    # Memory that the processes of all such code may take together. 0: half of the machine's, or of the container's.
    code_memory_mb: int = Field(default=0, ge=0)
    pip_options: str = ""

    # The server that sends e-mail. Empty: none is sent. smtp_security: "starttls", "tls" from the first byte, or "none".
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_from: str = ""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"

    bypass_model_access_control: bool = False
    # A directory's way to accounts and groups (SCIM), and its token. scim_auth_provider: whose people its externalIds name.
    enable_scim: bool = Field(default=False, validation_alias=AliasChoices("enable_scim", "scim_enabled"))
    scim_token: SecretStr = SecretStr("")
    scim_auth_provider: str = Field(default="", max_length=100)

    # The audit record: nothing, what changes something, or every request of somebody who is signed in. Days: 0 for ever.
    audit_level: Literal["none", "writes", "all"] = "writes"
    audit_retention_days: int = Field(default=365, ge=0, le=36_500)
    # Whether administrators must say why they look at what is somebody else's.
    enable_audit_reason: bool = False
    enable_admin_chat_access: bool = True
    enable_admin_export: bool = True
    enable_admin_analytics: bool = True
    webui_admin_email: str = ""
    webui_admin_password: SecretStr = SecretStr("")
    webui_admin_name: str = "Admin"
    # A running answer is written at least this often, in seconds.
    checkpoint_interval: float = Field(default=0.7, gt=0, le=1)
    # Answers that one person's API clients have written at once.
    max_api_calls_per_user: int = Field(default=1_000, ge=1)
    # Older messages than fit into this many characters are left out of what a model is sent.
    chat_history_max_chars: int = Field(default=4_000_000, ge=1_000)
    # So are older pictures than fit into so many megabytes, as they are sent.
    chat_history_max_picture_mb: float = Field(default=20.0, ge=0)
    # Pixels of the longer side of a picture as it is sent; 0: all of them.
    chat_picture_max_side: int = Field(default=2_048, ge=0, le=16_384)
    # The most that is kept of one answer: characters of text, bytes of pictures and other data.
    chat_answer_max_chars: int = Field(default=4_000_000, ge=1_000)
    chat_answer_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1_000)
    # How often in one answer the tools that a model calls are run and the model is asked again.
    chat_response_max_tool_call_iterations: int = Field(default=256, ge=0)
    # Characters of a tool's result that the model gets at once; a longer one is kept, and read page by page.
    chat_tool_result_max_chars: int = Field(default=50_000, ge=500, le=190_000)

    @field_validator("global_log_level", "main_log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        level = value.strip().upper()
        if level not in {"", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ValueError("must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return level

    @field_validator(
        "webui_auth_trusted_email_header",
        "webui_auth_trusted_name_header",
        "webui_auth_trusted_groups_header",
        "webui_auth_trusted_role_header",
    )
    @classmethod
    def _header(cls, value: str) -> str:
        name = value.strip().lower()
        if name and not _HEADER.fullmatch(name):
            raise ValueError("must be the name of a header, as X-Auth-Email")
        return name

    @field_validator("webui_auth_signout_redirect_url")
    @classmethod
    def _way_out(cls, value: str) -> str:
        place = value.strip()
        own = place.startswith("/") and not place.startswith("//") and "\\" not in place
        if place and not own and not re.fullmatch(r"https?://[^/\s\\]+\S*", place):
            raise ValueError("must be an address, as https://sso.example.com/logout, or a path of this server")
        return place

    @field_validator("storage_provider", "s3_addressing_style", "audit_level", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("vector_db")
    @classmethod
    def _vectors(cls, value: str, info: ValidationInfo) -> str:
        name = value.strip().lower()
        if name not in {"", "packed", "pgvector", "qdrant"}:
            raise ValueError(
                "may be pgvector (in PostgreSQL), packed (in any database), qdrant (a service), or empty;"
                " no other is supported"
            )
        if name == "qdrant" and info.data.get("qdrant_uri") == "":
            raise ValueError("is qdrant, which needs its address in QDRANT_URI, as http://localhost:6333")
        if name == "pgvector" and not str(info.data.get("database_url")).startswith("postgres"):
            raise ValueError("is pgvector, which needs PostgreSQL in DATABASE_URL; leave it empty with SQLite")
        other = info.data.get("pgvector_db_url")
        if name == "pgvector" and other and other.get_secret_value() not in {"", info.data.get("database_url")}:
            raise ValueError(
                "is pgvector, and PGVECTOR_DB_URL names another database than DATABASE_URL: vectors are searched in the"
                " snapshot that says who may read them; leave PGVECTOR_DB_URL empty"
            )
        return name

    @field_validator("pgvector_index_method", mode="before")
    @classmethod
    def _method(cls, value: object) -> object:
        method = value.strip().lower() if isinstance(value, str) else value
        if method == "ivfflat":
            raise ValueError("may be hnsw, or none for no index; ivfflat is not supported")
        return method

    @field_validator("pgvector_hnsw_ef_construction")
    @classmethod
    def _candidates(cls, value: int, info: ValidationInfo) -> int:
        if value < 2 * info.data.get("pgvector_hnsw_m", 0):
            raise ValueError("must be at least twice PGVECTOR_HNSW_M")
        return value

    @field_validator("qdrant_uri")
    @classmethod
    def _service(cls, value: str) -> str:
        address = value.strip().rstrip("/")
        if not address:
            return ""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise ValueError("is no address; write it as http://localhost:6333") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("is no address of a service; write it as http://localhost:6333")
        if "@" in parts.netloc:
            raise ValueError("has a name or a password in it; the key goes into QDRANT_API_KEY")
        # As Qdrant's own clients have it.
        place = parts.netloc if port is not None else f"{parts.netloc.rstrip(':')}:6333"
        return f"{parts.scheme}://{place}{parts.path}"

    @field_validator("smtp_from")
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        sender = value.strip()
        if info.data.get("smtp_host") and "@" not in (sender or str(info.data.get("smtp_user"))):
            raise ValueError("is needed with SMTP_HOST: the address that letters come from, as server@example.com")
        if any(character < " " for character in sender):
            raise ValueError("may be one line only")
        return sender

    @field_validator("qdrant_collection_prefix")
    @classmethod
    def _names(cls, value: str) -> str:
        if not _COLLECTION_PREFIX.fullmatch(value.strip()):
            raise ValueError("may have up to 100 letters, digits and -_. in it")
        return value.strip()

    @field_validator("s3_key_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        if value.strip("/") and any(not _PREFIX_PART.fullmatch(part) for part in parts):
            raise ValueError("may have letters, digits and -_.!'()=+ in it, and / between its parts")
        return "/".join(parts)

    @field_validator("webui_secret_key")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_SECRET:
            raise ValueError(f"must have at least {MIN_SECRET} characters (leave it empty to have one generated)")
        return value

    @property
    def cors_origins(self) -> frozenset[str]:
        """The origins besides our own whose pages may call; "*" stands for all."""
        return frozenset(o for o in (part.strip().rstrip("/") for part in self.cors_allow_origin.split(";")) if o)

    @property
    def tool_server_seconds(self) -> float:
        """How long one call of a tool server may take."""
        return self.aiohttp_client_timeout_tool_server or self.aiohttp_client_timeout or 120.0

    @property
    def is_dev(self) -> bool:
        return self.env == "dev"


def load(**overrides: object) -> Settings:
    """The settings of this process. Raises StartupError naming each malformed variable.

    What `.env` says goes into the environment, below what is there: config.py reads its variables from that too.
    """
    for name, value in dotenv_values(".env", encoding="utf-8").items():
        if value is not None:
            os.environ.setdefault(name, value)
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False, include_input=False)
        )
        raise StartupError(f"The configuration can't be used. {problems}") from None
