"""A directory's way to accounts and groups: SCIM 2.0 (RFC 7643, RFC 7644)."""
