"""Addresses of e-mail: which texts are one."""

import re

_EMAIL = re.compile(r"[^@\s\"<>\x00-\x1f\x7f]{1,64}@[^@\s\"<>.\x00-\x1f\x7f]+(\.[^@\s\"<>.\x00-\x1f\x7f]+)+")


def is_email(text: str) -> bool:
    """Whether a text is an address that mail could go to."""
    # A terminal that shows it obeys some of the signs that can't be printed.
    return _EMAIL.fullmatch(text) is not None and text.isprintable()


def domain_of(text: str) -> str:
    return text.rpartition("@")[2].lower()
