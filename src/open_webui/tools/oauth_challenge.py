"""What a server says in the header WWW-Authenticate when it wants somebody to sign in (RFC 6750, RFC 9728)."""

import re


def named_in(header: str, name: str) -> str:
    """What it says by a name, in quotes; empty where it says nothing."""
    found = re.search(rf'(?:^|[\s,]){name}="([^"]*)"', header)
    return found[1] if found is not None else ""
