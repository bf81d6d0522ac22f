"""Settings of second factors at sign-in, of passkeys, and of fresh proofs."""

from typing import Final

from open_webui.config.setting import Setting, flag, parse_list
from open_webui.principal import ROLES

# A day.
MOST_MINUTES: Final = 1_440
_words = parse_list(",")


def _roles(text: str) -> list[str]:
    """Raises ValueError naming what there is."""
    found = [word for word in _words(text) if word]
    if not {*found} <= {*ROLES}:
        # A misspelt one would ask nobody.
        raise ValueError(f"must be roles with commas between, of {', '.join(ROLES)}")
    return found


def _ids(text: str) -> list[str]:
    return [word for word in _words(text) if word]


def _minutes(text: str) -> int:
    """Raises ValueError."""
    found = int(text) if text.strip().isascii() and text.strip().isdecimal() else 0
    if not 1 <= found <= MOST_MINUTES:
        raise ValueError(f"must be minutes, from 1 to {MOST_MINUTES}")
    return found


SETTINGS: Final[tuple[Setting, ...]] = (
    flag("auth.mfa.enable", "ENABLE_MFA", False),
    flag("auth.mfa.allow_oauth_bypass", "MFA_ALLOW_OAUTH_BYPASS", False),
    flag("auth.mfa.allow_trusted_header_bypass", "MFA_ALLOW_TRUSTED_HEADER_BYPASS", False),
    # Ours: who must have one, by role and by the ids of groups. Others may.
    Setting("auth.mfa.required_roles", list, [*ROLES], ("MFA_REQUIRED_ROLES",), _roles),
    Setting("auth.mfa.required_groups", list, [], ("MFA_REQUIRED_GROUPS",), _ids),
    # Ours: whether a passkey alone is enough, and fresh proofs before dangerous acts, with how long one counts.
    flag("auth.passkeys.enable_sign_in", "ENABLE_PASSKEY_SIGN_IN", False),
    flag("auth.step_up.enable", "ENABLE_STEP_UP", False),
    Setting("auth.step_up.minutes", int, 10, ("STEP_UP_MINUTES",), _minutes),
)
