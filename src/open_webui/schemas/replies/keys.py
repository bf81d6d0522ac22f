"""API keys and sessions, as they go out."""

from typing import TypedDict


class Key(TypedDict):
    """scopes, models, addresses: null for no limit. former_until: until when the secret before the last change is good.
    shown_again: `GET /api/v1/auths/api_key` shows it.
    """

    id: str
    user_id: str
    name: str
    scopes: list[str] | None
    models: list[str] | None
    addresses: list[str] | None
    budget_id: str | None
    expires_at: int | None
    last_used_at: int | None
    former_until: int | None
    shown_again: bool
    created_at: int
    updated_at: int


class MadeKey(Key):
    """api_key: the secret, which is shown this once."""

    api_key: str


class Keys(TypedDict):
    """most: how many one may have."""

    items: list[Key]
    scopes: list[str]
    most: int


class Spent(TypedDict):
    """tokens: with what is set aside for calls that go on."""

    requests: int
    tokens: int


class Budget(TypedDict):
    """user_id: null for one of the server's. The limits: null for none. Days and months are those of UTC."""

    id: str
    user_id: str | None
    name: str
    requests_a_day: int | None
    tokens_a_day: int | None
    requests_a_month: int | None
    tokens_a_month: int | None
    created_at: int
    updated_at: int
    today: Spent
    this_month: Spent


class ServiceAccount(TypedDict):
    id: str
    name: str
    role: str
    last_active_at: int
    created_at: int


class OwnSession(TypedDict):
    """device: in plain words. first_address, last_address: where its first and last use came from."""

    id: str
    device: str
    auth_method: str
    first_address: str
    last_address: str
    created_at: int
    last_used_at: int
    expires_at: int | None
    is_current: bool
