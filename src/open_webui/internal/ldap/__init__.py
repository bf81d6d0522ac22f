"""A client of directories that speak LDAP v3: signing in, searching, TLS; see docs/decisions/0064."""
