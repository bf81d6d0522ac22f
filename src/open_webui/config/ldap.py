"""Settings of signing in by directories (LDAP, Active Directory)."""

from typing import Any, Final, Literal

import msgspec

from open_webui.config.setting import Setting, flag, parse_json


class GivenServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory as an admin describes it, with the names of the settings page. Those behind `id` are ours.

    host: one, or several that are copies of each other, with blanks or commas between. security: "" where `use_tls` and the port
    say it. group_search_base: where groups are that name their members; "" where people name their groups.
    """

    id: str = ""
    label: str = "LDAP Server"
    host: str
    port: int | None = None
    attribute_for_mail: str = "mail"
    default_email_domain: str = ""
    attribute_for_username: str = "uid"
    app_dn: str = ""
    app_dn_password: str = ""
    search_base: str
    search_filters: str = ""
    use_tls: bool = True
    certificate_path: str | None = ""
    validate_cert: bool = True
    ciphers: str | None = "ALL"
    enable_group_management: bool = False
    enable_group_creation: bool = False
    attribute_for_groups: str = "memberOf"
    security: Literal["", "tls", "starttls", "none"] = ""
    group_search_base: str = ""
    group_search_filter: str = ""
    nested_groups: bool = True


def _servers(text: str) -> Any:
    """Raises ValueError naming what is wrong."""
    found = parse_json(text)
    try:
        given = msgspec.convert(found, list[GivenServer])
    except msgspec.ValidationError as error:
        raise ValueError(f"must be a list of directories: {error}") from None
    names = [one.id for one in given]
    if len(set(names)) != len(names) or not all(is_id(name) for name in names):
        raise ValueError("each directory needs an id of its own, of small letters, digits and - (it stays the same)")
    return found


def is_id(text: str) -> bool:
    """Whether it can be the name of one of several directories."""
    return 0 < len(text) <= 40 and text.isascii() and text == text.lower() and text.replace("-", "").isalnum()


def _text(name: str, variable: str, default: str = "", *, secret: bool = False) -> Setting:
    return Setting(f"ldap.{name}", str, default, (variable,), secret=secret)


SETTINGS: Final[tuple[Setting, ...]] = (
    flag("ldap.enable", "ENABLE_LDAP", False),
    flag("ldap.group.enable_management", "ENABLE_LDAP_GROUP_MANAGEMENT", False),
    flag("ldap.group.enable_creation", "ENABLE_LDAP_GROUP_CREATION", False),
    _text("server.label", "LDAP_SERVER_LABEL", "LDAP Server"),
    _text("server.host", "LDAP_SERVER_HOST", "localhost"),
    Setting("ldap.server.port", int, 389, ("LDAP_SERVER_PORT",), nullable=True),
    _text("server.attribute_for_mail", "LDAP_ATTRIBUTE_FOR_MAIL", "mail"),
    _text("server.default_email_domain", "LDAP_DEFAULT_EMAIL_DOMAIN"),
    _text("server.attribute_for_username", "LDAP_ATTRIBUTE_FOR_USERNAME", "uid"),
    _text("server.app_dn", "LDAP_APP_DN"),
    _text("server.app_password", "LDAP_APP_PASSWORD", secret=True),
    _text("server.users_dn", "LDAP_SEARCH_BASE"),
    _text("server.search_filter", "LDAP_SEARCH_FILTERS"),
    flag("ldap.server.use_tls", "LDAP_USE_TLS", True),
    _text("server.ca_cert_file", "LDAP_CA_CERT_FILE"),
    flag("ldap.server.validate_cert", "LDAP_VALIDATE_CERT", True),
    _text("server.ciphers", "LDAP_CIPHERS", "ALL"),
    _text("server.attribute_for_groups", "LDAP_ATTRIBUTE_FOR_GROUPS", "memberOf"),
    # Ours: how TLS begins, groups that name their members, groups in groups, more directories, seconds of one sign-in.
    _text("server.security", "LDAP_SECURITY"),
    _text("group.search_base", "LDAP_GROUP_SEARCH_BASE"),
    _text("group.search_filter", "LDAP_GROUP_SEARCH_FILTER"),
    flag("ldap.group.nested", "LDAP_NESTED_GROUPS", True),
    Setting("ldap.servers", list, [], ("LDAP_SERVERS",), _servers, secret=True),
    Setting("ldap.timeout", float, 10.0, ("LDAP_TIMEOUT",)),
)
