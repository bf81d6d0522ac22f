"""From the admin's settings to connections as values: one a configured address."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from open_webui.config import Config
from open_webui.connections.address import is_azure
from open_webui.connections.base import Kind
from open_webui.errors import BadRequest

# Changes of these settings change what there is to connect to.
KEYS: Final = frozenset(
    (
        "openai.enable openai.api_base_urls openai.api_keys openai.api_configs ollama.enable ollama.base_urls"
        " ollama.api_configs models.builtin"
    ).split()
)
MAX_CONNECTIONS: Final = 100
# How the pages name sign-in by Entra ID.
_ENTRA: Final = ("azure_ad", "microsoft_entra_id")
# By the token of the site at which who asks has signed in here.
_BY_PERSON: Final = "system_oauth"
# Gives that token, by the person's id. Raises ProviderError where there is none.
PersonToken = Callable[[str], Awaitable[str]]
# Ways to sign in that send no key of the connection's.
_KEYLESS: Final = ("none", "session", _BY_PERSON)
_NOT_DONE: Final[Mapping[tuple[str, Any], str]] = {
    ("auth_type", "session"): "A person's session is never sent to a provider: choose another way to sign in",
    ("forward_cookies", True): "A person's cookies are never sent to a provider",
    (
        "api_type",
        "responses",
    ): "Models are asked by chat completions here: the Responses API is not part of this server yet",
}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One connection as configured.

    index: its place in the admin's list. prefix: put before the ids of its models, with a dot. model_ids: what it
    offers, where the admin names it (nothing is asked for then, on OpenAI's wire). headers: sent with each request;
    {{USER_ID}}, {{USER_NAME}}, {{USER_EMAIL}} and {{USER_ROLE}} in them stand for who asks. returns_reasoning: models get
    their earlier thinking back with the conversation (`send_reasoning` of the entry), which some providers need for tool
    calls and others refuse. azure: the endpoint is Azure's, by the entry or by its host; api_version: which of its
    versions is asked; entra: the key is a token of Entra ID. by_person: instead of a key it gets the token that who asks has
    of the site by which they signed in here.
    """

    kind: Kind
    index: int
    url: str
    key: str = ""
    prefix: str = ""
    model_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    connection_type: str = "external"
    headers: tuple[tuple[str, str], ...] = ()
    returns_reasoning: bool = False
    azure: bool = False
    api_version: str = ""
    entra: bool = False
    by_person: bool = False

    @property
    def id(self) -> str:
        """The key of the connection in logs and usage records."""
        return f"{self.kind}:{self.index}"

    def model_id(self, remote_id: str) -> str:
        return f"{self.prefix}.{remote_id}" if self.prefix else remote_id

    def headers_for(self, user: Mapping[str, str] | None) -> dict[str, str]:
        """The request headers, the key among them."""
        name, key = ("api-key", self.key) if self.azure and not self.entra else ("authorization", f"Bearer {self.key}")
        out = {name: key} if self.key else {}
        for name, value in self.headers:
            out[name.lower()] = _fill(value, user) if "{{USER_" in value else value
        return out


async def headers_of(spec: Spec, user: Mapping[str, str] | None, person_token: PersonToken | None) -> dict[str, str]:
    """The request headers, with the asker's token where the connection wants that. Where the server itself asks, as for the
    list of models, there is none.
    """
    headers = spec.headers_for(user)
    if spec.by_person and user is not None and person_token is not None:
        headers["authorization"] = f"Bearer {await person_token(user['id'])}"
    return headers


def _fill(value: str, user: Mapping[str, str] | None) -> str:
    for field in ("id", "name", "email", "role"):
        # Quoted: names hold characters that headers can't, and line ends.
        value = value.replace("{{USER_" + field.upper() + "}}", quote((user or {}).get(field, ""), safe="@ "))
    return value


def specs(config: Config) -> list[Spec]:
    """The connections that are switched on, OpenAI's first. What can't be used of an entry is passed over."""
    out = []
    if config["openai.enable"]:
        keys = [k for k in config["openai.api_keys"] if isinstance(k, str)]
        for index, url in _addresses(config["openai.api_base_urls"]):
            key = keys[index] if index < len(keys) else ""
            entry = _entry(config["openai.api_configs"], index, url)
            if entry.get("enable") is not False:
                out.append(build("openai", index, url, key, entry))
    if config["ollama.enable"]:
        for index, url in _addresses(config["ollama.base_urls"]):
            entry = _entry(config["ollama.api_configs"], index, url)
            if entry.get("enable") is not False:
                out.append(build("ollama", index, url, str(entry.get("key") or ""), entry))
    return out


def _addresses(urls: list[Any]) -> list[tuple[int, str]]:
    return [(i, u) for i, u in enumerate(urls[:MAX_CONNECTIONS]) if isinstance(u, str) and u.strip()]


def _entry(configs: Mapping[str, Any], index: int, url: str) -> Mapping[str, Any]:
    """A connection's own settings: under its place in the list, or under its address as older pages kept them."""
    entry = configs.get(str(index))
    if entry is None:
        entry = configs.get(url)
    return entry if isinstance(entry, dict) else {}


def build(kind: Kind, index: int, url: str, key: str, entry: Mapping[str, Any]) -> Spec:
    """A connection from an address, a key and its own settings."""
    headers = entry.get("headers")
    return Spec(
        kind=kind,
        index=index,
        url=url.strip().rstrip("/"),
        key="" if entry.get("auth_type") in _KEYLESS else key.strip(),
        prefix=_text(entry.get("prefix_id")).strip().rstrip("."),
        model_ids=_texts(entry.get("model_ids")),
        tags=_texts([t.get("name") if isinstance(t, dict) else t for t in _list(entry.get("tags"))]),
        connection_type=_text(entry.get("connection_type")) or ("local" if kind == "ollama" else "external"),
        headers=tuple((k, v) for k, v in headers.items() if isinstance(v, str)) if isinstance(headers, dict) else (),
        returns_reasoning=entry.get("send_reasoning") is True,
        azure=kind == "openai" and (entry.get("azure") is True or entry.get("provider") == "azure" or is_azure(url)),
        api_version=_text(entry.get("api_version")).strip(),
        entra=entry.get("auth_type") in _ENTRA,
        by_person=entry.get("auth_type") == _BY_PERSON,
    )


def check_entries(configs: Mapping[str, Any]) -> None:
    """Raises BadRequest naming what is set of a connection and not done: it would send something else than is meant."""
    for place, entry in configs.items():
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if isinstance(value, str | bool) and (name, value) in _NOT_DONE:
                raise BadRequest(f"{_NOT_DONE[name, value]} (connection {place[:200]!r}). Nothing was saved.")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(v for v in _list(value) if isinstance(v, str) and v)


def check_url(url: str) -> str:
    """An address that can be called, without a slash at its end. Raises BadRequest with what is wrong."""
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in url):
        raise BadRequest(
            f"'{url[:200]}' is not an address of a provider. It should have the form http://host:port/path."
        )
    return url


def check_secret(text: str, what: str) -> str:
    """A text that may stand in a header. Raises BadRequest."""
    if not text.isprintable():
        raise BadRequest(f"{what} holds characters that can't be sent, such as a line end.")
    return text
